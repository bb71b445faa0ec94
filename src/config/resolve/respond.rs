//! `respond`: a handler that answers for its source.

use std::time::Duration;

use entity::Name;

use crate::config::desk::Desk;
use crate::config::file::FileRespond;
use crate::config::place::did_you_mean;
use crate::config::value::Text;
use crate::handler::HandlerSettings;
use crate::source::{Respond, SourceSettings};

/// Slack and Discord wait three seconds.
const DEADLINE: Duration = Duration::from_millis(2500);
const DEADLINE_MAX: Duration = Duration::from_secs(30);

/// How the names of an embedder's functions begin.
const FUNCTION: &str = "on.";

/// Reads it; whether the handler fits is asked when all handlers are known, by [`faults`].
pub(super) fn respond(
    desk: &mut Desk<'_>,
    text: &str,
    file: Option<&FileRespond>,
) -> Option<Respond> {
    let file = file?;
    let at = ["sources", text, "respond"];
    let deadline = file.deadline.map_or(DEADLINE, |Text(span)| span);
    if deadline > DEADLINE_MAX || deadline.is_zero() {
        let why = "`deadline` is a time up to 30s: who sends the webhook waits no longer";
        desk.fault(&["sources", text, "respond", "deadline"], why);
    }
    let Some(handler) = &file.handler else {
        desk.fault(&at, "`handler` is missing: whose answer is the reply?");
        return None;
    };
    let handler: Name = desk.name(&["sources", text, "respond", "handler"], handler)?;
    Some(Respond { handler, deadline })
}

/// Refuses handlers that aren't there, don't get the source's events, or have no answer.
pub(super) fn faults(
    desk: &mut Desk<'_>,
    sources: &[SourceSettings],
    handlers: &[HandlerSettings],
) {
    for source in sources {
        let Some(respond) = &source.respond else { continue };
        let path = ["sources", source.name.as_str(), "respond", "handler"];
        let name = respond.handler.as_str();
        let Some(handler) = handlers.iter().find(|it| it.name == respond.handler) else {
            // A function of an embedder's is known when the app starts; its name says whose events it gets.
            if name.starts_with(FUNCTION) {
                let own = format!("{FUNCTION}{}.", source.name);
                if !name.starts_with(&own) {
                    let why = format!(
                        "`{name}` gets no events of `{}`: a function that does is called `{own}…`",
                        source.name
                    );
                    desk.fault(&path, why);
                }
            } else if !desk.has_faults_under(&["handlers", name]) {
                let near = did_you_mean(name, handlers.iter().map(|it| it.name.as_str()));
                desk.fault(&path, format!("there is no handler `{name}`{near}"));
            }
            continue;
        };
        if !handler.from.contains(&source.name) {
            let why = format!("`{name}` gets no events of `{}`: add it to its `from`", source.name);
            desk.fault(&path, why);
        }
        if !handler.kind.answers() {
            desk.fault(&path, format!("`{name}` has no answer: only `http` and `exec` have"));
        }
        if never_matches(handler, source) && !desk.has_faults_under(&["handlers", name, "events"]) {
            let why = format!(
                "events of `{}` have no type, so the `events` of `{name}` match none of them: write `events = \"*\"` there, or `event.type` in the source",
                source.name
            );
            desk.fault(&path, why);
        }
    }
}

/// Whether the source's events all have the empty type, and the handler doesn't take it.
fn never_matches(handler: &HandlerSettings, source: &SourceSettings) -> bool {
    // What is wrong with its spec is told elsewhere.
    let Ok(facts) = source.spec.facts() else { return false };
    facts.type_places.is_empty() && !handler.events.iter().any(|pattern| pattern.matches(""))
}
