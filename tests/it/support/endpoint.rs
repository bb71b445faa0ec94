//! A real HTTP server that handlers call: it records each call and answers as a test wrote it down.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::raw::{Head, read_head};
use super::wait::within;

/// What the endpoint answers to one call.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    delay: Duration,
    held: bool,
}

impl Answer {
    /// This status at once, with an empty body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: String::new(),
            delay: Duration::ZERO,
            held: false,
        }
    }

    /// 200 at once.
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// With this header too.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this body.
    pub fn body(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }

    /// Only after this long: a slow handler.
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Only after [`Endpoint::release`].
    pub fn held(mut self) -> Self {
        self.held = true;
        self
    }
}

/// One call as it came.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub at: Instant,
}

impl Call {
    /// The value of a header; empty when it is absent.
    ///
    /// # Panics
    /// When it stands more than once.
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let first = values.next().unwrap_or_default();
        assert_eq!(values.next(), None, "{name} stands twice");
        first
    }

    /// The delivery's stable id.
    pub fn webhook_id(&self) -> &str {
        self.header("webhook-id")
    }
}

/// The server. It stops when this is dropped.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    calls: Mutex<Vec<Call>>,
    script: Mutex<Script>,
    /// How many calls came so far: what waits look at.
    count: watch::Sender<usize>,
    /// How many calls were answered in full.
    answered: watch::Sender<usize>,
    gate: Semaphore,
}

#[derive(Debug)]
struct Script {
    next: VecDeque<Answer>,
    at: Vec<(String, Answer)>,
    otherwise: Answer,
}

impl Endpoint {
    /// Answers 200 to everything until told otherwise.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            calls: Mutex::default(),
            script: Mutex::new(Script {
                next: VecDeque::new(),
                at: Vec::new(),
                otherwise: Answer::ok(),
            }),
            count: watch::Sender::new(0),
            answered: watch::Sender::new(0),
            gate: Semaphore::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path, such as `/billing`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next calls get these answers, in order.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) -> &Self {
        lock(&self.shared.script).next.extend(answers);
        self
    }

    /// Calls to this target get this answer, unless one is next.
    pub fn answer_at(&self, target: &str, answer: Answer) -> &Self {
        lock(&self.shared.script).at.push((target.to_owned(), answer));
        self
    }

    /// Calls beyond the script get this answer.
    pub fn answer_otherwise(&self, answer: Answer) -> &Self {
        lock(&self.shared.script).otherwise = answer;
        self
    }

    /// Lets `calls` held answers go.
    pub fn release(&self, calls: usize) {
        self.shared.gate.add_permits(calls);
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// How many calls came so far.
    pub fn count(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// How many calls were answered in full.
    pub fn answered(&self) -> usize {
        *self.shared.answered.borrow()
    }

    /// Waits until `count` calls came, and returns all of them.
    ///
    /// # Panics
    /// When fewer came within `patience`.
    pub async fn wait_for_calls(&self, count: usize, patience: Duration) -> Vec<Call> {
        let mut seen = self.shared.count.subscribe();
        let what = format!("call {count} (so far {})", self.count());
        within(patience, &what, seen.wait_for(|n| *n >= count)).await.unwrap();
        self.calls()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.gate.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // The set aborts every connection when this task is aborted.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // A caller that goes away is what some tests are about.
            if let Err(error) = serve(stream, &shared).await {
                eprintln!("endpoint: {error}");
            }
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut buffer).await? {
        let length: usize = head.header("content-length").map_or(0, |text| text.parse().unwrap());
        while buffer.len() < length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let body = buffer.drain(..length).collect();
        let answer = record(shared, head, body);
        tokio::time::sleep(answer.delay).await;
        if answer.held {
            match shared.gate.acquire().await {
                Ok(permit) => permit.forget(),
                Err(_) => return Ok(()),
            }
        }
        stream.write_all(&render(&answer)).await?;
        stream.flush().await?;
        shared.answered.send_modify(|count| *count += 1);
    }
    Ok(())
}

fn record(shared: &Shared, head: Head, body: Vec<u8>) -> Answer {
    let (method, target) = head.request_line();
    let call = Call { method, target, headers: head.headers, body, at: Instant::now() };
    let answer = {
        let mut script = lock(&shared.script);
        let there = script.at.iter().find(|(target, _)| *target == call.target);
        let there = there.map(|(_, answer)| answer.clone());
        let next = script.next.pop_front().or(there);
        next.unwrap_or_else(|| script.otherwise.clone())
    };
    lock(&shared.calls).push(call);
    shared.count.send_modify(|count| *count += 1);
    answer
}

fn render(answer: &Answer) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {} Scripted\r\n", answer.status);
    for (name, value) in &answer.headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str(&format!("content-length: {}\r\n\r\n{}", answer.body.len(), answer.body));
    out.into_bytes()
}
