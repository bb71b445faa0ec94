//! A handler that publishes to Kafka.

use crate::config::desk::Desk;
use crate::config::file::FileHandler;
use crate::config::file::broker::FileKafka;
use crate::handler::Kind;
use crate::handler::broker::kafka::{KafkaServers, KafkaSettings, WITHOUT_KAFKA, is_topic};

pub(super) fn kind(
    desk: &mut Desk<'_>,
    text: &str,
    handler: &FileHandler,
    file: &FileKafka,
) -> Option<Kind> {
    let at = ["handlers", text, "kafka"];
    let reported = desk.has_faults_under(&at);
    let servers = match &file.server {
        Some(written) => {
            let at = ["handlers", text, "kafka", "server"];
            let list = desk.text(&at, written);
            list.and_then(|list| {
                KafkaServers::new(list.expose())
                    .map_err(|why| desk.fault(&at, format!("`server` {why}")))
                    .ok()
            })
        }
        None if reported => None,
        None => {
            desk.fault(&at, "`server` is missing: write host:9092, or { env = \"…\" }");
            None
        }
    };
    let topic = match &file.topic {
        Some(topic) if is_topic(topic) => Some(topic.clone()),
        Some(_) => {
            let why = "`topic` is a name of letters, digits, `.`, `_` and `-`";
            desk.fault(&["handlers", text, "kafka", "topic"], why);
            None
        }
        None if reported => None,
        None => {
            desk.fault(&at, "`topic` is missing: where are the records to go?");
            None
        }
    };
    let keyed = file.key.is_some();
    if keyed {
        check_lane(desk, text, handler);
    }
    if !cfg!(feature = "kafka") {
        desk.fault(&at, WITHOUT_KAFKA);
    }
    Some(Kind::Kafka(KafkaSettings { servers: servers?, topic: topic?, keyed }))
}

/// A key that is the lane needs one that is known when the handler is called.
fn check_lane(desk: &mut Desk<'_>, text: &str, handler: &FileHandler) {
    let why = match handler.lane.as_deref() {
        None => "`key` is the delivery's lane, and the handler has none: add `lane`",
        Some(place) if place.trim_start().starts_with("query:") => {
            "`key` is the delivery's lane, and the query isn't kept: take the lane from elsewhere"
        }
        Some(_) => return,
    };
    desk.fault(&["handlers", text, "kafka", "key"], why);
}
