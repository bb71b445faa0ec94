use super::*;
use crate::received::Headers;

fn script(texts: &[&str], dialect: Dialect) -> Result<Script, String> {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    Script::read(&texts, dialect).map_err(|faults| faults[0].1.clone())
}

fn numbered(text: &str, dialect: Dialect) -> String {
    let script = script(&[text], dialect).unwrap_or_else(|why| panic!("{text}: {why}"));
    script.statements()[0].text(|n| format!("<{n}>"))
}

fn event(body: &str) -> Event {
    let mut headers = Headers::default();
    headers.push("X-Region", "eu");
    headers.push("twice", "1");
    headers.push("twice", "2");
    Event {
        id: Uuid::nil(),
        source: entity::Name::new("shop").unwrap(),
        event_id: "evt_1".to_owned(),
        kind: "order.paid".to_owned(),
        received_at: DateTime::UNIX_EPOCH,
        headers,
        body: Bytes::from(body.to_owned()),
    }
}

#[test]
fn only_places_are_replaced() {
    for (text, want) in [
        ("insert into t values (:event.id, :body.a.0.b)", "insert into t values (<1>, <2>)"),
        ("select ':event.id', \":body.x\", :event.id", "select ':event.id', \":body.x\", <1>"),
        (
            "select 'it''s :body.x' -- :body.y\n, :event.id",
            "select 'it''s :body.x' -- :body.y\n, <1>",
        ),
        ("select /* :body.x */ :event.id::text", "select /* :body.x */ <1>::text"),
        ("select 1 where :body.a-1 > 0", "select 1 where <1>-1 > 0"),
        ("select :header.x-region, :header.x-1", "select <1>, <2>"),
        ("select :body.\"odd-key: x\".y?, 1;  ", "select <1>, 1"),
        ("select :event.id.", "select <1>."),
    ] {
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            assert_eq!(numbered(text, dialect), want, "{dialect:?}");
        }
    }
    for (text, want) in [
        (r"select E'a\':body.x', 'b\', :event.id", r"select E'a\':body.x', 'b\', <1>"),
        (
            "select $$ :body.x $$, $a$ $$ :b $a$, :event.id",
            "select $$ :body.x $$, $a$ $$ :b $a$, <1>",
        ),
        ("select /* a /* :b */ :c */ :event.id", "select /* a /* :b */ :c */ <1>"),
        ("select a[1 : 2], b ? 'k', :event.id", "select a[1 : 2], b ? 'k', <1>"),
    ] {
        assert_eq!(numbered(text, Dialect::Postgres), want);
    }
    for (text, want) in [
        ("select [:body.x], `:body.y`, :event.id", "select [:body.x], `:body.y`, <1>"),
        ("select /* a /* :b */ :event.id", "select /* a /* :b */ <1>"),
    ] {
        assert_eq!(numbered(text, Dialect::Sqlite), want);
    }
}

#[test]
fn what_can_not_be_meant_is_refused() {
    for (text, words) in [
        ("", "empty"),
        ("  -- only a comment", "empty"),
        ("commit", "can't begin with `commit`"),
        ("BEGIN", "can't begin with `begin`"),
        ("set role x", "can't begin with `set`"),
        ("/* x */ rollback", "can't begin with `rollback`"),
        ("pragma foreign_keys = off", "can't begin with `pragma`"),
        ("(select 1)", "can't begin with `(`"),
        (":event.id", "can't begin with `:event.id`"),
        ("select 1; commit", "behind the `;`"),
        ("select 'x", "never closed"),
        ("select /* x", "never closed"),
        ("select :evnt.id", "`:evnt.id` is no value"),
        ("select :event.idd", "is no value"),
        ("select :event.id?", "always there"),
        ("select $1", "without a name"),
    ] {
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            let why = script(&[text], dialect).expect_err(text);
            assert!(why.contains(words), "{text}: {why}");
        }
    }
    assert!(script(&["select ?"], Dialect::Sqlite).is_err());
    assert!(script(&["select $x$ :event.id"], Dialect::Postgres).is_err());
    let many: Vec<String> = (0..65).map(|n| format!("select :body.k{n}")).collect();
    assert!(Script::read(&many, Dialect::Sqlite).is_err());
}

#[test]
fn values_are_what_the_sender_wrote() {
    let script = script(
        &["insert into t values (:event.id, :event.type, :event.source, :event.received_at, :delivery.id, :header.x-region, :body.n, :body.big, :body.list.1, :body.t, :body.o, :body.nil, :body.gone?, :header.gone?, :body.\"a/b~\")"],
        Dialect::Postgres,
    )
    .unwrap();
    let body = r#"{"n": 12345678901234567890.10, "big": 1e400, "list": [1, "two"], "t": true, "o": {"x": [1]}, "nil": null, "a/b~": "\u00e9'; drop"}"#;
    let filled = script.fill(&event(body), Uuid::nil()).unwrap();
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(
        filled,
        [vec![
            text("evt_1"),
            text("order.paid"),
            text("shop"),
            Value::Time(DateTime::UNIX_EPOCH),
            Value::Id(Uuid::nil()),
            text("eu"),
            Value::Number("12345678901234567890.10".to_owned()),
            Value::Number("1e400".to_owned()),
            text("two"),
            Value::Bool(true),
            Value::Json(r#"{"x": [1]}"#.to_owned()),
            Value::Null,
            Value::Null,
            Value::Null,
            text("é'; drop"),
        ]]
    );
}

#[test]
fn what_is_missing_is_never_null_silently() {
    for (place, body, words) in [
        (":body.a.b", "{}", "`:body.a.b` has no value"),
        (":body.a.b", "not json", "no JSON"),
        (":body.a?", "not json", "no JSON"),
        (":body.a", r#"{"a": 1, "a": 2}"#, "stands twice"),
        (":body.a", r#"{"a": "\ud800"}"#, "no text"),
        (":header.gone", "{}", "no such header"),
        (":header.twice", "{}", "stands twice"),
    ] {
        let script = script(&[&format!("select {place}")], Dialect::Postgres).unwrap();
        let why = script.fill(&event(body), Uuid::nil()).expect_err(place);
        assert!(why.contains(words), "{place}: {why}");
    }
    // A script that asks for nothing of the body takes any body.
    let plain = script(&["select :event.id, :body"], Dialect::Postgres).unwrap();
    assert!(plain.fill(&event("not json"), Uuid::nil()).is_ok());
}
