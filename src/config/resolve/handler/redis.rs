//! A handler that adds events to a Redis stream.

use std::time::Duration;

use crate::config::desk::Desk;
use crate::config::file::broker::FileRedis;
use crate::config::value::Text;
use crate::handler::Kind;
use crate::handler::broker::RedisStreamSettings;
use crate::redis_address::RedisAddress;

const MAX_LEN: u64 = 1_000_000;
/// Longer than the usual three days of retries.
const REMEMBER: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) fn kind(desk: &mut Desk<'_>, text: &str, file: &FileRedis) -> Option<Kind> {
    let at = ["handlers", text, "redis"];
    let reported = desk.has_faults_under(&at);
    let server = match &file.server {
        Some(written) => {
            let at = ["handlers", text, "redis", "server"];
            let url = desk.text(&at, written);
            url.and_then(|url| {
                RedisAddress::new(url)
                    .map_err(|why| desk.fault(&at, format!("`server` {why}")))
                    .ok()
            })
        }
        None if reported => None,
        None => {
            desk.fault(&at, "`server` is missing: write redis://host:6379, or { env = \"…\" }");
            None
        }
    };
    let stream = match &file.stream {
        Some(stream) if !stream.is_empty() && !stream.contains(['{', '}', '\0']) => {
            Some(stream.clone())
        }
        Some(_) => {
            let why =
                "`stream` is a name without braces: what is remembered beside it stands in them";
            desk.fault(&["handlers", text, "redis", "stream"], why);
            None
        }
        None if reported => None,
        None => {
            desk.fault(&at, "`stream` is missing: name the stream that events are added to");
            None
        }
    };
    let at = ["handlers", text, "redis", "max_len"];
    let max_len = desk.within(&at, file.max_len.unwrap_or(MAX_LEN), 1..=u64::from(u32::MAX));
    let at = ["handlers", text, "redis", "remember"];
    let remember = file.remember.map_or(REMEMBER, |Text(span)| span);
    let remember = desk.at_least(&at, remember, Duration::from_secs(1));
    Some(Kind::Redis(RedisStreamSettings { server: server?, stream: stream?, max_len, remember }))
}
