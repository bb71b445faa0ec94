//! What the micro-benchmarks do: shared by those that take times and the one that counts instructions.

use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use entity::Name;
use hookonce::received::{Headers, Received};
use hookonce::secret::Secret;
use hookonce::source::{Admitted, Source, SourceSettings, catalog};
use hookonce::store::{NewDelivery, NewEvent, record};
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(86_400);

/// Bytes of a body, as of a usual event of Stripe's.
const BODY: usize = 2048;

pub(crate) fn source(provider: &str) -> Source {
    let preset = catalog::get(provider).expect("a preset");
    Source::compile(SourceSettings {
        provider: Some(provider.to_owned()),
        secrets: vec![Secret::new("whsec_0123456789abcdef0123456789abcdef".to_owned())],
        max_body: 1 << 20,
        ..SourceSettings::new(Name::new(provider).expect("a name"), preset.source.clone())
    })
    .expect("a source")
}

/// A signed request with the header lines of a usual sender.
pub(crate) fn request(source: &Source, n: usize) -> Received {
    let mut headers = Headers::new();
    for (name, value) in [
        ("accept", "*/*; q=0.5, application/xml"),
        ("cache-control", "no-cache"),
        ("content-type", "application/json; charset=utf-8"),
        ("host", "hooks.example.com"),
        ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
        ("x-github-event", "push"),
    ] {
        headers.push(name, value);
    }
    headers.push("x-github-delivery", format!("72d3162e-cc78-11e3-81ab-{n:012}"));
    let mut body = format!(
        r#"{{"id":"evt_{n:024}","object":"event","type":"invoice.paid","livemode":true,"data":{{"object":{{"#
    );
    for field in 0.. {
        if body.len() + 60 > BODY {
            break;
        }
        let value = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(field + 1);
        body.push_str(&format!(r#""field_{field}":"{value:016x}","n_{field}":{field},"#));
    }
    body.push_str(r#""last":null}}}"#);
    let unsigned = Received {
        method: "POST".to_owned(),
        target: source.path().to_owned(),
        headers,
        body: Bytes::from(body),
        peer: None,
        arrived_at: Utc::now(),
    };
    source.sign(unsigned, Utc::now(), 0).expect("signed")
}

/// A function of its own, so that a profiler shows it by name.
#[inline(never)]
pub(crate) fn admit_one(source: &Source, request: Received) -> Admitted {
    source.admit(request, Utc::now()).expect("admitted")
}

#[inline(never)]
pub(crate) fn encode_one(batch: &[&NewEvent]) -> sqlx::postgres::PgArguments {
    record::encode_for_postgres(batch).expect("encoded")
}

pub(crate) fn new_event(source: &Source, n: usize) -> NewEvent {
    let Admitted::Event(verified) = admit_one(source, request(source, n)) else {
        unreachable!("a signed event is no handshake")
    };
    NewEvent {
        id: Uuid::now_v7(),
        verified,
        deliveries: vec![NewDelivery::pending(Name::new("audit").expect("a name"))],
        keys: 35 * DAY,
        bodies: 30 * DAY,
    }
}
