//! Who answers for a source: asked once all handlers are known, functions as well.

use super::App;
use super::functions::Function;
use crate::handler::HandlerSettings;
use crate::source::SourceSettings;
use crate::worker::effect::Effect;

impl App {
    /// Marks the callees whose answer is a reply. Fails with every source whose handler could never give one: it isn't there, gets
    /// no events of the source, or has no answer. What the config's file says was checked when it was read.
    pub(super) fn appoint_responders(&mut self) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        for source in &self.config.sources {
            let Some(respond) = &source.respond else { continue };
            let name = &respond.handler;
            let fault = match (
                self.functions.iter().find(|it| it.name == *name),
                self.config.handlers.iter().find(|it| it.name == *name),
            ) {
                (Some(function), _) => of_function(function, source),
                (None, Some(handler)) => of_handler(handler, source),
                (None, None) => Some(format!("there is no handler `{name}`")),
            };
            if let Some(fault) = fault {
                faults.push(format!("sources.{}.respond: {fault}", source.name));
            } else if let Some(callee) = self.callees.iter_mut().find(|it| it.name == *name) {
                callee.responds = true;
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

fn of_function(function: &Function, source: &SourceSettings) -> Option<String> {
    if function.source != source.name {
        return Some(format!(
            "the function `{}` gets the events of `{}` and none of `{}`",
            function.name, function.source, source.name
        ));
    }
    match function.effect {
        Effect::Call(_) | Effect::Elsewhere(_) => None,
        Effect::InTransaction(_) => Some(format!(
            "the function `{}` works in a transaction, and what it gives back is kept but never sent: add it by `App::on`",
            function.name
        )),
    }
}

fn of_handler(handler: &HandlerSettings, source: &SourceSettings) -> Option<String> {
    if !handler.from.contains(&source.name) {
        return Some(format!("`{}` gets no events of `{}`", handler.name, source.name));
    }
    if !handler.kind.answers() {
        return Some(format!("`{}` has no answer: only `http` and `exec` have", handler.name));
    }
    None
}
