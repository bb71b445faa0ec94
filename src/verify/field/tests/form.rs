//! Forms: which of the two one is, and what two readers could read in two ways.

use super::*;

fn form(content_types: &[&str], body: &str) -> Received {
    let mut request = request("/in/x", "");
    for content_type in content_types {
        request.headers.push("content-type", content_type);
    }
    request.body = Bytes::copy_from_slice(body.as_bytes());
    request
}

/// A form with the boundary `b`, as its content type says.
fn parts(body: &str) -> Received {
    form(&["multipart/form-data; boundary=b"], body)
}

fn part(head: &str, value: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
}

fn some(text: &str) -> Result<Option<String>, Unreadable> {
    Ok(Some(text.to_owned()))
}

#[test]
fn a_field_of_a_multipart_form_has_one_value_or_says_why_not() {
    let mut form = parts(&format!(
        "{}{}{}{}--b--",
        part("name=\"json\"", "{\"t\":7}"),
        part("name=q", "1"),
        part("name=q", "2"),
        part("name=f; filename=f", "2"),
    ));
    assert_eq!(read("part:json:/t", &form), some("7"));
    assert_eq!(read("part:json", &form), some("{\"t\":7}"));
    assert_eq!(read("part:q", &form), Err(Unreadable::Repeated));
    assert_eq!(read("part:f", &form), Ok(None));
    assert_eq!(read("part:none", &form), Ok(None));
    assert_eq!(read("form:json", &form), Ok(None));
    // A form in pairs has no parts, and what only begins as a multipart form is malformed.
    assert_eq!(read("part:json", &request("/in/x", "json=1")), Ok(None));
    let cut = parts("--b\r\nContent-Disposition: form-data; name=json\r\n\r\n1");
    assert!(matches!(read("part:json", &cut), Err(Unreadable::Malformed(_))));

    for (place, value) in [("part:json:/t", "8"), ("part:new", "n"), ("part:json", "{}")] {
        let field = Field::parse(place).expect("a place");
        field.put(&mut form, value).expect("can be put");
        assert_eq!(read(place, &form), some(value), "{place}");
        assert_eq!(field.to_string(), place);
    }
    for (place, value) in [
        ("part:q", "3"),
        // Nothing that nobody would read as it was meant.
        ("part:f", "3"),
        ("part:new", "\r\n--b--"),
        ("part:new", "\n--b"),
        ("part:new", "--b"),
        ("part:a\"; x=\"", "3"),
        ("form:new", "3"),
    ] {
        let before = form.body.clone();
        let put = Field::parse(place).expect("a place").put(&mut form, value);
        assert!(put.is_err(), "{place}={value:?}");
        assert_eq!(form.body, before);
    }
}

/// Every reader must split a form in the same way: by the boundary that its content type names.
#[test]
fn the_content_type_names_the_boundary_that_a_form_begins_with() {
    let body = part("name=a", "1") + "--b--";
    for good in [
        "multipart/form-data; boundary=b",
        "multipart/form-data; boundary=\"b\"",
        "Multipart/Form-Data;boundary=b;",
        "multipart/form-data; charset=\"UTF-8\"; Boundary=\"b\" ; ",
        "multipart/form-data ;\tboundary=b; x=y",
        // What Apache HttpClient says by default.
        "multipart/form-data; charset=ISO-8859-1; boundary=b",
        "multipart/form-data; boundary=b; charset=windows-1252",
    ] {
        assert_eq!(read("part:a", &form(&[good], &body)), some("1"), "{good}");
        assert_eq!(read("form:a", &form(&[good], &body)), Ok(None), "{good}");
    }
    // A proxy may have doubled the line.
    let twice = ["multipart/form-data; boundary=b"; 2];
    assert_eq!(read("part:a", &form(&twice, &body)), some("1"));
    for bad in [
        &["multipart/form-data; boundary=c"][..],
        &["multipart/form-data; boundary=B"],
        &["multipart/form-data; boundary=bb"],
        &["multipart/form-data; boundary=\"b \""],
        &["multipart/form-data; boundary=b; boundary=c"],
        &["multipart/form-data; boundary=b; boundary=b"],
        &["multipart/form-data; boundary=b; boundary*=b"],
        &["multipart/form-data; boundary*0=b"],
        &["multipart/form-data; boundary=b; xboundary=c"],
        &["multipart/form-data; x=\"boundary=c\"; boundary=b"],
        &["multipart/form-data; boundary =b"],
        &["multipart/form-data; boundary= b"],
        &["multipart/form-data; boundary=b ; x=y"],
        &["multipart/form-data; boundary=b, x"],
        &["multipart/form-data; boundary=\"b"],
        &["multipart/form-data; boundary=\"\\b\""],
        &["multipart/form-data; boundary="],
        &["multipart/form-data; boundary"],
        &["multipart/form-data; boundary=b; charset=utf-16"],
        &["multipart/form-data; boundary=b; charset=\"UTF-7\""],
        &["multipart/form-data; boundary=b; charset=IBM037"],
        &["multipart/form-data; boundary=b; charset=x-none"],
        &["multipart/form-data"],
        &["multipart/mixed; boundary=b"],
        &["multipart/form-data, text/plain; boundary=b"],
        &["multipart/form-data; boundary=b", "multipart/form-data; boundary=c"],
        &["multipart/form-data; boundary=b", "application/x-www-form-urlencoded"],
        &["application/x-www-form-urlencoded"],
        &["application/json"],
        &[],
    ] {
        let request = form(bad, &body);
        for place in ["part:a", "part:a:/x", "part:none", "form:a", "form:none"] {
            let read = read(place, &request);
            assert!(matches!(read, Err(Unreadable::Malformed(_))), "{bad:?}, {place}: {read:?}");
        }
    }
}

/// Who goes by the content type must read the pairs that we read.
#[test]
fn a_form_in_pairs_is_not_said_to_be_multipart() {
    let pairs = "a=1&x=\r\n--b\r\nContent-Disposition: form-data; name=a\r\n\r\n2\r\n--b--";
    for good in [
        &["application/x-www-form-urlencoded; charset=utf-8"][..],
        &["application/x-www-form-urlencoded; charset=ISO-8859-1"],
        &["application/x-www-form-urlencoded;Charset=\"cp1252\""],
        &["application/x-www-form-urlencoded; charset="],
        &["application/x-www-form-urlencoded"; 2],
        &["text/plain"],
        &["text/plain; charset=utf-16"],
        &[],
    ] {
        assert_eq!(read("form:a", &form(good, pairs)), some("1"), "{good:?}");
        assert_eq!(read("part:a", &form(good, pairs)), Ok(None), "{good:?}");
    }
    for bad in [
        &["multipart/form-data; boundary=b"][..],
        &["Multipart/Mixed; boundary=b"],
        &["application/x-www-form-urlencoded", "multipart/form-data; boundary=b"],
        &["application/x-www-form-urlencoded, multipart/form-data; boundary=b"],
        &["application/x-www-form-urlencoded; charset=utf-16"],
        &["application/x-www-form-urlencoded; charset=utf-8; charset=IBM037"],
    ] {
        for place in ["form:a", "form:none", "part:a"] {
            let read = read(place, &form(bad, pairs));
            assert!(matches!(read, Err(Unreadable::Malformed(_))), "{bad:?}, {place}: {read:?}");
        }
    }
    let said = form(&["application/x-www-form-urlencoded"], "--a=1&b=2");
    assert!(matches!(read("form:b", &said), Err(Unreadable::Malformed(_))));
}

/// Some readers take these for files, and others for values.
#[test]
fn what_may_be_a_file_is_no_one_value() {
    let plain = part("name=a", "1");
    for doubtful in [
        part("name=a; filename*=UTF-8''x", "1"),
        part("filename*=UTF-8''x; name=a", "1"),
        part("name=a; filename=\"\"", "1"),
        part("name=a; filename=\" \"", "1"),
        part("name=a; filename=x; filename*=UTF-8''", "1"),
        part("name=a; filename=\"\"; filename*=UTF-8''x", "1"),
        part("name=a\r\nContent-Type: application/octet-stream", "1"),
        part("name=a\r\nContent-Type: multipart/mixed", "1"),
        part("name=a\r\nContent-Type: text/plain; charset=utf-16", "1"),
        part("name=a\r\nContent-Type: text/plain\r\nContent-Type: text/html", "1"),
        part("name=a\r\nContent-Type: text/plain; charset=ISO-8859-1", "é"),
        part("name=a\r\nContent-Encoding: gzip", "1"),
    ] {
        let alone = parts(&format!("{doubtful}--b--"));
        assert_eq!(read("part:a", &alone), Err(Unreadable::Doubtful), "{doubtful}");
        assert_eq!(read("part:b", &alone), Ok(None), "{doubtful}");
        for two in [format!("{plain}{doubtful}--b--"), format!("{doubtful}{plain}--b--")] {
            assert_eq!(read("part:a", &parts(&two)), Err(Unreadable::Repeated), "{two}");
        }
    }
    // A file is none, but where a value has its name: some keep both in one map.
    let file = part("name=a; filename=x; filename*=UTF-8''x", "2");
    assert_eq!(read("part:a", &parts(&format!("{file}{file}--b--"))), Ok(None));
    for two in [format!("{plain}{file}--b--"), format!("{file}{plain}--b--")] {
        assert_eq!(read("part:a", &parts(&two)), Err(Unreadable::Repeated), "{two}");
    }
    for plain in [
        "text/plain; charset=UTF-8",
        "text/plain;charset=\"us-ascii\"",
        "application/json",
        "text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: 8bit",
        "text/plain\r\nContent-Type: text/plain\r\nContent-Length: 1",
    ] {
        let body = part(&format!("name=a\r\nContent-Type: {plain}"), "1") + "--b--";
        assert_eq!(read("part:a", &parts(&body)), some("1"), "{plain}");
    }
}

/// Each of these has, to some reader, another field `a` than `1`, or none.
#[test]
fn what_two_readers_could_split_in_two_ways_is_malformed() {
    let plain = part("name=a", "1");
    for (what, body) in [
        ("LF in a head", "--b\r\nX: y\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n".into()),
        ("LF in an unread head", format!("{plain}{}", part("name=c\nX: y", "2"))),
        (
            "a head that LFs end",
            "--b\r\nContent-Disposition: form-data; name=a\n\n2\r\n\r\n1\r\n".into(),
        ),
        ("CR in a head", part("name=a\rX: y", "1")),
        ("a folded head", part("name=a;\r\n x=y", "1")),
        ("a folded head of another field", format!("{plain}{}", part("name=c\r\n\tx", "2"))),
        (
            "a head that begins with a space",
            "--b\r\n Content-Disposition: form-data; name=a\r\n\r\n1\r\n".into(),
        ),
        ("a boundary behind LF", part("name=a", &format!("1\n{plain}"))),
        ("a boundary behind CR", part("name=a", &format!("1\r{plain}"))),
        ("a last boundary behind LF", format!("{plain}{}", part("name=c", "2\n--b--\r\n"))),
        ("a boundary where a value begins", part("name=a", "--b--\r\n1")),
        ("a boundary in a line", part("name=a", "1--b--")),
        ("a boundary in a head", part("name=a; x=\"--b\"", "1")),
        ("a boundary as a header", part("name=a\r\n--b: x", "1")),
        ("name*", part("name=a; name*=UTF-8''c", "1")),
        ("name*0", part("name=a; name*0=c", "1")),
        ("name*0*", part("name=a; name*0*=UTF-8''c", "1")),
        ("filename*0", part("name=a; filename*0=c", "1")),
        ("filename*0*", part("name=a; filename*0*=UTF-8''c", "1")),
        ("any other with *", part("name=a; x*=UTF-8''c", "1")),
        ("two file names", part("name=c; filename=x; filename=\"\"", "1")),
        ("a name behind a backslash", part("name=a; filename=\"x\\\"; name=\"c\"", "1")),
        ("a file's name behind a backslash", part("name=a; filename=\"x\\\"; filename=\"\"", "1")),
        ("a parameter that hides a name", part("name=a; x; name=c", "1")),
        ("a space before =", part("name=c; name =a", "1")),
        ("a space behind =", part("name= a", "1")),
        ("single quotes", part("name='a'", "1")),
        ("single quotes that hide a name", part("x=y'; name=a; z='", "1")),
        ("an encoded word", part("name=\"=?utf-8?q?a?=\"", "2") + &plain),
        ("a second disposition in a header", part("name=a\r\nX: content-disposition:", "1")),
        (
            "a disposition in a header's name",
            "--b\r\nX-Content-Disposition: form-data; name=a\r\n".to_owned()
                + plain.trim_start_matches("--b\r\n"),
        ),
        ("an empty name", part("name=\"\"; filename=a", "2") + &plain),
        ("a name in capitals", part("Name=a", "1")),
        ("a file's name in capitals", part("name=a; FileName=x", "1")),
        ("a name that hides one", part("name=\"a;name=c\"", "1")),
        (
            "a file's name that hides one",
            plain.clone() + &part("name=c; filename=\"x; name=a\"", "2"),
        ),
        (
            "a file's encoded name that hides one",
            part("name=a; filename=x; filename*=\"a''; name=c\"", "1"),
        ),
        ("a parameter that is a name to some", part("name=a; x-name=c", "1")),
        ("a parameter that holds a name", part("name=a; x=\"name=c\"", "1")),
        (
            "a name behind a backslash and an encoded one",
            part("name=a; filename=\"x\\\"; name=c; filename*=UTF-8''x", "1"),
        ),
        (
            "a disposition that is too long",
            part(&format!("name=a; filename=\"{}\"", "x".repeat(1536)), "1"),
        ),
        ("a length that is none", part("name=a\r\nContent-Length: 2", "1")),
        (
            "parts in a part",
            plain.clone()
                + &part("name=c; filename=x\r\nContent-Type: multipart/mixed; boundary=c", "2"),
        ),
        ("a charset for the form", plain.clone() + &part("name=_charset_", "utf-16")),
    ] {
        let request = parts(&format!("{body}--b--\r\n"));
        for place in ["part:a", "part:none", "part:a:/x"] {
            let read = read(place, &request);
            assert!(matches!(read, Err(Unreadable::Malformed(_))), "{what}, {place}: {read:?}");
        }
    }
}

/// What senders write, though it looks odd: nothing of it makes two values.
#[test]
fn what_genuine_senders_write_is_read() {
    for other in [
        part("name=c; filename=\"a \\\"b\\\".txt\"; filename*=UTF-8''a%20%22b%22.txt", "2"),
        part("name=c; filename=\"C:\\dir\\x.txt\"", "2"),
        part("name=\"is it?=?\"", "2"),
        part("name=\"=?\"", "2"),
        part("name=\"a b\"; filename=\"username=5; x.txt\"", "2"),
        part("name=c\r\nContent-ID: <1>\r\nContent-Transfer-Encoding: binary", "2"),
        part("name=c; filename=x\r\nContent-Encoding: gzip\r\nContent-Length: 1", "2"),
        part("name=c; size=1", "2"),
        part("name=_charset_", "ISO-8859-1"),
    ] {
        let form = parts(&format!("{}{other}--b--", part("name=a", "1")));
        assert_eq!(read("part:a", &form), some("1"), "{other}");
    }
}

/// Some readers trim a name, end it at a bracket, or put `_` for what can't stand in a variable's name.
#[test]
fn a_name_that_some_readers_take_for_another_is_counted_with_it() {
    let aliases = [
        " a_b",
        "a_b ",
        "\u{a0}a_b",
        "\u{feff}a_b",
        "[a_b",
        "/a_b",
        "a_b[]",
        "a_b[c]",
        "a.b",
        "a b",
        "a_b;c",
    ];
    for alias in aliases {
        let two = part("name=a_b", "1") + &part(&format!("name=\"{alias}\""), "2");
        let alone = part(&format!("name=\"{alias}\""), "2");
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        let pairs = pairs.append_pair("a_b", "1").append_pair(alias, "2").finish();
        let (_, pair) = pairs.split_once('&').expect("two pairs");
        for (place, two, alone) in [
            ("part:a_b", parts(&format!("{two}--b--")), parts(&format!("{alone}--b--"))),
            ("form:a_b", form(&[], &pairs), form(&[], pair)),
        ] {
            assert_eq!(read(place, &two), Err(Unreadable::Repeated), "{place}, {alias:?}");
            assert_eq!(read(place, &alone), Err(Unreadable::Doubtful), "{place}, {alias:?}");
        }
    }
    let odd = form(&[], "a=1&b%FFc=2&%A0d=3&data%5Bid%5D=4&data%5Bx%5D=5&e=6&E=7&ee=8");
    for (place, value) in [("form:a", "1"), ("form:data[id]", "4"), ("form:e", "6")] {
        assert_eq!(read(place, &odd), some(value), "{place}");
    }
    // Bytes that are no text are left out by some readers, or trimmed.
    for place in ["form:bc", "form:d"] {
        assert_eq!(read(place, &odd), Err(Unreadable::Doubtful), "{place}");
    }
}

/// Some readers end a boundary that isn't quoted where no token goes on.
#[test]
fn a_boundary_that_is_cut_stands_nowhere_either() {
    let with = |value: &str| {
        let head = "Content-Disposition: form-data; name=a";
        let body = format!("--b/c\r\n{head}\r\n\r\n{value}\r\n--b/c--");
        form(&["multipart/form-data; boundary=b/c"], &body)
    };
    for fine in ["1", "--b/", "--bc", "--b c", "-b\r\n"] {
        assert_eq!(read("part:a", &with(fine)), some(fine), "{fine:?}");
    }
    for bad in ["--b\r\n1", "x--b--", "1\n--b \t\n", "--b"] {
        assert!(matches!(read("part:a", &with(bad)), Err(Unreadable::Malformed(_))), "{bad:?}");
    }
}
