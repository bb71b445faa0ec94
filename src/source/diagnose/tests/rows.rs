//! The broken requests.

use super::*;

/// Decodes to `whichever-key-it-is`.
const B64: &str = "d2hpY2hldmVyLWtleS1pdC1pcw==";
const TEXT: &str = "whichever-key-it-is";
const HEX: &str = "776869636865766572206b65792069742069732068657265";

const BASE64_KEY: &str = r#"
verify = { hmac = "sha256", key = { decode = "base64" }, signature = { from = "header:x-sig", grammar = { plain = { prefix = "sha256=" } } } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const WHSEC: &str = r#"
verify = { hmac = "sha256", key = { decode = "whsec" }, signature = { from = "header:x-sig", grammar = { plain = { prefix = "sha256=" } } } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const HEX_KEY: &str = r#"
verify = { hmac = "sha256", key = { decode = "hex" }, signature = { from = "header:x-sig", grammar = { plain = { prefix = "sha256=" } } } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const SHA512: &str = r#"
verify = { hmac = "sha512", signature = { from = "header:x-sig", grammar = { plain = { prefix = "sha256=" } } } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const MILLIS: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig" }, content = "{ts}.{body}", timestamp = { from = "header:x-time", unit = "ms" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const RFC3339: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig" }, content = "{ts}.{body}", timestamp = { from = "header:x-time", unit = "rfc3339" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const COLON: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig" }, content = "{ts}:{body}", timestamp = { from = "header:x-time", unit = "s" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const BODY_ONLY: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const HUB: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-hub-signature-256", grammar = { plain = { prefix = "sha256=" } } } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const OLD_HUB: &str = r#"
verify = { hmac = "sha1", signature = { from = "header:x-hub-signature", grammar = { plain = { prefix = "sha1=" } } } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const SQUARE: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-square-hmacsha256-signature", encoding = "base64" }, content = "{url}{body}" }
event  = { id = "sha256(body)", format = "raw" }
"#;
const OLD_SQUARE: &str = r#"
verify = { hmac = "sha1", signature = { from = "header:x-square-signature", encoding = "base64" }, content = "{url}{body}" }
event  = { id = "sha256(body)", format = "raw" }
"#;
const HUBSPOT: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-hubspot-signature-v3", encoding = "base64" }, content = "{method}{url}{body}{ts}", timestamp = { from = "header:x-hubspot-request-timestamp", unit = "ms" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const HUBSPOT_1: &str = r#"
verify = { digest = "sha256", signature = { from = "header:x-hubspot-signature" }, content = "{secret}{body}" }
event  = { id = "sha256(body)", format = "raw" }
"#;
const HUBSPOT_2: &str = r#"
verify = { digest = "sha256", signature = { from = "header:x-hubspot-signature" }, content = "{secret}{method}{url}{body}" }
event  = { id = "sha256(body)", format = "raw" }
"#;
const V0: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig", grammar = { kv = { sep = ",", sig = ["v0"], ts = "t" } } }, content = "{ts}.{body}", timestamp = { unit = "s" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const LIST: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig", encoding = "base64", grammar = { list = { sep = " ", tag = "v1," } } } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const OLD_LIST: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig", encoding = "base64", grammar = { list = { sep = " ", tag = "v0," } } } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const COVERS: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig" }, content = "{header:x-topic}.{body}" }
event  = { id = "sha256(body)", format = "raw" }
"#;
const DEMANDS: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig" }, preconditions = { "header:x-topic" = "orders" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const KEYED: &str = r#"
verify = { hmac = "sha256", key = { by_id = "header:x-key" }, signature = { from = "header:x-sig" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const DIGEST: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig" }, content = "{header:x-digest}", body_digest = { from = "header:x-digest" } }
event  = { id = "sha256(body)", format = "raw" }
"#;

fn late(cause: Cause, spec: &'static str, seconds: i64) -> Row {
    let mut row = row(cause, spec, JSON, |_| {});
    row.now = NOW + seconds;
    row
}

fn gzipped(received: &mut Received) {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&received.body).expect("written");
    received.body = Bytes::from(encoder.finish().expect("finished"));
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = signatures();
    rows.extend(versions());
    rows.extend(times());
    rows.extend(secrets());
    rows.extend(bodies());
    rows.extend(tokens());
    rows
}

fn signatures() -> Vec<Row> {
    use Cause::*;
    vec![
        row(SignatureMissing, PLAIN, JSON, |r| drop(without(r, "x-sig"))),
        row(SignatureMalformed, PLAIN, JSON, |r| set(r, "x-sig", |_| "sha256=zz".to_owned())),
        row(SignatureHeader, PLAIN, JSON, |r| renamed(r, "x-sig", "x-my-signature")),
        row(SignatureHeader, STRIPE, JSON, |r| renamed(r, "x-sig", "x-forwarded-sig")),
        row(SignatureRepeated, PLAIN, JSON, |r| {
            let first = without(r, "x-sig");
            r.headers.push("x-sig", format!("sha256={}", "0".repeat(64)));
            r.headers.push("x-sig", first);
        }),
        row(SignatureJoined, PLAIN, JSON, |r| {
            set(r, "x-sig", |s| format!("sha256={}, {s}", "0".repeat(64)));
        }),
        row(SignaturePrefix, PLAIN, JSON, |r| set(r, "x-sig", |s| s[7..].to_owned())),
        row(SignaturePrefix, PLAIN, JSON, |r| set(r, "x-sig", |s| s.replace("sha256", "SHA256"))),
        row(SignaturePrefix, BASE64, JSON, |r| set(r, "x-sig", |s| format!("HMAC {s}"))),
        row(SignatureFormat, STRIPE, JSON, |r| set(r, "x-sig", |s| s.replace(',', ";"))),
        row(SignatureEncoding, PLAIN, JSON, |r| {
            set(r, "x-sig", |s| {
                format!("sha256={}", Encoding::Base64.encode(&hex::decode(&s[7..]).expect("hex")))
            });
        }),
        row(SignatureEncoding, BASE64, JSON, |r| {
            set(r, "x-sig", |s| {
                hex::encode(Encoding::Base64.decode(s.as_bytes()).expect("base64"))
            });
        }),
        row(SignatureEncoding, BASE64, JSON, |r| {
            set(r, "x-sig", |s| s.trim_end_matches('=').to_owned());
        }),
        row(SignatureEncoding, BASE64, JSON, |r| {
            set(r, "x-sig", |s| {
                let hex = hex::encode(Encoding::Base64.decode(s.as_bytes()).expect("base64"));
                Encoding::Base64.encode(hex.as_bytes())
            });
        }),
        row(SignatureEscaped, BASE64, JSON, |r| {
            set(r, "x-sig", |s| s.replace('=', "%3D").replace('+', "%2B").replace('/', "%2F"));
        }),
        row(SignatureWhiteSpace, PLAIN, JSON, |r| {
            set(r, "x-sig", |s| format!("{} {}", &s[..20], &s[20..]));
        }),
        row(SignatureQuoted, PLAIN, JSON, |r| set(r, "x-sig", |s| format!("\"{s}\""))),
        row(SignatureQuoted, PLAIN, JSON, |r| {
            set(r, "x-sig", |s| format!("sha256=\"{}\"", &s[7..]));
        }),
        row(SignatureCut, PLAIN, JSON, |r| set(r, "x-sig", |s| s[..40].to_owned())),
        row(SignatureCut, STRIPE, JSON, |r| set(r, "x-sig", |s| s[..s.len() - 10].to_owned())),
        row(SignatureLonger, PLAIN, JSON, |r| set(r, "x-sig", |s| format!("{s}00"))),
        other(SignatureHash, (PLAIN, KEY), (SHA512, KEY)),
        row(Precondition, DEMANDS, JSON, |r| set(r, "x-topic", |_| "refunds".to_owned())),
        {
            let mut row =
                other(KeyId, (KEYED, "a:0123456789abcdef"), (KEYED, "b:fedcba9876543210"));
            row.broken = |_| {};
            row
        },
    ]
}

fn versions() -> Vec<Row> {
    use Cause::*;
    vec![
        other(OldVersion, (HUB, KEY), (OLD_HUB, KEY)),
        other(OldVersion, (HUB, KEY), (OLD_HUB, "another-secret-of-somebody")),
        other(OldVersion, (SQUARE, KEY), (OLD_SQUARE, KEY)),
        other(OldVersion, (HUBSPOT, KEY), (HUBSPOT_1, KEY)),
        other(OldVersion, (HUBSPOT, KEY), (HUBSPOT_2, KEY)),
        other(OldVersion, (STRIPE, KEY), (V0, KEY)),
        other(OldVersion, (LIST, KEY), (OLD_LIST, KEY)),
        other(ContentTemplate, (TIMED, KEY), (BODY_ONLY, KEY)),
        other(ContentTemplate, (TIMED, KEY), (COLON, KEY)),
        other(ContentTemplate, (BODY_ONLY, KEY), (TIMED, KEY)),
        other(ContentTemplate, (URL, KEY), (BODY_ONLY, KEY)),
        other(ContentTemplate, (BODY_ONLY, KEY), (URL, KEY)),
    ]
}

fn times() -> Vec<Row> {
    use Cause::*;
    vec![
        late(Stale, TIMED, 3000),
        late(Stale, STRIPE, 301),
        late(Future, TIMED, -70),
        late(TimeZone, TIMED, -7210),
        other(TimeUnit, (TIMED, KEY), (MILLIS, KEY)),
        other(TimeUnit, (MILLIS, KEY), (TIMED, KEY)),
        other(TimeUnit, (TIMED, KEY), (RFC3339, KEY)),
        row(TimeMissing, TIMED, JSON, |r| drop(without(r, "x-time"))),
        row(TimeHeader, TIMED, JSON, |r| renamed(r, "x-time", "x-request-time")),
        row(IdHeader, WITH_ID, JSON, |r| renamed(r, "x-event", "x-event-id")),
        row(IdMissing, WITH_ID, JSON, |r| drop(without(r, "x-event"))),
        {
            let mut row = row(CoveredHeader, COVERS, JSON, |r| renamed(r, "x-topic", "x-subject"));
            row.signs.0 = COVERS_SIGNED;
            row
        },
        {
            let mut row = row(CoveredMissing, COVERS, JSON, |r| drop(without(r, "x-topic")));
            row.signs.0 = COVERS_SIGNED;
            row
        },
    ]
}

/// As `COVERS`, with the topic put there when it is signed.
const COVERS_SIGNED: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig" }, content = "{id}.{body}", id = "header:x-topic" }
event  = { id = "signed", format = "raw" }
"#;

fn secrets() -> Vec<Row> {
    use Cause::*;
    let whsec = format!("whsec_{B64}");
    vec![
        other(SecretWrong, (PLAIN, KEY), (PLAIN, "another-secret-of-somebody")),
        other(SecretWrong, (STRIPE, KEY), (STRIPE, "another-secret-of-somebody")),
        other(SecretDecoding, (PLAIN, B64), (BASE64_KEY, B64)),
        other(SecretDecoding, (BASE64_KEY, B64), (PLAIN, B64)),
        other(SecretDecoding, (PLAIN, HEX), (HEX_KEY, HEX)),
        other(SecretDecoding, (HEX_KEY, HEX), (PLAIN, HEX)),
        other(SecretDecoding, (PLAIN, &whsec), (WHSEC, &whsec)),
        other(SecretDecoding, (WHSEC, &whsec), (PLAIN, &whsec)),
        other(SecretPrefix, (PLAIN, TEXT), (PLAIN, "whsec_whichever-key-it-is")),
        other(SecretPrefix, (PLAIN, "whsec_whichever-key-it-is"), (PLAIN, TEXT)),
        other(SecretQuoted, (PLAIN, "\"whichever-key-it-is\""), (PLAIN, TEXT)),
        other(SecretQuoted, (PLAIN, TEXT), (PLAIN, "\"whichever-key-it-is\"")),
        other(SecretWhiteSpace, (PLAIN, " whichever-key-it-is"), (PLAIN, TEXT)),
        other(SecretWhiteSpace, (PLAIN, TEXT), (PLAIN, "whichever-key-it-is\n")),
        other(SecretCase, (PLAIN, "WHICHEVER-key-it-is"), (PLAIN, TEXT)),
    ]
}

fn bodies() -> Vec<Row> {
    use Cause::*;
    let mut rows = documents();
    let form = b"a=x+y&b=%C3%A9%2F&c=";
    rows.extend([
        row(BodyNewlineAdded, PLAIN, JSON, |r| body(r, |t| format!("{t}\n"))),
        row(BodyNewlineAdded, TIMED, JSON, |r| body(r, |t| format!("{t}\r\n"))),
        row(BodyNewlineLost, PLAIN, b"text\n", |r| body(r, |t| t.trim_end().to_owned())),
        row(BodyLineEnds, PLAIN, b"a\r\nb\r\nc", |r| body(r, |t| t.replace("\r\n", "\n"))),
        row(BodyLineEnds, PLAIN, b"a\nb\nc", |r| body(r, |t| t.replace('\n', "\r\n"))),
        row(BodyBomAdded, PLAIN, JSON, |r| body(r, |t| format!("\u{feff}{t}"))),
        row(BodyBomLost, PLAIN, "\u{feff}{}".as_bytes(), |r| body(r, |_| "{}".to_owned())),
        row(BodyWhiteSpace, PLAIN, b"text", |r| body(r, |t| format!("  {t} "))),
        row(BodyCharset, PLAIN, b"caf\xe9", |r| r.body = Bytes::from("café")),
        row(BodyCharset, PLAIN, "café".as_bytes(), |r| r.body = Bytes::from_static(b"caf\xe9")),
        row(BodyCharset, PLAIN, b"caf\xe9", |r| r.body = Bytes::from("caf\u{fffd}")),
        row(BodyFormEncoding, PLAIN, form, |r| body(r, |t| t.replace('+', "%20"))),
        row(BodyFormEncoding, PLAIN, form, |r| body(r, |t| t.replace("%C3%A9%2F", "%c3%a9%2f"))),
        row(BodyFormEncoding, PLAIN, b"a=x%20y", |r| body(r, |t| t.replace("%20", "+"))),
        row(BodyFormDecoded, PLAIN, form, |r| body(r, |_| "a=x y&b=é/&c=".to_owned())),
        row(BodyCompressed, PLAIN, JSON, gzipped),
        row(BodyCompressed, PLAIN, b"\x1f\x8b-whatever", |r| {
            r.headers.push("content-encoding", "gzip");
            body_is(r, "what was inside");
        }),
        row(BodyTruncated, PLAIN, JSON, |r| {
            r.headers.push("content-length", JSON.len().to_string());
            r.body = r.body.slice(..10);
        }),
        row(BodyTruncated, PLAIN, JSON, |r| {
            r.headers.push("content-length", JSON.len().to_string());
            r.body = Bytes::new();
        }),
        row(BodyEmpty, PLAIN, b"", |r| body_is(r, "something")),
        row(BodyEmpty, PLAIN, b"{}", |r| r.body = Bytes::new()),
        row(BodyChanged, DIGEST, JSON, |r| body_is(r, "something else altogether")),
        row(BodyNewlineAdded, DIGEST, JSON, |r| body(r, |t| format!("{t}\n"))),
    ]);
    rows
}

fn body_is(received: &mut Received, text: &'static str) {
    received.body = Bytes::from_static(text.as_bytes());
}

fn documents() -> Vec<Row> {
    use Cause::*;
    let compact = br#"{"b":[1,2.50],"a":"x/y"}"#;
    let pretty = b"{\n  \"b\": [\n    1,\n    2.50\n  ],\n  \"a\": \"x/y\"\n}";
    let python = br#"{"b": [1, 2.50], "a": "\u00e9"}"#;
    let php = br#"{"a":"x\/y\u00e9"}"#;
    vec![
        row(BodyReserialised, PLAIN, compact, |r| {
            body_is(r, "{\n    \"b\": [\n        1,\n        2.50\n    ],\n    \"a\": \"x/y\"\n}");
        }),
        row(BodyReserialised, TIMED, pretty, |r| body_is(r, r#"{"b":[1,2.50],"a":"x/y"}"#)),
        row(BodyReserialised, PLAIN, br#"{"a":"x/y","b":[1,2.50]}"#, |r| {
            body_is(r, r#"{"b":[1,2.50],"a":"x/y"}"#);
        }),
        row(BodyReserialised, PLAIN, python, |r| body_is(r, r#"{"b":[1,2.50],"a":"é"}"#)),
        row(BodyReserialised, PLAIN, php, |r| body_is(r, "{\n \"a\": \"x/yé\" }")),
        row(BodyEscapes, PLAIN, php, |r| body_is(r, r#"{"a":"x/yé"}"#)),
        row(BodyEscapes, PLAIN, "{\"a\" :\"é\"}".as_bytes(), |r| body_is(r, r#"{"a" :"\u00e9"}"#)),
        row(BodyEscapes, PLAIN, br#"{"a" :"\u003cb\u003e"}"#, |r| body_is(r, r#"{"a" :"<b>"}"#)),
        row(BodyDoubleEncoded, PLAIN, br#"{"a":1}"#, |r| body_is(r, r#""{\"a\":1}""#)),
    ]
}

fn tokens() -> Vec<Row> {
    use Cause::*;
    const USER: &str = "user:a-long-password";
    let of = |cause, broken| {
        let mut row = row(cause, TOKEN, JSON, broken);
        row.receives.1 = vec!["a token/of+many=bytes".to_owned()];
        row.signs.1 = row.receives.1.clone();
        row
    };
    let basic = |cause, sent: &str, broken| {
        let mut row = other(cause, (BASIC, USER), (BASIC, sent));
        row.broken = broken;
        row
    };
    vec![
        of(TokenWrong, |r| set(r, "x-token", |_| "Bearer nonsense-and-more".to_owned())),
        of(TokenPrefix, |r| set(r, "x-token", |t| t["Bearer ".len()..].to_owned())),
        of(TokenPrefix, |r| set(r, "x-token", |t| t.replace("Bearer", "Token"))),
        of(TokenEncoding, |r| {
            set(r, "x-token", |_| "Bearer a%20token%2Fof%2Bmany%3Dbytes".to_owned())
        }),
        of(SecretQuoted, |r| set(r, "x-token", |t| format!("Bearer \"{}\"", &t[7..]))),
        of(SignatureHeader, |r| renamed(r, "x-token", "authorization")),
        of(SignatureMissing, |r| drop(without(r, "x-token"))),
        other(SecretCase, (TOKEN, "Some-Token-Of-Ours"), (TOKEN, "some-token-of-ours")),
        basic(TokenWrong, "user:another-password", |_| {}),
        basic(TokenUser, "admin:a-long-password", |_| {}),
        basic(TokenEncoding, USER, |r| set(r, "authorization", |_| format!("Basic {USER}"))),
        basic(SignatureMissing, USER, |r| drop(without(r, "authorization"))),
    ]
}

/// The cause, the URL by which the sender signs, and the targets that it signs and that arrive.
pub(super) fn urls() -> Vec<(Cause, &'static str, (&'static str, &'static str))> {
    use Cause::*;
    const T: &str = "/in/partner";
    const Q: &str = "/in/partner?b=1&a=x%20y";
    vec![
        (UrlScheme, "http://hooks.example.com/in/partner", (T, T)),
        (UrlHost, "https://www.hooks.example.com/in/partner", (T, T)),
        (UrlPort, "https://hooks.example.com:443/in/partner", (T, T)),
        (UrlSlash, "https://hooks.example.com/in/partner/", (T, T)),
        (UrlPath, "https://hooks.example.com/partner", (T, T)),
        (UrlPath, "https://hooks.example.com/webhooks/p", (T, "/webhooks/p")),
        (UrlQuery, REGISTERED, (Q, "/in/partner?a=x%20y&b=1")),
        (UrlQuery, REGISTERED, (T, Q)),
        (UrlQuery, REGISTERED, ("/in/partner?b=1&a=x+y", Q)),
        (UrlQuery, REGISTERED, (Q, "/in/partner?b=1&a=x%2520y")),
        (UrlQuery, REGISTERED, ("/in/partner?b=1&a=x%2520y", Q)),
    ]
}
