//! Places, and what stands there.

use super::*;
use crate::received::Headers;

mod form;

fn request(target: &str, body: &'static str) -> Received {
    let mut headers = Headers::new();
    headers.push("X-One", Bytes::from_static(b"1"));
    headers.push("x-two", Bytes::from_static(b"a"));
    headers.push("X-Two", Bytes::from_static(b"a"));
    Received {
        method: "POST".to_owned(),
        target: target.to_owned(),
        headers,
        body: Bytes::from_static(body.as_bytes()),
        peer: None,
        arrived_at: chrono::DateTime::UNIX_EPOCH,
    }
}

fn read(place: &str, request: &Received) -> Result<Option<String>, Unreadable> {
    let value = Field::parse(place).expect("a place").read(request)?;
    Ok(value.map(|value| String::from_utf8(value.into_owned()).expect("text")))
}

#[test]
fn a_field_has_one_value_or_says_why_not() {
    let form = request("/in/x?a=1&b=%C3%A9+x&c=1&c=1&d", "p=%7B%22t%22%3A+7%7D&q=1&q=2&r=");
    let json = request("/in/x", r#"{"a":{"b":"c"},"n":null,"d":1,"d":2,"o":{}}"#);
    let some = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(read("header:X-One", &form), some("1"));
    assert_eq!(read("header:x-none", &form), Ok(None));
    assert_eq!(read("header:x-two", &form), Err(Unreadable::Repeated));
    assert_eq!(read("query:b", &form), some("é x"));
    assert_eq!(read("query:c", &form), Err(Unreadable::Repeated));
    assert_eq!(read("query:d", &form), some(""));
    assert_eq!(read("form:p:/t", &form), some("7"));
    assert_eq!(read("form:q", &form), Err(Unreadable::Repeated));
    assert_eq!(read("form:none:/t", &form), Ok(None));
    assert_eq!(read("body:/a/b", &json), some("c"));
    assert_eq!(read("body:/n", &json), Ok(None));
    assert_eq!(read("body:/d", &json), Err(Unreadable::Repeated));
    assert!(matches!(read("body:/o", &json), Err(Unreadable::Malformed(_))));
    assert!(matches!(read("body:/a", &form), Err(Unreadable::Malformed(_))));
    assert!(matches!(read("query:a", &request("/?a=%zz", "")), Err(Unreadable::Malformed(_))));
}

#[test]
fn what_is_put_is_what_is_read() {
    for place in ["header:x-two", "header:new", "query:c", "form:q"] {
        let mut request = request("/in/x?c=1&c=2", "q=1&q=2&r=");
        let field = Field::parse(place).expect("a place");
        field.put(&mut request, "a&b=é").expect("can be put");
        assert_eq!(read(place, &request), Ok(Some("a&b=é".to_owned())), "{place}");
    }
}

#[test]
fn a_place_that_names_nothing_is_refused() {
    for bad in ["", "header:", "header:a b", "body:", "part:", "body:id", "cookie:x", "x-header"] {
        assert!(Field::parse(bad).is_err(), "{bad}");
    }
}
