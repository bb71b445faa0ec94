use super::*;
use crate::handler::sample;

const BODY: &[u8] = br#"{"livemode": true, "amount": 1250, "rate": 0.25, "nothing": null,
    "items": [{"sku": "a", "n": 2}, {"sku": "b", "n": 1}], "text": "s3cret-body", "big": 123456789012345678901234567890.10}"#;

fn shape(when: Option<&str>, transform: Option<&str>) -> Result<Shape, Vec<ShapeFault>> {
    let settings =
        ShapeSettings { when: when.map(str::to_owned), transform: transform.map(str::to_owned) };
    Shape::new(&settings).map(|shape| shape.expect("an expression"))
}

fn when(text: &str, body: &'static [u8]) -> Result<bool, Failure> {
    let shape = shape(Some(text), None).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    shape.rules.judge(&sample::event(body), true).map(|made| match made {
        Made::Whole => true,
        Made::Skipped => false,
        Made::Body(_) => panic!("{text} has no transform"),
    })
}

fn transform(text: &str, body: &'static [u8]) -> Result<String, Failure> {
    let shape = shape(None, Some(text)).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    match shape.rules.judge(&sample::event(body), true) {
        Ok(Made::Body(body)) => Ok(String::from_utf8(body).expect("UTF-8")),
        Err(failure) => Err(failure),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn when_reads_the_body_the_headers_and_the_event() {
    for (text, want) in [
        ("body.livemode == true", true),
        ("body.livemode", true),
        ("!body.livemode", false),
        ("body.amount > 1000 && body.amount + 1 == 1251", true),
        ("body.rate < 0.5", true),
        ("body.rate < 1", true),
        ("body.nothing == null", true),
        ("has(body.gone)", false),
        ("has(body.gone) && body.gone > 1", false),
        ("'gone' in body", false),
        ("body.items.exists(i, i.sku == 'b')", true),
        ("body.items.all(i, i.n > 1)", false),
        ("size(body.items) == 2", true),
        ("body.items.map(i, i.n) == [2, 1]", true),
        ("body.text.startsWith('s3') && body.text.matches('^s[0-9]')", true),
        ("body['text'].contains('body') || body.text.endsWith('x')", true),
        ("type(body.amount) == int && string(body.amount) == '1250'", true),
        ("event.type == 'invoice.paid' && event.source == 'stripe' && event.id == 'evt_1'", true),
        ("event.received_at > '2025-'", true),
        ("event.uuid.startsWith('0192')", true),
        ("headers['content-type'].startsWith('application/json')", true),
        ("'x-gone' in headers", false),
        ("event.type in ['a', 'invoice.paid'] ? true : false", true),
        ("{'a': 1}.a == 1", true),
    ] {
        assert_eq!(when(text, BODY), Ok(want), "{text}");
    }
}

#[test]
fn the_body_is_read_only_when_it_is_named() {
    assert_eq!(when("event.type == 'invoice.paid'", b"not JSON"), Ok(true));
    let failure = when("body.x == 1", b"not JSON").unwrap_err();
    assert!(failure.cause.starts_with("`when`: the event's body isn't JSON"), "{failure:?}");
}

#[test]
fn an_error_of_when_is_a_failure_and_never_false() {
    for (text, want) in [
        ("body.gone == 1", "there is no field `gone`; guard it with has(…)"),
        ("body.items[7].n == 1", "out of bounds"),
        ("body.amount", "neither true nor false"),
        ("body.text", "neither true nor false"),
        ("body.amount > 'x'", ""),
        ("body.text + 1 == 2", ""),
        ("body.amount / 0 == 1", "division by zero"),
        ("int(body.text) == 1", ""),
        ("body.gone == 1 && body.livemode", "there is no field `gone`"),
    ] {
        let failure = when(text, BODY).expect_err(text);
        assert!(failure.cause.contains(want), "{text}: {failure:?}");
        assert!(!failure.cause.contains("s3cret"), "{text}: {failure:?}");
        assert!(!failure.cause.contains("1250"), "{text}: {failure:?}");
    }
    // The language's own logic: what is true or false whatever the rest says needs no rest.
    assert_eq!(when("body.livemode || body.gone == 1", BODY), Ok(true));
}

#[test]
fn what_can_never_work_is_refused_when_it_is_compiled() {
    for (text, want) in [
        ("", "is empty"),
        ("body.livemode = true", "is not CEL at line 1"),
        ("body.\n livemode ==", "is not CEL at line 2"),
        ("payload.x == 1", "names `payload`"),
        ("body.exists(i, j.x == 1)", "names `j`"),
        ("body.text.startWith('x')", "calls `startWith`"),
        ("now() > 3", "calls `now`"),
    ] {
        let faults = shape(Some(text), None).expect_err(text);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].key, "when");
        assert!(faults[0].why.contains(want), "{text}: {faults:?}");
    }
    for (text, want) in [
        ("{a: ", "is not jq"),
        (".a | nosuch", "names `nosuch`"),
        (".a\n| ) | .b", "line 2"),
        ("$x", "names `$x`"),
        ("env.HOME", "names `env`"),
        ("halt", "names `halt`"),
        ("debug", "names `debug`"),
        ("stderr", "names `stderr`"),
        ("input", "names `input`"),
        ("$ENV.HOME", "names `$ENV`"),
        ("import \"x\" as x; .", "imports a module"),
    ] {
        let faults = shape(None, Some(text)).expect_err(text);
        assert_eq!(faults[0].key, "transform");
        assert!(faults[0].why.contains(want), "{text}: {faults:?}");
    }
    let both = shape(Some("x"), Some("nosuch")).expect_err("two faults");
    assert_eq!(both.len(), 2);
    let long = format!("body.x == '{}'", "x".repeat(EXPRESSION_BYTES_MAX));
    assert!(shape(Some(&long), None).expect_err("long")[0].why.contains("longer than"));
}

#[test]
fn a_transform_gives_one_json_value() {
    for (text, want) in [
        ("{amount, sku: .items[0].sku}", r#"{"amount":1250,"sku":"a"}"#),
        ("[.items[].n]", "[2,1]"),
        (".gone", "null"),
        (".big", "123456789012345678901234567890.10"),
        ("$event.type + \" \" + $event.id", r#""invoice.paid evt_1""#),
        ("$headers[\"content-type\"]", r#""application/json; charset=utf-8""#),
        (".items | map(.n) | add", "3"),
        ("\"[1,2]\" | fromjson", "[1,2]"),
        ("\"12\" | tonumber", "12"),
        ("(.items[0] | tojson) | fromjson | .sku", r#""a""#),
        ("0 | todate", r#""1970-01-01T00:00:00Z""#),
        (".text | test(\"^s3\")", "true"),
        (".text | @base64", r#""czNjcmV0LWJvZHk=""#),
    ] {
        assert_eq!(transform(text, BODY).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn a_transform_that_gives_none_many_or_no_json_fails() {
    for (text, want) in [
        ("empty", "gave no value"),
        (".items[]", "more than one value"),
        ("nan", "JSON can't hold"),
        (".text.x", "it looks for a field"),
        (".text | error", "the filter raised an error"),
        (".text + 1", "calculates with what isn't a number"),
        ("[range(600000)]", "more than 1048576 bytes"),
        (".text | fromjson", "the filter raised an error"),
    ] {
        let failure = transform(text, BODY).expect_err(text);
        assert!(failure.cause.contains(want), "{text}: {failure:?}");
        assert!(!failure.cause.contains("s3cret"), "{text}: {failure:?}");
    }
    let failure = transform(".", b"NaN").expect_err("no JSON");
    assert!(failure.cause.contains("isn't JSON"), "{failure:?}");
}

/// A reader that recurses would end the process here.
#[test]
fn nothing_that_is_nested_deeply_reaches_a_reader() {
    let deep: &'static [u8] = Box::leak("[".repeat(1 << 20).into_bytes().into_boxed_slice());
    assert!(when("size(body) == 1", deep).unwrap_err().cause.contains("deeper than"));
    assert!(transform(".", deep).unwrap_err().cause.contains("deeper than"));
    let inside = format!("{{\"x\": {:?}}}", "[".repeat(1 << 20));
    let inside: &'static [u8] = Box::leak(inside.into_bytes().into_boxed_slice());
    let failure = transform(".x | fromjson", inside).unwrap_err();
    assert!(failure.cause.contains("raised an error"), "{failure:?}");
}

/// A parser that ran out of stack would end the process here.
#[tokio::test]
async fn no_expression_is_too_deep_to_be_compiled_or_refused() {
    let deep = |text: &str, n: usize| text.repeat(n);
    for text in [
        format!("{}.{}", deep("(", 8_000), deep(")", 8_000)),
        format!("{}.{}", deep("[", 8_000), deep("]", 8_000)),
        format!("{}1", deep("-", 16_000)),
        format!("{}1", deep("1+", 8_000)),
        format!("{}.", deep(".|", 8_000)),
        format!("{}.", deep("try ", 4_000)),
        format!("{}.{}", deep("def f:", 1_900), deep(";f", 1_900)),
        format!("{}.{}", deep("\"\\(", 3_000), deep(")\"", 3_000)),
    ] {
        // Whether it is taken is the parser's affair.
        drop(shape(None, Some(&text)));
    }
    for text in [
        format!("{}true{}", deep("(", 8_000), deep(")", 8_000)),
        format!("{}true", deep("!", 16_000)),
        format!("body{}", deep(".a", 8_000)),
        format!("body{}", deep("[0]", 5_000)),
        format!("{}1==1", deep("1+", 8_000)),
    ] {
        drop(shape(Some(&text), None));
    }
}

/// An expression that ran out of stack would end the process here.
#[tokio::test]
async fn the_deepest_condition_that_is_taken_can_be_evaluated() {
    let nested = |before: &str, inside: &str, after: &str, n: usize| {
        format!("{}{inside}{}", before.repeat(n), after.repeat(n))
    };
    for (before, inside, after) in [
        ("1 + ", "1 > 0", ""),
        ("!(true && ", "true", ")"),
        ("(1 - ", "1", ") * 1"),
        ("[1].all(a, ", "true", ")"),
        ("[1].exists_one(a, ", "true", ")"),
        ("size([1].map(a, ", "1", ")) == 1 ? 1 : 2"),
        ("[", "1", "]"),
        ("{'a': ", "1", "}"),
        ("", "1", " + 1"),
        ("true ? false : ", "true", ""),
    ] {
        let mut deepest = None;
        let refused =
            (1..200).find_map(|n| match shape(Some(&nested(before, inside, after, n)), None) {
                Ok(taken) => {
                    deepest = Some(taken);
                    None
                }
                Err(faults) => Some(faults),
            });
        let faults = refused.expect("there is an end");
        let why = &faults[0].why;
        assert!(why.contains("nested deeper than 50") || why.contains("not CEL"), "{faults:?}");
        let Some(deepest) = deepest else { continue };
        let shaped = deepest.apply(&sample::event(b"{}")).await;
        assert!(!matches!(shaped, Shaped::Changed(_)), "{before}: {shaped:?}");
    }
}

#[tokio::test]
async fn what_never_ends_is_left_behind_in_time() {
    // The runtime of a test waits for its threads, so this one does end, far later than it may.
    let shape = shape(None, Some("last(range(1000000))")).expect("a filter");
    let place = Arc::clone(&shape.threads).try_acquire_owned().ok();
    let shaped = shape.apply_within(&sample::event(b"{}"), Duration::from_millis(1), place).await;
    let Shaped::Slow(failure) = shaped else { panic!("{shaped:?}") };
    assert!(failure.cause.contains("took longer than 1ms"), "{failure:?}");
    assert_eq!(shape.threads.available_permits(), THREADS_MAX - 1, "it is still counted");
}

/// By a clock that stands still but for what is said here, so that no machine is too slow.
#[tokio::test(start_paused = true)]
async fn the_wait_for_a_place_is_no_part_of_the_time_to_judge() {
    let shape = Arc::new(shape(Some("body.livemode"), Some("{a: .amount}")).expect("expressions"));
    let others = Arc::clone(&shape.threads).acquire_many_owned(4).await.expect("all places");
    let waiting = tokio::spawn({
        let shape = Arc::clone(&shape);
        async move { shape.apply(&sample::event(BODY)).await }
    });
    tokio::task::yield_now().await;
    tokio::time::advance(PLACE_MAX - Duration::from_millis(1)).await;
    tokio::task::yield_now().await;
    drop(others);
    let shaped = waiting.await.expect("no panic");
    assert!(matches!(shaped, Shaped::Changed(_)), "{shaped:?}");
    assert_eq!(shape.threads.available_permits(), THREADS_MAX);
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_place_was_not_judged_and_can_come_again() {
    let shape = shape(None, Some(".amount")).expect("a filter");
    let others = Arc::clone(&shape.threads).acquire_many_owned(4).await.expect("all places");
    let Shaped::Crowded(failure) = shape.apply(&sample::event(BODY)).await else {
        panic!("it was judged")
    };
    let want = "`when` and `transform` were busy with other events of the handler for 10s";
    assert_eq!(failure.cause, want);
    drop(others);
    assert!(matches!(shape.apply(&sample::event(BODY)).await, Shaped::Changed(_)));
}

#[tokio::test]
async fn a_changed_event_says_that_it_is_json_and_is_else_the_same() {
    let mut event = sample::event(BODY);
    event.headers.push("content-encoding", "identity");
    event.headers.push("x-kept", "1");
    let shape = shape(Some("body.livemode"), Some("{a: .amount}")).expect("expressions");
    let Shaped::Changed(changed) = shape.apply(&event).await else { panic!("not changed") };
    assert_eq!(changed.content_type(), "application/json");
    assert_eq!(changed.headers.all("content-encoding").count(), 0);
    assert_eq!(changed.headers.all("x-kept").count(), 1);
    assert_eq!(&changed.body[..], br#"{"a":1250}"#);
    assert_eq!((changed.id, &changed.event_id), (event.id, &event.event_id));
    let false_one = sample::event(b"{\"livemode\": false}");
    assert!(matches!(shape.apply(&false_one).await, Shaped::Skipped));
}
