//! Which handlers get an event of a source and type.

use entity::Name;

use globset::{GlobBuilder, GlobMatcher};

use super::HandlerSettings;
use super::lane::Lane;

/// An event type pattern: `*` matches any run of characters, `?` one; everything else is literal.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

/// A pattern that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` is not a pattern of event types: {reason}")]
pub struct PatternError {
    pattern: String,
    reason: String,
}

impl Pattern {
    /// Reads a pattern such as `invoice.*`.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let fault = |reason: String| PatternError { pattern: text.to_owned(), reason };
        if text.is_empty() {
            return Err(fault("it is empty; `*` matches every type".to_owned()));
        }
        let glob = GlobBuilder::new(text)
            .literal_separator(false)
            .backslash_escape(true)
            .build()
            .map_err(|error| fault(error.kind().to_string()))?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }

    /// Whether an event of this type is meant.
    #[must_use]
    pub fn matches(&self, kind: &str) -> bool {
        self.text == "*" || self.matcher.is_match(kind)
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The routing table: built once, asked for each event.
#[derive(Debug, Clone, Default)]
pub struct Routes(Vec<Route>);

#[derive(Debug, Clone)]
struct Route {
    handler: Name,
    from: Vec<Name>,
    events: Vec<Pattern>,
    lane: Option<Lane>,
}

impl Routes {
    /// Adds a handler that gets the events of these sources whose type matches any of the patterns.
    pub fn add(&mut self, handler: Name, from: Vec<Name>, events: Vec<Pattern>) {
        self.0.push(Route { handler, from, events, lane: None });
    }

    /// Lets this handler's events go one by one in their lanes.
    pub fn in_lanes(&mut self, handler: &Name, lane: &Lane) {
        for route in self.0.iter_mut().filter(|route| route.handler == *handler) {
            route.lane = Some(lane.clone());
        }
    }

    /// The table of these handlers, lanes included.
    #[must_use]
    pub fn of<'a>(handlers: impl IntoIterator<Item = &'a HandlerSettings>) -> Self {
        let mut routes = Self::default();
        for it in handlers {
            routes.add(it.name.clone(), it.from.clone(), it.events.clone());
            if let Some(lane) = &it.lane {
                routes.in_lanes(&it.name, lane);
            }
        }
        routes
    }

    /// Every handler once, and how it puts events into lanes.
    pub fn handlers(&self) -> impl Iterator<Item = (&Name, Option<&Lane>)> {
        self.0.iter().map(|route| (&route.handler, route.lane.as_ref()))
    }

    /// Whether a handler gets the events of this source and type.
    #[must_use]
    pub fn takes(&self, handler: &Name, source: &str, kind: &str) -> bool {
        self.0.iter().any(|route| {
            route.handler == *handler
                && route.from.iter().any(|from| from.as_str() == source)
                && route.events.iter().any(|pattern| pattern.matches(kind))
        })
    }

    /// The handlers of an event, in the order in which they were added, and how each puts it into a lane.
    pub fn takers(
        &self,
        source: &Name,
        kind: &str,
    ) -> impl Iterator<Item = (&Name, Option<&Lane>)> {
        self.0
            .iter()
            .filter(move |route| route.from.contains(source))
            .filter(move |route| route.events.iter().any(|pattern| pattern.matches(kind)))
            .map(|route| (&route.handler, route.lane.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    #[test]
    fn patterns_match_whole_types() {
        for (pattern, kind, want) in [
            ("invoice.*", "invoice.paid", true),
            ("invoice.*", "invoice.payment.failed", true),
            ("invoice.*", "invoice", false),
            ("*", "", true),
            ("*", "orders/create", true),
            ("orders/*", "orders/create/x", true),
            ("push", "push", true),
            ("push", "pushed", false),
        ] {
            let got = Pattern::new(pattern).expect("a pattern").matches(kind);
            assert_eq!(got, want, "{pattern} {kind}");
        }
        assert!(Pattern::new("").is_err());
        assert!(Pattern::new("[").is_err());
    }

    #[test]
    fn an_event_goes_to_every_handler_that_wants_it_and_to_no_other() {
        let mut routes = Routes::default();
        let all = || vec![Pattern::new("*").expect("a pattern")];
        routes.add(name("audit"), vec![name("stripe"), name("github")], all());
        routes.add(
            name("billing"),
            vec![name("stripe")],
            vec![Pattern::new("invoice.*").expect("a pattern")],
        );
        let handlers_of = |source: &Name, kind: &str| -> Vec<Name> {
            routes.takers(source, kind).map(|(handler, _)| handler.clone()).collect()
        };
        assert_eq!(handlers_of(&name("stripe"), "invoice.paid"), [name("audit"), name("billing")]);
        assert_eq!(handlers_of(&name("github"), "push"), [name("audit")]);
        assert!(handlers_of(&name("slack"), "x").is_empty());
    }
}
