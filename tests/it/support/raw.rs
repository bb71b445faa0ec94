//! HTTP by hand over TCP: for what no well-behaved client would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wait::within;

/// For an answer of a daemon that is up.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// First line and header lines of a request or an answer.
#[derive(Debug, Clone)]
pub struct Head {
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Method and target.
    pub fn request_line(&self) -> (String, String) {
        let mut words = self.line.split(' ').map(str::to_owned);
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it isn't.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The stable `code` of a refusal; checks that the refusal has the contract's form.
    ///
    /// # Panics
    /// When it isn't problem+json, or its status disagrees with the answer's.
    pub fn code(&self) -> String {
        assert_eq!(self.head.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        problem["code"].as_str().expect("a code").to_owned()
    }
}

/// A request by parts, each byte as written.
#[derive(Debug, Clone)]
pub struct RawRequest {
    pub line: String,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl RawRequest {
    /// A POST with the length of its body.
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self::new("POST", target)
            .header("content-length", body.len().to_string())
            .header("content-type", "application/json")
            .with_body(body)
    }

    /// A request with nothing but a Host.
    pub fn new(method: &str, target: &str) -> Self {
        Self { line: format!("{method} {target} HTTP/1.1"), headers: Vec::new(), body: Vec::new() }
            .header("host", "hooks.example.com")
    }

    /// With this header line too.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Without the header lines of this name.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name.as_bytes()));
        self
    }

    /// With this body; its length is not announced.
    pub fn with_body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// The head's bytes.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut out = self.line.clone().into_bytes();
        out.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// All of its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.head_bytes();
        out.extend_from_slice(&self.body);
        out
    }

    /// Sends it on a connection of its own and reads the answer.
    ///
    /// # Panics
    /// When there is no whole answer in time.
    pub async fn send(&self, to: SocketAddr) -> RawAnswer {
        self.try_send(to).await.unwrap_or_else(|error| panic!("{}: {error}", self.line))
    }

    /// The same; an answer that did not come whole is an error.
    pub async fn try_send(&self, to: SocketAddr) -> std::io::Result<RawAnswer> {
        within(ANSWER_PATIENCE, "an answer", async {
            let mut stream = TcpStream::connect(to).await?;
            let sent = stream.write_all(&self.bytes()).await;
            if self.line.starts_with("HEAD ") {
                // Its length is what a GET would have: what follows, up to the end, must be nothing.
                return read_bodiless(&mut stream).await;
            }
            // A server that refuses early may close before it has read everything: its answer counts.
            match (read_answer(&mut stream, &mut Vec::new()).await, sent) {
                (Ok(Some(answer)), _) => Ok(answer),
                (_, Err(error)) | (Err(error), _) => Err(error),
                (Ok(None), Ok(())) => Err(std::io::ErrorKind::UnexpectedEof.into()),
            }
        })
        .await
    }
}

/// Reads a head; what came after it stays in `buffer`. `None` when the other side closed before a head.
pub async fn read_head(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<Head>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let text: Vec<u8> = buffer.drain(..end + 4).collect();
    let text = String::from_utf8_lossy(&text[..end]).into_owned();
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Some(Head { line, headers }))
}

/// Reads an answer up to the end of the connection, whatever length it names.
async fn read_bodiless(stream: &mut TcpStream) -> std::io::Result<RawAnswer> {
    let mut body = Vec::new();
    let head = read_head(stream, &mut body).await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    stream.read_to_end(&mut body).await?;
    let status = head.line.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(RawAnswer { status, head, body })
}

/// Reads an answer with a length or up to the end. `None` when the other side closed without one.
pub async fn read_answer(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<RawAnswer>> {
    let Some(head) = read_head(stream, buffer).await? else { return Ok(None) };
    let status = head.line.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let length = head.header("content-length").map(|text| text.parse::<usize>().unwrap());
    // It never has a body, and says no length.
    let length = if status == 204 { Some(0) } else { length };
    while length.is_none_or(|length| buffer.len() < length) {
        if stream.read_buf(buffer).await? == 0 {
            break;
        }
    }
    // An answer that was cut off is no answer: an ack counts only when all of it came.
    if length.is_some_and(|length| buffer.len() < length) {
        return Ok(None);
    }
    let body = buffer.drain(..length.unwrap_or(buffer.len())).collect();
    Ok(Some(RawAnswer { status, head, body }))
}
