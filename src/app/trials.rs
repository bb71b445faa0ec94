//! The handlers of an app as people see them: their settings, and what they would do.

use std::sync::Arc;

use super::App;
use crate::config::show;
use crate::handler::trial::Trial;
use crate::handler::{Handler, HandlerSettings};
use crate::http::admin::shape::HandlerItem;
use crate::worker::effect::Effect;

/// A handler of the config with its settings.
pub(super) fn item(settings: &HandlerSettings) -> HandlerItem {
    let mut item = HandlerItem::from(settings);
    // A table of texts and numbers has a form in JSON.
    item.settings = serde_json::to_value(show::handler(settings)).ok();
    item
}

impl App {
    /// The handlers of the config, with their settings; functions of [`App::on`] aren't among them.
    #[must_use]
    pub fn handlers(&self) -> &[HandlerItem] {
        &self.handlers
    }

    /// The same handlers, to be asked what they would do with an event.
    #[must_use]
    pub fn trials(&self) -> Vec<Trial> {
        let configured = self
            .config
            .handlers
            .iter()
            .map(|it| (it.from.clone(), it.events.clone(), it.lane.clone()));
        let functions = self
            .functions
            .iter()
            .map(|it| (vec![it.source.clone()], vec![it.events.clone()], None));
        // Callees stand in the same order.
        configured
            .chain(functions)
            .zip(&self.callees)
            .map(|((from, events, lane), callee)| Trial {
                name: callee.name.clone(),
                from,
                events,
                shape: callee.shape.clone(),
                lane,
                timeout: callee.timeout,
                handler: match &callee.effect {
                    Effect::Call(handler) => Some(Arc::clone(handler)),
                    Effect::Elsewhere(handler) => Some(Arc::clone(handler) as Arc<dyn Handler>),
                    Effect::InTransaction(_) => None,
                },
            })
            .collect()
    }
}
