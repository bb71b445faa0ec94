//! Handlers that publish to a broker, in the file.

use super::*;

const SOURCE: &str =
    "[sources.chat]\nprovider = \"github\"\nsecrets = [{ value = \"0123456789abcdef0123\" }]\n";

fn handler(kind: &str) -> String {
    format!("{SOURCE}[handlers.out]\nfrom = \"chat\"\n{kind}\n")
}

#[test]
fn rabbitmq_is_read_and_shown_without_its_password() {
    for (written, exchange, routing_key) in [
        ("routing_key = \"deploys\"", "", "deploys"),
        ("exchange = \"github\"", "github", ""),
        ("exchange = \"github\", routing_key = \"deploys.main\"", "github", "deploys.main"),
    ] {
        let server = "amqp://ann:hunter22@mq/orders";
        let config = read(&handler(&format!("amqp = {{ server = {server:?}, {written} }}")));
        let crate::handler::Kind::Amqp(amqp) = &config.handlers[0].kind else { panic!() };
        assert_eq!((amqp.exchange.as_str(), amqp.routing_key.as_str()), (exchange, routing_key));
        let shown = show::table(&config).to_string();
        assert!(shown.contains("amqp://mq:5672/orders") && !shown.contains("hunter22"), "{shown}");
        assert!(!format!("{config:?}").contains("hunter22"));
    }
}

#[test]
fn what_rabbitmq_could_not_take_is_refused_with_its_line() {
    let long = format!("server = \"amqp://mq\", routing_key = {:?}", "x".repeat(256));
    for (written, want) in [
        ("routing_key = \"x\"", "`server` is missing"),
        ("server = \"amqp://mq\"", "`routing_key` is missing"),
        ("server = \"amqp://mq\", routing_ky = \"x\"", "did you mean `routing_key`?"),
        ("server = \"redis://u:hunter22@mq\", routing_key = \"x\"", "must begin with amqp://"),
        ("server = \"amqp://u:hunter22@mq/?a=b\", routing_key = \"x\"", "has a part after `?`"),
        ("server = \"amqp://mq\", exchange = \"a\\nb\"", "`exchange` is a text"),
        (long.as_str(), "`routing_key` is a text of at most 255 bytes"),
    ] {
        let found = faults(&handler(&format!("amqp = {{ {written} }}")));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("h.toml:6:") && found[0].contains(want), "{found:#?}");
        assert!(!found[0].contains("hunter22"), "{found:#?}");
    }
}

/// What is found, without that this build has no Kafka.
fn kafka_faults(text: &str) -> Vec<String> {
    let mut found = faults(text);
    let before = found.len();
    found.retain(|it| !it.contains("built without Kafka: build it with `--features kafka`"));
    assert_eq!(found.len() < before, !cfg!(feature = "kafka"), "{found:#?}");
    found
}

#[test]
fn what_kafka_could_not_take_is_refused_with_its_line() {
    let lane = "\nlane = \"body:/id\"";
    let query = "\nlane = \"query:id\"";
    for (written, lines, want) in [
        ("topic = \"x\"", "", "`server` is missing"),
        ("server = \"kafka:9092\"", "", "`topic` is missing"),
        ("server = \"kafka:9092\", topc = \"x\"", "", "did you mean `topic`?"),
        ("server = \"kafka\", topic = \"x\"", "", "must be host:port"),
        (
            "server = \"u:hunter22@kafka:1\", topic = \"x\"",
            "",
            "TLS and passwords aren't built yet",
        ),
        ("server = \"kafka:1\", topic = \"a b\"", "", "`topic` is a name of letters"),
        (
            "server = \"kafka:1\", topic = \"x\", key = \"lane\"",
            "",
            "the handler has none: add `lane`",
        ),
        ("server = \"kafka:1\", topic = \"x\", key = \"lane\"", query, "the query isn't kept"),
        ("server = \"kafka:1\", topic = \"x\", key = \"id\"", lane, "`id`"),
    ] {
        let found = kafka_faults(&handler(&format!("kafka = {{ {written} }}{lines}")));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("h.toml:6:") && found[0].contains(want), "{found:#?}");
        assert!(!found[0].contains("hunter22"), "{found:#?}");
    }
    let fine = "kafka = { server = \"a:1,b:2\", topic = \"x\", key = \"lane\" }";
    if cfg!(feature = "kafka") {
        let shown = show::table(&read(&handler(&format!("{fine}{lane}")))).to_string();
        assert!(shown.contains("a:1,b:2") && shown.contains("key = \"lane\""), "{shown}");
    } else {
        assert!(kafka_faults(&handler(&format!("{fine}{lane}"))).is_empty());
    }
}
