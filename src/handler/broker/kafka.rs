//! Records of a Kafka topic, acknowledged by all replicas in sync.
//!
//! Only built with the feature `kafka`, because it brings librdkafka, which is C. What the config says of
//! it is known to every build, so that one without it can say what is missing.

use std::sync::Arc;
use std::time::Duration;

use crate::handler::Handler;

#[cfg(feature = "kafka")]
mod producer;

#[cfg(feature = "kafka")]
pub use producer::KafkaHandler;

/// What a build without the feature says.
pub const WITHOUT_KAFKA: &str =
    "this binary was built without Kafka: build it with `--features kafka`";

/// The most bytes of a topic's name, by Kafka's own rule.
const TOPIC_BYTES_MAX: usize = 249;

/// Servers of one Kafka, checked: `host:port` with commas between.
#[derive(Debug, Clone)]
pub struct KafkaServers(String);

impl KafkaServers {
    /// Checks them. The error says what is wrong and shows nothing of the text, in which somebody may have
    /// written a password.
    pub fn new(text: &str) -> Result<Self, String> {
        let servers: Vec<&str> = text.split(',').map(str::trim).collect();
        for server in &servers {
            if server.contains("://") || server.contains('@') {
                return Err("is `host:port` only: TLS and passwords aren't built yet".to_owned());
            }
            let (host, port) = server.rsplit_once(':').unwrap_or_default();
            let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            let known = match inner {
                Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
                None => !host.is_empty() && host.chars().all(fits),
            };
            if !known || !port.parse::<u16>().is_ok_and(|port| port != 0) {
                return Err(
                    "must be host:port, several with commas between, such as kafka:9092".to_owned()
                );
            }
        }
        Ok(Self(servers.join(",")))
    }

    /// As they are given to the client.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A topic of the operator's.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// Where Kafka is.
    pub servers: KafkaServers,
    /// Where records go.
    pub topic: String,
    /// Whether the name of a delivery's lane is its record's key.
    pub keyed: bool,
}

/// Whether Kafka takes a topic of this name.
#[must_use]
pub fn is_topic(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=TOPIC_BYTES_MAX).contains(&name.len())
        && name.chars().all(fits)
        && name != "."
        && name != ".."
}

/// Makes one as a shared handler; `timeout` is what one call may take.
#[cfg(feature = "kafka")]
pub(crate) fn shared(
    settings: &KafkaSettings,
    timeout: Duration,
) -> Result<Arc<dyn Handler>, String> {
    Ok(Arc::new(KafkaHandler::new(settings, timeout)))
}

/// Says what to do.
#[cfg(not(feature = "kafka"))]
pub(crate) fn shared(_: &KafkaSettings, _: Duration) -> Result<Arc<dyn Handler>, String> {
    Err(WITHOUT_KAFKA.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_hosts_with_ports_and_nothing_else() {
        for (text, want) in [
            ("kafka:9092", "kafka:9092"),
            ("a.b-c:1, [::1]:9093", "a.b-c:1,[::1]:9093"),
            ("127.0.0.1:19092", "127.0.0.1:19092"),
        ] {
            assert_eq!(KafkaServers::new(text).expect(text).as_str(), want);
        }
        for text in [
            "",
            "kafka",
            ":9092",
            "kafka:",
            "kafka:0",
            "kafka:http",
            "a:1,,b:2",
            "ssl://hunter2:9093",
            "ann:hunter2@kafka:9092",
            "a b:1",
        ] {
            let why = KafkaServers::new(text).expect_err(text);
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_topic_has_a_name_that_kafka_takes() {
        assert!(is_topic("deploys.main-1_x") && is_topic(&"x".repeat(TOPIC_BYTES_MAX)));
        for name in ["", ".", "..", "a b", "a/b", "é"] {
            assert!(!is_topic(name), "{name}");
        }
        assert!(!is_topic(&"x".repeat(TOPIC_BYTES_MAX + 1)));
    }
}
