//! What is read, what is refused, and any bytes.

use proptest::prelude::*;

use super::*;

const MAIL: &[u8] = b"--x-1\r\nContent-Disposition: form-data; name=\"recipient\"\r\n\r\nalice@example.com\r\n\
--x-1\r\nContent-Disposition: form-data; name=empty\r\n\r\n\r\n\
--x-1\r\ncontent-disposition: Form-Data; filename=\"a \\\"b\\\".txt\"; name=\"file\"\r\n\r\nnone\r\n--x-1--\r\n";

/// Names and values, of files `None`.
fn read(body: &[u8]) -> Result<Vec<(String, Option<String>)>, &'static str> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value =
        |part: &FormPart| (part.role == Role::Value).then(|| text(&body[part.content.clone()]));
    Ok(parts(body)?.iter().map(|part| (text(&part.name), value(part))).collect())
}

fn one(head: &str) -> Result<Vec<(String, Option<String>)>, &'static str> {
    read(format!("--b\r\n{head}\r\n\r\nvalue\r\n--b--").as_bytes())
}

fn field(name: &str, value: &str) -> (String, Option<String>) {
    (name.to_owned(), Some(value.to_owned()))
}

#[test]
fn parts_are_read_as_they_are_written() {
    // The file's name comes first, and holds what may be an escape.
    assert_eq!(read(MAIL), Err("a backslash makes a part's name two names"));
    let plain = String::from_utf8_lossy(MAIL).replace("\\\"", "'");
    assert_eq!(
        read(plain.as_bytes()),
        Ok(vec![
            field("recipient", "alice@example.com"),
            field("empty", ""),
            ("file".to_owned(), None),
        ])
    );
    for (disposition, wanted) in [
        ("form-data; name=\"a b\"", field("a b", "value")),
        ("form-data;name=a", field("a", "value")),
        ("form-data; name=\"a;b\" ; x=y", field("a;b", "value")),
        ("form-data; name=\"Größe\"", field("Größe", "value")),
        ("form-data; name=\"a\"; filename=\"it's\"", ("a".to_owned(), None)),
        ("form-data; name=\"a\"; filename=b; filename*=UTF-8'en'b", ("a".to_owned(), None)),
        ("form-data; name=\"a\"; filename=\"my \\\"name\\\"; x\"", ("a".to_owned(), None)),
    ] {
        let head = format!("Content-Type: text/plain\r\nContent-Disposition: {disposition}");
        assert_eq!(one(&head), Ok(vec![wanted]), "{disposition}");
    }
    // What only looks like the boundary is content.
    let inside = b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n--c--\n-b\r\n--b--\r\n";
    assert_eq!(read(inside), Ok(vec![field("a", "--c--\n-b")]));
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for head in [
        "Content-Disposition: form-data",
        "Content-Disposition: form-data; name",
        "Content-Disposition: form-data; name=",
        "Content-Disposition: form-data; name=\"a",
        "Content-Disposition: form-data; name=\"a\" name=\"b\"",
        "Content-Disposition: form-data; name=\"a\"; name=\"b\"",
        "Content-Disposition: form-data; name=a; name*=UTF-8''b",
        "Content-Disposition: form-data; name=\"a\\\"b\"",
        "Content-Disposition: form-data; x=\"\\\"; name=\"a\"",
        "Content-Disposition: attachment; name=\"a\"",
        "Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b",
        "Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64",
        "Content-Disposition: form-data;\r\n name=a",
        "Content-Disposition : form-data; name=a",
        "Content-Type: text/plain",
        "",
    ] {
        assert!(one(head).is_err(), "{head}: {:?}", one(head));
    }
    for body in [
        "",
        "--",
        "--\r\n",
        "--b",
        "--b\r\n",
        "--b--\r\n",
        "preamble\r\n--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--",
        "--b\nContent-Disposition: form-data; name=a\n\nx\n--b--",
        "--b c\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b c--",
        "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx",
        "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b",
        "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--bb\r\n--b--",
        "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b \r\n--b--",
        "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--\r\nepilogue",
        "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--\r\n\r\n",
        "--b,c\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b,c--",
        "--'b'\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--'b'--",
        "--(b)\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--(b)--",
    ] {
        assert!(read(body.as_bytes()).is_err(), "{body:?}: {:?}", read(body.as_bytes()));
    }
    let long = "b".repeat(BOUNDARY_BYTES_MAX + 1);
    let body = format!("--{long}\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--{long}--");
    assert!(read(body.as_bytes()).is_err());
}

#[test]
fn work_is_bounded() {
    let part = "\r\n--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx";
    let body = |n: usize| format!("{}\r\n--b--", part.repeat(n).trim_start());
    assert_eq!(read(body(PARTS_MAX).as_bytes()).map(|all| all.len()), Ok(PARTS_MAX));
    assert_eq!(read(body(PARTS_MAX + 1).as_bytes()), Err("it has too many parts"));
    let lines = "X: y\r\n".repeat(head::HEADERS_MAX);
    assert!(one(&format!("{lines}Content-Disposition: form-data; name=a")).is_err());
    let long = "y".repeat(HEAD_BYTES_MAX);
    assert!(one(&format!("X: {long}\r\nContent-Disposition: form-data; name=a")).is_err());
}

fn written(boundary: &str, fields: &[(String, String)]) -> String {
    let part = |(name, value): &(String, String)| {
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        )
    };
    format!("{}--{boundary}--\r\n", fields.iter().map(part).collect::<String>())
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        boundary in "[A-Za-z0-9+_./:=?-]{8,70}",
        fields in prop::collection::vec(("[a-zA-Z0-9_]([a-zA-Z0-9_ -]{0,18}[a-zA-Z0-9_])?", "[ -~é\r\n-]{0,60}"), 1..6),
        value in "[ -~é\r\n-]{0,60}",
    ) {
        prop_assume!(fields.iter().all(|(_, text)| !text.contains(&boundary)));
        prop_assume!(!value.contains(&boundary));
        let body = written(&boundary, &fields);
        let wanted: Vec<_> = fields.iter().map(|(name, text)| field(name, text)).collect();
        prop_assert_eq!(read(body.as_bytes()), Ok(wanted));
        // What is put into it is there, and all else stays.
        let name = &fields[0].0;
        if fields.iter().filter(|(other, _)| other == name).count() == 1 {
            let changed = with_value(body.as_bytes(), name, &value).expect("can be put");
            let mut other = fields.clone();
            other[0].1 = value.clone();
            prop_assert_eq!(changed, written(&boundary, &other).into_bytes());
        }
        let added = with_value(body.as_bytes(), "not there", &value);
        if fields.iter().all(|(other, _)| other != "not there") {
            let mut other = fields.clone();
            other.push(("not there".to_owned(), value));
            prop_assert_eq!(added, Ok(written(&boundary, &other).into_bytes()));
        }
    }

    /// The parts lie one behind the other inside of the body, and no content holds the delimiter.
    #[test]
    fn any_bytes_are_read_or_refused(
        body in "(--b|\r\n|--|Content-Disposition: form-data; name=|\"a\"|a|;|\\\\|filename=|[ -~]){0,40}",
    ) {
        let body = format!("--b\r\n{body}").into_bytes();
        if let Ok(parts) = parts(&body) {
            let mut last = 0;
            for part in &parts {
                prop_assert!(last < part.content.start && part.content.end <= body.len());
                prop_assert!(memmem::find(&body[part.content.clone()], b"--b").is_none());
                last = part.content.end;
            }
            prop_assert!(!parts.is_empty());
        }
    }
}
