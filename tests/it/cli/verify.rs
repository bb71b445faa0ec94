//! `hookonce verify`: a captured request is judged offline, and the cause of a refusal is named.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::run_in;

const SECRET: &str = "a-key-of-more-than-sixteen-bytes";
/// Decodes to `whichever-key-it-is`.
const BASE64_SECRET: &str = "d2hpY2hldmVyLWtleS1pdC1pcw==";
const NOW: i64 = 1_767_225_600;
const BODY: &str = r#"{"id":"evt_1","type":"paid","amount":1.50,"name":"x/y"}"#;

const CONFIG: &str = r#"
[database]
url = "sqlite://hookonce.db"

[sources.plain]
secrets = [{ value = "another-secret-that-is-old" }, { value = "a-key-of-more-than-sixteen-bytes" }]
verify = { hmac = "sha256", signature = { from = "header:x-sig", grammar = { plain = { prefix = "sha256=" } } } }
event = { id = "body:/id", type = "body:/type" }

[sources.timed]
secrets = [{ value = "a-key-of-more-than-sixteen-bytes" }]
secrets_shared_with = ["plain"]
verify = { hmac = "sha256", signature = { from = "header:x-sig" }, content = "{ts}.{body}", timestamp = { from = "header:x-time", unit = "s" } }
event = { id = "body:/id", type = "body:/type" }

[sources.square]
secrets = [{ value = "a-key-of-more-than-sixteen-bytes" }]
secrets_shared_with = ["plain", "timed"]
public_url = "https://hooks.example.com/in/square"
verify = { hmac = "sha256", signature = { from = "header:x-square-hmacsha256-signature", encoding = "base64" }, content = "{url}{body}" }
event = { id = "body:/id" }

[sources.stored]
secrets = [{ value = "d2hpY2hldmVyLWtleS1pdC1pcw==" }]
verify = { hmac = "sha256", signature = { from = "header:x-sig", grammar = { plain = { prefix = "sha256=" } } } }
event = { id = "body:/id" }

[sources.token]
secrets = [{ value = "a-token-of-the-provider" }]
verify = { token = { from = "header:x-token", prefix = "Bearer " } }
event = { id = "body:/id" }

[handlers.audit]
from = ["plain", "timed", "square", "stored", "token"]
log = {}
"#;

fn mac(key: &[u8], content: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(content.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(content: &str) -> String {
    hex::encode(mac(SECRET.as_bytes(), content))
}

fn plain(content: &str) -> String {
    format!("X-Sig: sha256={}", hex(content))
}

fn timed(ts: i64, content: &str) -> String {
    format!("X-Time: {ts}\nX-Sig: {}", hex(content))
}

/// A source, the lines of its headers, its body, and the cause that must be found.
struct Row(&'static str, String, String, &'static str);

fn row(source: &'static str, headers: String, body: &str, cause: &'static str) -> Row {
    Row(source, headers, body.to_owned(), cause)
}

fn rows() -> Vec<Row> {
    let signed = plain(BODY);
    let stored = |key: &[u8]| format!("X-Sig: sha256={}", hex::encode(mac(key, BODY)));
    let ts = |off: i64| timed(NOW + off, &format!("{}.{BODY}", NOW + off));
    let square = |url: &str, body: &str| {
        let signature = BASE64_STANDARD.encode(mac(SECRET.as_bytes(), &format!("{url}{body}")));
        format!("X-Square-HmacSha256-Signature: {signature}")
    };
    let pretty = serde_json::to_string_pretty(&json!({ "amount": 1, "id": "evt_1" })).unwrap();
    vec![
        row("plain", String::new(), BODY, "signature_missing"),
        row("plain", signed.clone(), &format!("{BODY}\n"), "body_newline_added"),
        row("plain", plain(&format!("{BODY}\n")), BODY, "body_newline_lost"),
        row("plain", plain("{\r\n\"id\":1}"), "{\n\"id\":1}", "body_line_ends"),
        row("plain", signed.clone(), &format!("\u{feff}{BODY}"), "body_bom_added"),
        row("plain", plain(&pretty), r#"{"amount":1,"id":"evt_1"}"#, "body_reserialised"),
        row("plain", plain(r#"{"id":"\u00e9"}"#), "{\"id\":\"é\"}", "body_escapes"),
        row("plain", plain("a=b+c"), "a=b%20c", "body_form_encoding"),
        row("plain", plain("a=b%2Fc+d"), "a=b/c d", "body_form_decoded"),
        row(
            "plain",
            format!("{signed}\nContent-Length: {}", BODY.len()),
            &BODY[..20],
            "body_truncated",
        ),
        row("plain", format!("X-Sig: {}", hex(BODY)), BODY, "signature_prefix"),
        row("plain", signed[..40].to_owned(), BODY, "signature_cut"),
        row("plain", signed.replace("sha256=", "sha256=\"") + "\"", BODY, "signature_quoted"),
        row(
            "plain",
            format!("X-Sig: sha256={}", BASE64_STANDARD.encode(mac(SECRET.as_bytes(), BODY))),
            BODY,
            "signature_encoding",
        ),
        row(
            "plain",
            format!("X-Sig: sha256={}, sha256={}", "0".repeat(64), hex(BODY)),
            BODY,
            "signature_joined",
        ),
        row(
            "plain",
            format!("X-Sig: sha256={}\n{signed}", "0".repeat(64)),
            BODY,
            "signature_repeated",
        ),
        row("plain", signed.replace("X-Sig", "X-Renamed"), BODY, "signature_header"),
        row("plain", format!("X-Sig: sha256={}", "0".repeat(64)), BODY, "secret_wrong"),
        row("plain", plain(r#"{"no":"id"}"#), r#"{"no":"id"}"#, "event_id_missing"),
        row("stored", stored(b"whichever-key-it-is"), BODY, "secret_decoding"),
        row("stored", stored(format!("{BASE64_SECRET}\n").as_bytes()), BODY, "secret_white_space"),
        row("stored", stored(format!("whsec_{BASE64_SECRET}").as_bytes()), BODY, "secret_prefix"),
        row("plain", stored(BASE64_SECRET.as_bytes()), BODY, "other_source"),
        row("plain", signed, &format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len()), "body_framed"),
        row("timed", ts(-400), BODY, "stale"),
        row("timed", ts(90), BODY, "future"),
        row("timed", timed(NOW * 1000, &format!("{}.{BODY}", NOW * 1000)), BODY, "time_unit"),
        row("timed", ts(0).replace("X-Time", "X-Stamp"), BODY, "time_header"),
        row("timed", ts(0).lines().last().unwrap().to_owned(), BODY, "time_missing"),
        row("timed", timed(NOW, BODY), BODY, "content_template"),
        row("timed", format!("X-Hub-Signature-256: sha256={}", hex(BODY)), BODY, "other_provider"),
        row("square", square("http://hooks.example.com/in/square", BODY), BODY, "url_scheme"),
        row("square", square("https://hooks.example.com/in/square/", BODY), BODY, "url_slash"),
        row("square", square("https://hooks.example.com:443/in/square", BODY), BODY, "url_port"),
        row("token", "X-Token: a-token-of-the-provider".to_owned(), BODY, "token_prefix"),
        row("token", "X-Token: Bearer some-other-token".to_owned(), BODY, "token_wrong"),
    ]
}

async fn verify(dir: &Path, source: &str, headers: &str, body: &str) -> (i32, Value, String) {
    std::fs::write(dir.join("headers"), headers).unwrap();
    std::fs::write(dir.join("body"), body).unwrap();
    let now = NOW.to_string();
    let arguments =
        ["verify", source, "--headers", "headers", "--body", "body", "--now", &now, "-o", "json"];
    let (code, out, err) = run_in(dir, &arguments).await;
    let report = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{source}: {out}\n{err}"));
    (code, report, out)
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hookonce.toml"), CONFIG).unwrap();
    dir
}

#[tokio::test]
async fn the_cause_of_each_broken_request_is_named() {
    let dir = folder();
    let rows = rows();
    let mut faults = Vec::new();
    for Row(source, headers, body, cause) in &rows {
        let (code, report, out) = verify(dir.path(), source, headers, body).await;
        if (code, &report["cause"]) != (1, &json!(cause)) {
            faults.push(format!("{cause}: exit {code}, {out}"));
        }
        assert_eq!(report["accepted"], json!(false));
        assert!(!out.contains(SECRET) && !out.contains(BASE64_SECRET), "{out}");
        // What would be right is told to nobody.
        assert!(!out.contains(&hex(body)), "{out}");
    }
    let causes: std::collections::BTreeSet<_> = rows.iter().map(|row| row.3).collect();
    assert!(causes.len() >= 30, "only {}", causes.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn what_would_be_accepted_is_shown_step_by_step() {
    let dir = folder();
    let (code, report, _) = verify(dir.path(), "plain", &plain(BODY), BODY).await;
    assert_eq!((code, &report["accepted"]), (0, &json!(true)));
    assert_eq!(report["events"], json!([{ "id": "evt_1", "type": "paid" }]));
    let steps: Vec<&str> =
        report["steps"].as_array().unwrap().iter().map(|s| s["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["request", "signature", "content", "match", "freshness", "event"]);
    let said = report["steps"].to_string();
    assert!(said.contains("secret number 2 of 2 made it; it covers the whole body"), "{said}");

    let (_, text, _) =
        run_in(dir.path(), &["verify", "plain", "--headers", "headers", "--body", "body"]).await;
    assert!(text.contains("found in header:x-sig"), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}

#[tokio::test]
async fn exit_codes_tell_a_wrong_command_from_a_wrong_request() {
    let dir = folder();
    let (code, _, err) =
        run_in(dir.path(), &["verify", "none", "--headers", "/dev/null", "--body", "/dev/null"])
            .await;
    assert_eq!(code, 4, "{err}");
    let (code, _, err) =
        run_in(dir.path(), &["verify", "plain", "--headers", "absent", "--body", "/dev/null"])
            .await;
    assert_eq!(code, 2, "{err}");
    let (code, _, err) =
        run_in(dir.path(), &["verify", "plain", "--headers", "-", "--body", "-"]).await;
    assert_eq!(code, 2, "{err}");
    std::fs::write(dir.path().join("headers"), "no colon").unwrap();
    let (code, _, err) =
        run_in(dir.path(), &["verify", "plain", "--headers", "headers", "--body", "/dev/null"])
            .await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("line 1"), "{err}");
}

/// Without a config: the provider and its secret are enough.
#[tokio::test]
async fn a_provider_and_its_secret_are_enough() {
    let dir = tempfile::tempdir().unwrap();
    let head = format!(
        "POST /in/github HTTP/1.1\r\nX-GitHub-Event: push\r\nX-GitHub-Delivery: d-1\r\nX-Hub-Signature-256: sha256={}\r\n",
        hex(BODY)
    );
    std::fs::write(dir.path().join("headers"), head).unwrap();
    std::fs::write(dir.path().join("body"), BODY).unwrap();
    for (secret, wanted) in [(SECRET, 0), ("another-secret-of-somebody", 1)] {
        let arguments =
            ["verify", "github", "--secret", secret, "--headers", "headers", "--body", "body"];
        let (code, out, err) = run_in(dir.path(), &arguments).await;
        assert_eq!(code, wanted, "{out}{err}");
        assert!(!format!("{out}{err}").contains(secret), "{out}{err}");
    }
}
