use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line_ {
    #[command(flatten)]
    args: Args,
}

fn parse(words: &[&str]) -> Result<Args, clap::Error> {
    Line_::try_parse_from([&["send"], words].concat()).map(|line| line.args)
}

#[test]
fn every_flag_of_the_contract_is_understood() {
    let args = parse(&[
        "stripe",
        "invoice.paid",
        "--to",
        "http://127.0.0.1:1/in/stripe",
        "--source",
        "stripe",
        "--set",
        "/data/object/amount=100",
        "--set",
        "livemode=true",
        "--id",
        "evt_1",
        "--count",
        "3",
        "--rate",
        "50/s",
        "--duration",
        "10s",
        "--twice",
        "--concurrent",
        "8",
        "--bad-signature",
        "--stale",
        "--truncate",
        "--reorder",
        "--seed",
        "7",
        "--wait",
        "10s",
    ])
    .expect("parsed");
    let fixtures = args.fixtures().expect("a fixture");
    assert_eq!(fixtures[0].kind, "invoice.paid");
    assert_eq!(args.wait, Some(Duration::from_secs(10)));
    let plan = args.plan(fixtures);
    assert_eq!(plan.changes.len(), 2);
    assert_eq!((plan.count, plan.rate, plan.concurrent), (Some(3), Some(50.0), 8));
    assert_eq!(plan.faults, [Fault::BadSignature, Fault::Stale, Fault::Truncate]);
    assert!(plan.twice && plan.reorder && plan.seed == Some(7));
    let load = "stripe --summary --journal acks --duplicates 0.2 --size 4096 --idle 60000 --concurrent 10000";
    let args = parse(&load.split(' ').collect::<Vec<_>>()).expect("parsed");
    assert!(args.load.is_load() && args.load.is_summarised() && args.size == Some(4096));
    assert!(super::load::check(&args).is_ok());
    let (flags, plan) = (args.load.clone(), args.plan(Vec::new()));
    let load = flags.plan(plan);
    assert_eq!((load.duplicates, load.idle, load.plan.concurrent), (0.2, 60_000, 10_000));
    for bad in [
        &["stripe", "--count", "0"][..],
        &["stripe", "--concurrent", "10001"],
        &["stripe", "--duplicates", "1"],
        &["stripe", "--idle", "60001"],
        &["stripe", "--set", "x"],
        &["stripe", "--rate", "0"],
        &[],
    ] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_rate_is_a_number_a_second_a_minute_or_an_hour() {
    for (text, want) in
        [("50/s", 50.0), ("50", 50.0), ("600/m", 10.0), ("3600/h", 1.0), ("0.5/s", 0.5)]
    {
        assert_eq!(rate(text), Ok(want), "{text}");
    }
    for text in ["", "/s", "-1", "0/s", "50/d", "inf", "s"] {
        assert!(rate(text).is_err(), "{text}");
    }
}

#[test]
fn a_listener_on_all_addresses_is_reached_at_loopback() {
    for (listen, want) in [
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        ("[::]:8080", "[::1]:8080"),
        ("192.0.2.1:80", "192.0.2.1:80"),
    ] {
        assert_eq!(reachable(listen.parse().expect("an address")).to_string(), want);
    }
}

#[test]
fn a_line_says_what_became_of_a_request() {
    let sent = Sent {
        status: 200,
        code: "accepted".to_owned(),
        event: Some(Uuid::from_u128(1)),
        event_id: Some("evt_1\n".to_owned()),
        kind: "invoice.paid".to_owned(),
        elapsed: Duration::from_micros(1834),
        body: bytes::Bytes::new(),
    };
    let line = Line::new(&sent);
    let text = "accepted  200  evt_1\\n  00000000-0000-0000-0000-000000000001  1.8 ms";
    assert_eq!(line.text(), text);
    let json = serde_json::to_value(&line).expect("JSON");
    let want = serde_json::json!({
        "status": 200, "code": "accepted", "event_id": "evt_1\n",
        "event": "00000000-0000-0000-0000-000000000001", "ms": 1.834,
    });
    assert_eq!(json, want);
}

#[test]
fn a_providers_name_is_the_provider_and_anything_with_a_slash_is_a_path() {
    assert!(!parse(&["stripe"]).expect("parsed").is_path());
    assert!(parse(&["./stripe"]).expect("parsed").is_path());
    let missing = parse(&["./no/such.json"]).expect("parsed").fixtures();
    assert!(matches!(missing, Err(Failure::Usage(_))));
    let unknown = parse(&["strip"]).expect("parsed").fixtures();
    assert!(matches!(unknown, Err(Failure::Usage(reason)) if reason.contains("stripe")));
}
