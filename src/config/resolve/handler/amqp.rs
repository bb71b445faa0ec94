//! A handler that publishes to RabbitMQ.

use crate::config::desk::Desk;
use crate::config::file::broker::FileAmqp;
use crate::handler::Kind;
use crate::handler::broker::{AMQP_NAME_BYTES_MAX, AmqpServer, AmqpSettings};

pub(super) fn kind(desk: &mut Desk<'_>, text: &str, file: &FileAmqp) -> Option<Kind> {
    let at = ["handlers", text, "amqp"];
    let reported = desk.has_faults_under(&at);
    let server = match &file.server {
        Some(written) => {
            let at = ["handlers", text, "amqp", "server"];
            let url = desk.text(&at, written);
            url.and_then(|url| {
                AmqpServer::new(url).map_err(|why| desk.fault(&at, format!("`server` {why}"))).ok()
            })
        }
        None if reported => None,
        None => {
            desk.fault(&at, "`server` is missing: write amqp://host:5672, or { env = \"…\" }");
            None
        }
    };
    let exchange = name(desk, text, "exchange", file.exchange.as_deref());
    let routing_key = name(desk, text, "routing_key", file.routing_key.as_deref());
    if exchange.as_deref() == Some("") && routing_key.as_deref() == Some("") && !reported {
        desk.fault(&at, "`routing_key` is missing: without `exchange` it is the name of the queue");
        return None;
    }
    Some(Kind::Amqp(AmqpSettings {
        server: server?,
        exchange: exchange?,
        routing_key: routing_key?,
    }))
}

/// A name that AMQP can hold; empty when it isn't written.
fn name(desk: &mut Desk<'_>, text: &str, key: &str, written: Option<&str>) -> Option<String> {
    let written = written.unwrap_or_default();
    if written.len() > AMQP_NAME_BYTES_MAX || written.contains(char::is_control) {
        let why = format!("`{key}` is a text of at most {AMQP_NAME_BYTES_MAX} bytes in one line");
        desk.fault(&["handlers", text, "amqp", key], why);
        return None;
    }
    Some(written.to_owned())
}
