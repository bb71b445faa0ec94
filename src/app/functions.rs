//! Rust functions as handlers of an app.

use std::time::Duration;

use entity::Name;

use super::{named, pattern};
use crate::handler::Pattern;
use crate::handler::control::Control;
use crate::http::admin::shape::HandlerItem;
use crate::retry::RetryPolicy;
use crate::source::Sources;
use crate::worker::Callee;
use crate::worker::effect::Effect;

/// How long one call of a function may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How many calls of a function run at once.
const CONCURRENCY: u16 = 16;

/// How long a claim holds without renewal.
const LEASE: Duration = Duration::from_secs(30);

/// The same for one that works in the settling transaction: it isn't renewed meanwhile, so it outlives the
/// call, and beginning and committing as well.
const TRANSACTION_LEASE: Duration = Duration::from_secs(45);

/// A function that was given to [`super::App::on`].
pub(super) struct Function {
    pub(super) name: Name,
    pub(super) source: Name,
    pub(super) events: Pattern,
    pub(super) effect: Effect,
}

/// Checks what [`super::App::on`] was given.
pub(super) fn checked(
    source: &str,
    events: &str,
    effect: Effect,
    sources: &Sources,
) -> Result<Function, String> {
    let fault = |why: String| format!("on({source:?}, {events:?}): {why}");
    if sources.named(source).is_none() {
        return Err(fault(format!("there is no source `{source}`")));
    }
    let shown: String = events
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c) { c } else { '_' }
        })
        .collect();
    Ok(Function {
        name: named(&format!("on.{source}.{shown}")).map_err(fault)?,
        source: named(source).map_err(fault)?,
        events: pattern(events).map_err(fault)?,
        effect,
    })
}

/// Refuses a second handler of one name: an event that both want would get two deliveries of that name,
/// which the database doesn't take, so that no such event could be recorded at all.
pub(super) fn unless_taken(
    function: Function,
    functions: &[Function],
    callees: &[Callee],
) -> Result<Function, String> {
    let name = &function.name;
    if functions.iter().any(|other| other.name == *name)
        || callees.iter().any(|callee| callee.name == *name)
    {
        return Err(format!(
            "on({:?}, {:?}): there is a handler `{name}` already",
            function.source.as_str(),
            function.events.as_str()
        ));
    }
    Ok(function)
}

impl Function {
    /// As the worker calls it.
    pub(super) fn callee(&self) -> Callee {
        Callee {
            name: self.name.clone(),
            effect: self.effect.clone(),
            shape: None,
            timeout: TIMEOUT,
            concurrency: CONCURRENCY,
            retry: RetryPolicy::default(),
            lease: match self.effect {
                Effect::Call(_) | Effect::Elsewhere(_) => LEASE,
                Effect::InTransaction(_) => TRANSACTION_LEASE,
            },
            versions: None,
            control: Control::default(),
            responds: false,
        }
    }

    /// As the admin API lists it.
    pub(super) fn item(&self) -> HandlerItem {
        HandlerItem {
            name: self.name.to_string(),
            kind: "function".to_owned(),
            from: vec![self.source.to_string()],
            events: vec![self.events.as_str().to_owned()],
            settings: None,
            paused: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::{Outcome, function};

    fn on(events: &str, called: &str) -> Function {
        Function {
            name: named(called).expect("a name"),
            source: named("stripe").expect("a name"),
            events: pattern(events).expect("a pattern"),
            effect: Effect::Call(function::from_fn(|_, _| async { Outcome::done() })),
        }
    }

    #[test]
    fn a_name_is_taken_once() {
        let first = on("invoice.*", "on.stripe.invoice._");
        // Another pattern, but the same name.
        let same = on("invoice.?", "on.stripe.invoice._");
        let fault = unless_taken(same, &[first], &[]).err().expect("refused");
        assert!(fault.contains("`on.stripe.invoice._` already"), "{fault}");
        let configured = on("*", "on.stripe._").callee();
        assert!(unless_taken(on("*", "on.stripe._"), &[], &[configured]).is_err());
        assert!(unless_taken(on("*", "on.stripe._"), &[], &[]).is_ok());
    }
}
