//! Broken requests as real machines make them, and nobody's first thought.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::verify::generate::private_key;
use crate::verify::public::PublicAlgorithm;

const ECDSA: &str = r#"
verify = { ecdsa = "p256", signature = { from = "header:x-sig", encoding = "base64" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
/// As `TIMED`, whatever stands for a time.
const TIME_AS_IT_IS: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig" }, content = "{header:x-time}.{body}" }
event  = { id = "sha256(body)", format = "raw" }
"#;

/// Numbers side by side, of a signature in DER.
fn side_by_side(der: &[u8]) -> Vec<u8> {
    let length = usize::from(der[3]);
    let (r, s) = (&der[4..4 + length], &der[6 + length..]);
    let number = |digits: &[u8]| {
        let mut number = vec![0; 32];
        for (to, from) in number.iter_mut().rev().zip(digits.iter().rev()) {
            *to = *from;
        }
        number
    };
    [number(r), number(s)].concat()
}

pub(super) fn rows() -> Vec<Row> {
    use Cause::*;
    let curly = "{\"a\":\"it’s 5 €\"}".as_bytes();
    let mut ecdsa = row(SignatureEncoding, ECDSA, JSON, |r| {
        set(r, "x-sig", |s| {
            let der = Encoding::Base64.decode(s.as_bytes()).expect("base64");
            Encoding::Base64.encode(&side_by_side(&der))
        });
    });
    ecdsa.receives.1 = vec![private_key(PublicAlgorithm::EcdsaP256).expect("a key")];
    ecdsa.signs.1 = ecdsa.receives.1.clone();
    let time = |cause, spec: &'static str, time: &'static str| {
        let mut row = other(cause, (spec, KEY), (TIME_AS_IT_IS, KEY));
        row.broken = |_| {};
        row.prepared = vec![("x-time", time)];
        row
    };
    vec![
        row(BodyCharset, PLAIN, curly, |r| {
            r.body = Bytes::from_static(b"{\"a\":\"it\x92s 5 \x80\"}");
        }),
        row(BodyCharset, PLAIN, curly, |r| text_is(r, "{\"a\":\"itâ€™s 5 â‚¬\"}")),
        row(BodyCharset, PLAIN, "café".as_bytes(), |r| text_is(r, "cafÃ©")),
        row(BodyCharset, PLAIN, "{\"a\":\"é\"}".as_bytes(), |r| {
            let text = "\u{feff}{\"a\":\"é\"}";
            r.body = text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>().into();
        }),
        row(BodyCharset, PLAIN, b"{\0}\0", |r| text_is(r, "{}")),
        row(BodyDoubleEncoded, PLAIN, JSON, |r| r.body = BASE64_STANDARD.encode(&r.body).into()),
        row(BodyFramed, PLAIN, JSON, |r| {
            body(r, |t| format!("{:x}\r\n{t}\r\n0\r\n\r\n", t.len()));
        }),
        row(BodyFramed, PLAIN, JSON, |r| {
            body(r, |t| format!("POST /in/x HTTP/1.1\r\nhost: h\r\n\r\n{t}"));
        }),
        row(BodyCompressed, PLAIN, b"\x0b\x02\x80-whatever", |r| {
            r.headers.push("content-encoding", "br");
            text_is(r, "what was inside");
        }),
        row(SignatureEncoding, BASE64, JSON, |r| {
            set(r, "x-sig", |s| s.replace('+', "-").replace('/', "_"));
            // Every second one has neither: then it is the padding that tells.
            set(r, "x-sig", |s| s.trim_end_matches('=').to_owned());
        }),
        ecdsa,
        time(TimeFormat, TIMED, "1767225600.250"),
        time(TimeFormat, TIMED, "1767225600000000"),
        time(TimeFormat, TIMED, "Thu, 01 Jan 2026 00:00:00 GMT"),
        other(SecretEscaped, (PLAIN, "p%40ss%2Fword-of-theirs"), (PLAIN, "p@ss/word-of-theirs")),
        other(SecretEscaped, (BASIC, "user:p%40ssword-long"), (BASIC, "user:p@ssword-long")),
        other(SecretWhiteSpace, (PLAIN, "whichever-key-it-is\\n"), (PLAIN, "whichever-key-it-is")),
        other(SecretCase, (BASIC, "User:a-long-password"), (BASIC, "user:a-long-password")),
    ]
}

fn text_is(received: &mut Received, text: &'static str) {
    received.body = Bytes::from_static(text.as_bytes());
}
