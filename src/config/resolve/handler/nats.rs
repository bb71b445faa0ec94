//! A handler that publishes to a NATS subject.

use crate::config::desk::Desk;
use crate::config::file::broker::FileNats;
use crate::handler::Kind;
use crate::handler::broker::{NatsServers, NatsSettings};

pub(super) fn kind(desk: &mut Desk<'_>, text: &str, file: &FileNats) -> Option<Kind> {
    let at = ["handlers", text, "nats"];
    let reported = desk.has_faults_under(&at);
    let servers = match &file.server {
        Some(written) => {
            let at = ["handlers", text, "nats", "server"];
            let urls = desk.text(&at, written);
            urls.and_then(|urls| {
                NatsServers::new(urls)
                    .map_err(|why| desk.fault(&at, format!("`server` {why}")))
                    .ok()
            })
        }
        None if reported => None,
        None => {
            desk.fault(&at, "`server` is missing: write nats://host:4222, or { env = \"…\" }");
            None
        }
    };
    // What a subject can't be published to: wildcards, empty parts, spaces.
    let fits = |subject: &str| {
        subject.split('.').all(|part| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_graphic() && !"*>".contains(c))
        })
    };
    let subject = match &file.subject {
        Some(subject) if fits(subject) => Some(subject.clone()),
        Some(_) => {
            let why = "`subject` is a name such as deploys.main, without wildcards and spaces";
            desk.fault(&["handlers", text, "nats", "subject"], why);
            None
        }
        None if reported => None,
        None => {
            desk.fault(&at, "`subject` is missing: where are the messages to go?");
            None
        }
    };
    Some(Kind::Nats(NatsSettings { servers: servers?, subject: subject? }))
}
