//! `respond` and what holds handlers back, in the file.

use super::*;

const SOURCE: &str =
    "[sources.chat]\nprovider = \"github\"\nsecrets = [{ value = \"0123456789abcdef0123\" }]\n";
const SLASH: &str = "[handlers.slash]\nfrom = \"chat\"\nhttp = { url = \"http://a/\" }\n";

#[test]
fn a_handler_may_answer_for_its_source() {
    let config = read(&format!("{SOURCE}respond = {{ handler = \"slash\" }}\n{SLASH}"));
    let respond = config.sources[0].respond.as_ref().expect("one");
    assert_eq!((respond.handler.as_str(), respond.deadline.as_millis()), ("slash", 2500));
    let shown = show::table(&config).to_string();
    assert!(shown.contains("handler = \"slash\""), "{shown}");
}

#[test]
fn who_could_not_answer_is_refused_with_its_line() {
    for (respond, handler, line, want) in [
        ("{ handler = \"slsh\" }", SLASH, 4, "there is no handler `slsh`; did you mean `slash`?"),
        ("{ deadline = \"1s\" }", SLASH, 4, "`handler` is missing"),
        ("{ handler = \"slash\", deadline = \"1m\" }", SLASH, 4, "up to 30s"),
        ("{ handler = \"slash\", deadlne = \"1s\" }", SLASH, 4, "did you mean `deadline`"),
        (
            "{ handler = \"slash\" }",
            "[handlers.slash]\nfrom = \"chat\"\nlog = {}\n",
            4,
            "`slash` has no answer: only `http` and `exec` have",
        ),
        (
            "{ handler = \"slash\" }",
            "[sources.other]\nprovider = \"github\"\nsecrets = [{ value = \"abcdef0123456789abcd\" }]\n[handlers.slash]\nfrom = \"other\"\nhttp = { url = \"http://a/\" }\n",
            4,
            "`slash` gets no events of `chat`: add it to its `from`",
        ),
        (
            "{ handler = \"on.other.slash\" }",
            SLASH,
            4,
            "`on.other.slash` gets no events of `chat`: a function that does is called `on.chat.…`",
        ),
        (
            "{ handler = \"on.chat.slash\" }",
            "[handlers.\"on.chat.slash\"]\nfrom = \"chat\"\nlog = {}\n",
            4,
            "`on.chat.slash` has no answer: only `http` and `exec` have",
        ),
    ] {
        let found = faults(&format!("{SOURCE}respond = {respond}\n{handler}"));
        let at = format!("h.toml:{line}:");
        assert!(found.iter().any(|it| it.starts_with(&at) && it.contains(want)), "{found:#?}");
    }
}

#[test]
fn a_handler_whose_events_never_come_is_refused() {
    let typeless = "[sources.chat]\nverify = { token = \"header:x-token\" }\nevent = { id = \"header:x-id\" }\nsecrets = [{ value = \"0123456789abcdef0123\" }]\nrespond = { handler = \"slash\" }\n";
    for (events, refused) in [("\"invoice.*\"", true), ("[\"invoice.*\", \"*\"]", false)] {
        let found = faults(&format!("{typeless}{SLASH}events = {events}\n"));
        let said = found
            .iter()
            .any(|it| it.starts_with("h.toml:5:") && it.contains("events of `chat` have no type"));
        assert_eq!((said, found.is_empty()), (refused, !refused), "{found:#?}");
    }
    // Where there are types, only the sender knows which come.
    let found =
        faults(&format!("{SOURCE}respond = {{ handler = \"slash\" }}\n{SLASH}events = \"x\"\n"));
    assert!(found.is_empty(), "{found:#?}");
    let function = faults(&format!("{SOURCE}respond = {{ handler = \"on.chat.slash\" }}\n{SLASH}"));
    assert!(function.is_empty(), "an embedder's: {function:#?}");
}

#[test]
fn what_holds_a_handler_back_is_read_and_shown() {
    let lines =
        "rate = \"10/m\"\nbreaker = { failures = 5 }\npause_on = [410]\non_unknown = \"park\"\n";
    let config = read(&format!("{SOURCE}{SLASH}{lines}"));
    let control = &config.handlers[0].control;
    let rate = control.rate.expect("a rate");
    assert_eq!((rate.calls, rate.per.as_secs()), (10, 60));
    let breaker = control.breaker.expect("a breaker");
    assert_eq!((breaker.failures, breaker.pause.as_secs()), (5, 60));
    let shown = show::table(&config).to_string();
    for part in ["rate = \"10/m\"", "failures = 5", "pause_on = [410]", "on_unknown = \"park\""] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}

#[test]
fn what_could_not_hold_it_back_is_refused() {
    let log = "[handlers.slash]\nfrom = \"chat\"\nlog = {}\n";
    for (handler, line, want) in [
        (SLASH, "rate = \"0/s\"", "pause it instead"),
        (SLASH, "rate = \"5\"", "there is no `/`"),
        (SLASH, "breaker = { failures = 0 }", "failures"),
        (SLASH, "breaker = { pause = \"1ms\" }", "pause"),
        (SLASH, "pause_on = [200]", "not the HTTP status of a failure"),
        (log, "pause_on = [410]", "only for `http` and `exec`"),
        (log, "on_unknown = \"park\"", "can't be undone"),
        (SLASH, "on_unknown = \"maybe\"", "park"),
    ] {
        let found = faults(&format!("{SOURCE}{handler}{line}\n"));
        assert!(
            found.iter().any(|it| it.starts_with("h.toml:7:") && it.contains(want)),
            "{line}: {found:#?}"
        );
    }
}
