use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::handler::RESPONSE_BYTES_MAX;
use crate::handler::sample;
use crate::secret::Secret;

/// A real server on a real socket that gives each request the same bytes for an answer.
struct Server {
    url: Url,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                while !is_whole(&bytes) {
                    let mut chunk = [0; 4096];
                    let read = socket.read(&mut chunk).await.expect("read");
                    assert!(read > 0, "the client hung up");
                    bytes.extend_from_slice(&chunk[..read]);
                }
                kept.lock().expect("no panic while held").push(latin1(&bytes));
                // A client that had enough may be gone before the answer's end.
                if let Err(error) = socket.write_all(&answer).await {
                    assert!(answer.len() > RESPONSE_BYTES_MAX, "{error}");
                }
            }
        });
        let url = Url::parse(&format!("http://127.0.0.1:{port}/hook")).expect("a URL");
        Self { url, requests, task }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic while held").clone()
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let length = latin1(&bytes[..end])
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned))
        .map_or(0, |length| length.parse().expect("a length"));
    bytes.len() >= end + 4 + length
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn settings(url: Url) -> HttpSettings {
    HttpSettings {
        url,
        headers: Vec::new(),
        sign: None,
        deny_private: false,
        dead_on: vec![400, 422],
    }
}

async fn call(settings: &HttpSettings) -> Outcome {
    let handler = HttpHandler::new(settings, 4).expect("a handler");
    handler.handle(&sample::event(b"{\"a\": 1}\n"), &sample::context()).await
}

async fn outcome_of(answer: &str) -> Outcome {
    let server = Server::answering(answer).await;
    call(&settings(server.url.clone())).await
}

#[tokio::test]
async fn the_receiver_gets_the_exact_body_and_the_facts() {
    let server = Server::answering(ok("thanks")).await;
    let mut spec = settings(server.url.clone());
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    spec.sign = Some(Secret::new(secret.to_owned()));
    spec.headers = vec![
        ("Authorization".to_owned(), Secret::new("Bearer t0ken".to_owned())),
        ("X-Two".to_owned(), Secret::new("1".to_owned())),
        ("X-Two".to_owned(), Secret::new("2".to_owned())),
    ];
    let handler = HttpHandler::new(&spec, 4).expect("a handler");
    let mut event = sample::event("{\"a\": 1}\n\0ü".as_bytes());
    event.event_id = "evt_ü\n".to_owned();
    let outcome = handler.handle(&event, &sample::context()).await;
    let reply =
        Reply { status: Some(200), body: Bytes::from_static(b"thanks"), ..Reply::default() };
    assert_eq!(outcome, Outcome::Delivered(reply));

    let request = server.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    assert_eq!(body, latin1(&event.body));
    let lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines[0], "POST /hook HTTP/1.1");
    for line in [
        "webhook-id: 01920000-0000-7000-8000-000000000002",
        "idempotency-key: 01920000-0000-7000-8000-000000000002",
        "hookonce-source: stripe",
        "hookonce-event: 01920000-0000-7000-8000-000000000001",
        "hookonce-event-id: evt_%C3%BC%0A",
        "hookonce-event-type: invoice.paid",
        "hookonce-attempt: 1",
        "hookonce-epoch: 1",
        "content-type: application/json; charset=utf-8",
        "authorization: Bearer t0ken",
        "x-two: 1",
        "x-two: 2",
    ] {
        assert!(lines.contains(&line), "{line} is not in {head}");
    }
    assert!(lines.iter().any(|line| line.starts_with("traceparent: 00-")), "{head}");
    assert!(!head.contains("accept-encoding") && !head.contains("cookie"), "{head}");

    // The official library is the oracle of the signature.
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let value = lines
            .iter()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")))
            .expect("the header");
        headers.insert(name, value.parse().expect("a value"));
    }
    standardwebhooks::Webhook::new(secret)
        .expect("a secret")
        .verify(&event.body, &headers)
        .expect("the library accepts it");
}

#[tokio::test]
async fn bytes_that_are_no_text_arrive_as_they_are() {
    let server = Server::answering(ok("")).await;
    let handler = HttpHandler::new(&settings(server.url.clone()), 4).expect("a handler");
    let mut event = sample::event(b"\0\xff\r\n\xfe");
    event.headers = crate::received::Headers::new();
    event.headers.push("content-type", &b"text/\xff"[..]);
    event.headers.push("content-encoding", "gzip");
    let outcome = handler.handle(&event, &sample::context()).await;
    assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
    let request = server.requests().remove(0);
    assert!(request.ends_with("\r\n\r\n\0\u{ff}\r\n\u{fe}"), "{request:?}");
    assert!(request.contains("\r\ncontent-type: text/\u{ff}\r\n"), "{request:?}");
    assert!(request.contains("\r\ncontent-encoding: gzip\r\n"), "{request:?}");
}

#[tokio::test]
async fn the_status_decides() {
    for status in [200, 201, 202, 204] {
        let outcome =
            outcome_of(&format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")).await;
        assert!(matches!(outcome, Outcome::Delivered(_)), "{status}: {outcome:?}");
    }
    for status in [400, 422] {
        let outcome =
            outcome_of(&format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nno")).await;
        let Outcome::Reject { cause, reply } = outcome else { panic!("{status}: {outcome:?}") };
        assert!(cause.contains(&format!("answered {status}")), "{cause}");
        assert_eq!(
            reply,
            Reply { status: Some(status), body: Bytes::from_static(b"no"), ..Reply::default() }
        );
    }
    for status in [301, 304, 307, 401, 404, 408, 410, 429, 500, 503] {
        let outcome =
            outcome_of(&format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")).await;
        let Outcome::Retry { after: None, reply, .. } = outcome else {
            panic!("{status}: {outcome:?}")
        };
        assert_eq!(reply.status, Some(status));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Server::answering(ok("")).await;
    let answer =
        format!("HTTP/1.1 307 Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", target.url);
    let Outcome::Retry { cause, .. } = outcome_of(&answer).await else { panic!("not retried") };
    assert!(cause.contains("redirects aren't followed"), "{cause}");
    assert!(target.requests().is_empty());
}

#[tokio::test]
async fn the_receivers_wish_to_wait_is_heard() {
    let Outcome::Retry { after, .. } =
        outcome_of("HTTP/1.1 503 X\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n").await
    else {
        panic!("not retried")
    };
    assert_eq!(after, Some(Duration::from_secs(120)));
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(3600));
    let Outcome::Retry { after: Some(after), .. } =
        outcome_of(&format!("HTTP/1.1 302 X\r\nretry-after: {date}\r\ncontent-length: 0\r\n\r\n"))
            .await
    else {
        panic!("not retried, or no wish")
    };
    assert!((3500..=3600).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test]
async fn a_long_answer_is_cut_and_a_broken_one_is_tried_again() {
    let long = ok(&"x".repeat(10 * 1024 * 1024));
    let Outcome::Delivered(reply) = outcome_of(&long).await else { panic!("not delivered") };
    assert_eq!(reply.body.len(), RESPONSE_BYTES_MAX);

    let broken = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\npart";
    let Outcome::Retry { cause, reply, .. } = outcome_of(broken).await else {
        panic!("not retried")
    };
    assert!(cause.contains("broke off its answer"), "{cause}");
    assert_eq!(
        reply,
        Reply { status: Some(200), body: Bytes::from_static(b"part"), ..Reply::default() }
    );

    let Outcome::Retry { .. } = outcome_of("not HTTP\r\n\r\n").await else { panic!("not retried") };
    let Outcome::Retry { .. } = outcome_of("").await else { panic!("not retried") };
}

#[tokio::test]
async fn a_cause_says_why_without_the_secrets_of_the_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let url = format!("http://user:s3cret@127.0.0.1:{port}/hook?token=s3cret");
    let outcome = call(&settings(Url::parse(&url).expect("a URL"))).await;
    let Outcome::Retry { cause, .. } = outcome else { panic!("{outcome:?}") };
    assert!(
        cause.contains(&format!("http://127.0.0.1:{port}/hook could not be reached")),
        "{cause}"
    );
    assert!(cause.to_lowercase().contains("refused"), "{cause}");
    assert!(!cause.contains("s3cret") && !cause.contains("user"), "{cause}");
}

#[tokio::test]
async fn a_receiver_that_never_answers_is_cut_off_after_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let url = Url::parse(&format!("http://127.0.0.1:{port}/")).expect("a URL");
    let handler = HttpHandler::new(&settings(url), 4).expect("a handler");
    let mut context = sample::context();
    context.timeout = Duration::from_millis(10);
    let outcome = handler.handle(&sample::event(b""), &context).await;
    let Outcome::Retry { cause, .. } = outcome else { panic!("{outcome:?}") };
    assert!(cause.contains("did not answer in time"), "{cause}");
}

#[tokio::test]
async fn deny_private_refuses_what_is_not_public_and_never_connects() {
    let server = Server::answering(ok("")).await;
    let port = server.url.port().expect("a port");
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1"] {
        let mut spec = settings(Url::parse(&format!("http://{host}:{port}/")).expect("a URL"));
        spec.deny_private = true;
        let fault = HttpHandler::new(&spec, 4).err().expect(host);
        assert!(fault.contains("deny_private"), "{fault}");
    }
    let mut spec = settings(Url::parse(&format!("http://localhost:{port}/")).expect("a URL"));
    assert!(matches!(call(&spec).await, Outcome::Delivered(_)));
    spec.deny_private = true;
    let outcome = call(&spec).await;
    let Outcome::Retry { cause, .. } = outcome else { panic!("{outcome:?}") };
    assert!(cause.contains("a loopback address, which `deny_private` refuses"), "{cause}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn only_http_urls_are_called() {
    for url in ["ftp://example.com/", "unix:/run/x.sock", "data:,x"] {
        let fault = HttpHandler::new(&settings(Url::parse(url).expect(url)), 4).err().expect(url);
        assert!(fault.contains("must begin with http"), "{fault}");
    }
}
