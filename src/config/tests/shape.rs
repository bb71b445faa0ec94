//! `when` and `transform` in the file.

use super::*;

#[test]
fn expressions_are_compiled_when_the_file_is_read() {
    let text = format!("{STRIPE}when = 'body.livemode == true'\ntransform = '{{id: .id}}'\n");
    let config = read(&text);
    let shape = config.handlers[0].shape.as_ref().expect("a shape");
    assert_eq!(shape.settings().when.as_deref(), Some("body.livemode == true"));
    let shown = show::table(&config).to_string();
    assert!(shown.contains("body.livemode == true") && shown.contains("{id: .id}"), "{shown}");
    assert!(read(STRIPE).handlers[0].shape.is_none());
}

#[test]
fn each_faulty_expression_is_reported_at_its_line() {
    let text = format!("{STRIPE}when = 'payload.livemode'\ntransform = '{{id: '\n");
    let faults = faults(&text);
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults[0].starts_with("h.toml:7:"), "{faults:#?}");
    assert!(faults[0].contains("`when` names `payload`: there are"), "{faults:#?}");
    assert!(faults[1].starts_with("h.toml:8:"), "{faults:#?}");
    assert!(faults[1].contains("`transform` is not jq"), "{faults:#?}");
}
