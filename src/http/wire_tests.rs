//! The listener over real sockets: what a sender may put on the wire, and what comes back.
//!
//! The route here reads a request as ingest does and echoes what it read: header lines, an empty
//! line, the body.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, web};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::AdminSettings;
use super::auth::{self, Door};
use super::body::{self, Limits};
use super::budget::Budget;
use super::listen::{self, Stopper};
use super::problem::Problem;
use crate::metric::Metrics;
use crate::secret::Secret;

/// Longer than any answer takes; a test that gets here has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Echo {
    pub(super) address: SocketAddr,
    stopper: Stopper,
}

#[derive(Clone)]
struct Settings {
    limits: Limits,
    budget: Budget,
}

async fn echo(
    request: HttpRequest,
    mut payload: web::Payload,
    settings: web::Data<Settings>,
) -> HttpResponse {
    if body::head_bytes(&request) > body::HEAD_BYTES_MAX {
        return Problem::head_too_large().holding(Some(payload));
    }
    let mut share = settings.budget.share();
    match body::read(request.headers(), &mut payload, settings.limits, &mut share).await {
        Ok(body) => {
            let mut answer = body::headers(request.headers()).as_bytes().to_vec();
            answer.extend_from_slice(b"\r\n");
            answer.extend_from_slice(&body);
            HttpResponse::Ok().body(answer)
        }
        Err(fault) => Problem::body(fault, settings.limits.bytes).holding(Some(payload)),
    }
}

impl Echo {
    /// Bodies of at most 1,000 bytes, which may take as long as `timeout`; `budget` bytes in all.
    fn start(timeout: Duration, budget: usize) -> Self {
        Self::limited(Limits { bytes: 1000, timeout }, budget)
    }

    pub(super) fn limited(limits: Limits, budget: usize) -> Self {
        let budget = Budget::new(budget, Metrics::new());
        let settings = web::Data::new(Settings { limits, budget });
        Self::serve(move |config| {
            config.app_data(settings.clone()).default_service(web::to(echo));
        })
    }

    pub(super) fn serve(routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = listen::bind(any, NonZeroUsize::MIN, PATIENCE, routes).expect("a port");
        let echo = Self { address: listener.address(), stopper: listener.stopper() };
        tokio::spawn(listener.run());
        echo
    }

    fn patient() -> Self {
        Self::start(PATIENCE, 1_000_000)
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// Sends `bytes`, keeps our side open, and returns all that comes until the other side closes.
    pub(super) async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.expect("a write");
        until_closed(&mut stream).await
    }
}

pub(super) async fn until_closed(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A reset after the answer is an end too: we may have been sending still.
    drop(read.expect("the connection is closed in time"));
    String::from_utf8_lossy(&answer).into_owned()
}

pub(super) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// A request that asks for the connection to be closed, so that its answer has an end.
pub(super) fn request(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST /in/x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{head}\r\n");
    [head.as_bytes(), body].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_arrives_as_its_bytes() {
    let echo = Echo::patient();
    let bytes = request("transfer-encoding: chunked\r\n", b"3\r\na\0b\r\n2\r\n\xff\n\r\n0\r\n\r\n");
    let mut stream = echo.connect().await;
    stream.write_all(&bytes).await.expect("a write");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    assert!(answer.ends_with(b"\r\n\r\na\0b\xff\n"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn header_lines_keep_their_bytes_and_their_order() {
    let echo = Echo::patient();
    let mut bytes = request("content-length: 0\r\nX-Two: b\r\nx-two: a\r\nx-raw: \u{e9}\r\n", b"");
    // "é" is two bytes in UTF-8; alone, the second is not UTF-8 at all.
    let at = bytes.windows(2).position(|pair| pair == [0xc3, 0xa9]).expect("the value");
    bytes.remove(at);
    let mut stream = echo.connect().await;
    stream.write_all(&bytes).await.expect("a write");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let wanted = b"x-raw: \xa9\r\nx-two: b\r\nx-two: a\r\n\r\n";
    assert!(answer.ends_with(wanted), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_body_is_left_as_it_is() {
    let echo = Echo::patient();
    let answer =
        echo.send(&request("content-encoding: gzip\r\ncontent-length: 4\r\n", b"gzip")).await;
    assert_eq!(status(&answer), 200);
    assert!(answer.ends_with("\r\n\r\ngzip"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_promised_too_large_is_refused_before_it_is_sent() {
    let echo = Echo::patient();
    for length in ["1001", "10000000000", "99999999999999999999"] {
        let head = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n");
        let answer = echo.send(head.as_bytes()).await;
        // What doesn't fit into 64 bits is no length to the framework.
        let want = if length.len() > 19 { 400 } else { 413 };
        assert_eq!(status(&answer), want, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_chunks_are_refused_and_the_connection_is_closed() {
    let echo = Echo::patient();
    let mut stream = echo.connect().await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .expect("a write");
    let (mut reader, mut writer) = stream.split();
    let chunk = [b"64\r\n".as_slice(), &[b'x'; 100], b"\r\n"].concat();
    // Writes on until the other side has closed; without a close this would never end.
    let writing = async { while writer.write_all(&chunk).await.is_ok() {} };
    let reading = async {
        let mut answer = [0; 12];
        reader.read_exact(&mut answer).await.expect("an answer");
        answer
    };
    let ((), answer) = tokio::time::timeout(PATIENCE, async { tokio::join!(writing, reading) })
        .await
        .expect("a close");
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_in_time_is_answered_408_and_closed() {
    let echo = Echo::start(Duration::from_millis(50), 1000);
    for head in ["content-length: 10", "transfer-encoding: chunked"] {
        let head = format!("POST / HTTP/1.1\r\nhost: h\r\n{head}\r\n\r\n");
        let answer = echo.send(head.as_bytes()).await;
        assert_eq!(status(&answer), 408, "{answer}");
        assert!(answer.contains("\"code\":\"body_timeout\""), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_is_taken_by_bytes_that_came_and_given_back() {
    let echo = Echo::start(PATIENCE, 1000);
    let mut holder = echo.connect().await;
    holder
        .write_all(b"POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n384\r\n")
        .await
        .expect("a write");
    holder.write_all(&[b'x'; 900]).await.expect("a write");
    // The holder's bytes are counted once they were read, which we see by the first refusal.
    let hundred = request("content-length: 200\r\n", &[b'y'; 200]);
    let refused = loop {
        let answer = echo.send(&hundred).await;
        if status(&answer) != 200 {
            break answer;
        }
    };
    assert_eq!(status(&refused), 503, "{refused}");
    assert!(refused.to_ascii_lowercase().contains("retry-after: 1"), "{refused}");
    holder.write_all(b"\r\n0\r\n\r\n").await.expect("a write");
    assert_eq!(status(&until_closed(&mut holder).await), 200);
    assert_eq!(status(&echo.send(&hundred).await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_could_be_read_in_two_ways_are_refused() {
    let echo = Echo::patient();
    for head in [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
        "content-length: 3\r\ncontent-length: 3\r\n",
        "content-length: +3\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: xchunked\r\n",
        "host: other\r\n",
        "x-folded: a\r\n b\r\n",
    ] {
        let answer = echo.send(&request(head, b"abc")).await;
        assert_eq!(status(&answer), 400, "{head}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_answered_431() {
    let echo = Echo::patient();
    let lines = "x: y\r\n".repeat(97);
    let long = format!("x: {}\r\n", "y".repeat(65 * 1024));
    let longer = format!("x: {}\r\n", "y".repeat(140 * 1024));
    for head in [lines, long, longer] {
        let answer = echo.send(&request(&head, b"")).await;
        assert_eq!(status(&answer), 431, "{}", &answer[..answer.len().min(200)]);
    }
    let fits = format!("content-length: 0\r\nx: {}\r\n", "y".repeat(60 * 1024));
    assert_eq!(status(&echo.send(&request(&fits, b"")).await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_hangs_up_harms_nobody_else() {
    let echo = Echo::patient();
    let bytes = request("content-length: 900\r\n", b"only the beginning");
    for end in 0..bytes.len() {
        let mut stream = echo.connect().await;
        stream.write_all(&bytes[..end]).await.expect("a write");
    }
    // Half closed in the middle of the body: told so, since it still listens.
    let mut stream = echo.connect().await;
    stream.write_all(&bytes).await.expect("a write");
    stream.shutdown().await.expect("a shutdown");
    let answer = until_closed(&mut stream).await;
    assert_eq!(status(&answer), 400, "{answer}");
    assert_eq!(status(&echo.send(&request("content-length: 2\r\n", b"ok")).await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_sender_gets_its_answer() {
    let echo = Echo::patient();
    let mut stream = echo.connect().await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok")
        .await
        .expect("a write");
    stream.shutdown().await.expect("a shutdown");
    assert!(until_closed(&mut stream).await.ends_with("\r\n\r\nok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let echo = Echo::patient();
    let first = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nfirst";
    let bytes = [first.as_slice(), &request("content-length: 6\r\n", b"second")].concat();
    let answer = echo.send(&bytes).await;
    let (a, b) = (answer.find("\r\n\r\nfirst"), answer.find("\r\n\r\nsecond"));
    assert!(a.is_some() && a < b, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_finishes_what_was_begun_and_closes_the_port() {
    let echo = Echo::patient();
    let mut begun = echo.connect().await;
    begun
        .write_all(
            b"POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
        )
        .await
        .expect("a write");
    // The interim answer says that the request is being served.
    let mut interim = [0; 25];
    begun.read_exact(&mut interim).await.expect("an interim answer");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    let stopping = tokio::spawn({
        let stopper = echo.stopper.clone();
        async move { stopper.stop(true).await }
    });
    begun.write_all(b"ok").await.expect("a write");
    assert!(until_closed(&mut begun).await.ends_with("\r\n\r\nok"));
    tokio::time::timeout(PATIENCE, stopping).await.expect("in time").expect("a stop");
    assert!(TcpStream::connect(echo.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_behind_the_guard_needs_the_token_and_has_the_security_headers() {
    let settings = AdminSettings {
        listen: ([127, 0, 0, 1], 0).into(),
        token: Some(Secret::new("correct horse battery".to_owned())),
        hosts: Vec::new(),
    };
    let door = web::Data::new(Door::new(&settings));
    let server = Echo::serve(move |config| {
        config.app_data(door.clone()).service(
            web::scope("").wrap(from_fn(auth::guard)).service(
                web::resource("/events/{id}/body")
                    .route(web::get().to(|id: web::Path<String>| async move { id.into_inner() })),
            ),
        );
    });
    let ask = async |path: &str, host: &str, more: &str| {
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n");
        server.send(head.as_bytes()).await
    };
    let token = "authorization: Bearer correct horse battery\r\n";
    let answer = ask("/events/a%2Fb%3F%20c/body", "127.0.0.1", token).await;
    assert_eq!(status(&answer), 200, "{answer}");
    // A provider's id may hold anything; encoded, it is one segment of the path.
    assert!(answer.ends_with("\r\n\r\na/b? c"), "{answer}");
    let refused = ask("/events/x/body", "127.0.0.1", "").await;
    assert_eq!(status(&refused), 401);
    assert!(refused.to_ascii_lowercase().contains("www-authenticate: bearer"), "{refused}");
    let rebound = ask("/events/x/body", "evil.example.com", token).await;
    assert_eq!(status(&rebound), 421);
    let nowhere = ask("/nowhere", "127.0.0.1", "").await;
    assert_eq!(status(&nowhere), 401, "a stranger learns nothing about the routes");
    for answer in [answer, refused, rebound, nowhere] {
        let lower = answer.to_ascii_lowercase();
        for header in [
            "x-content-type-options: nosniff",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "cache-control: no-store",
        ] {
            assert!(lower.contains(header), "{header} in {answer}");
        }
        assert!(!lower.contains("\r\nserver:"), "{answer}");
    }
}
