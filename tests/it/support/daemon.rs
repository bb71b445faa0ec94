//! The real program as a child process, with a config file of its own.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::database::TestDatabase;
use super::leash::{Leash, signal};
use super::port::free_port;
use super::raw::{RawAnswer, RawRequest};
use super::sender::{Sender, Signer};
use super::wait::{eventually, within};

/// The program that was built for these tests.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_hookonce");

/// From the start of the process to readiness; the machine may be busy with other tests.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// For the answer to a webhook, unless the plan says otherwise: a machine may stall for longer than the two and a
/// half seconds that are usual, and the daemon then rightly says that its database is too slow. Below the senders'
/// `ANSWER_PATIENCE`.
const ACK_DEADLINE: &str = "ack_deadline = \"15s\"\n";

/// From SIGTERM to the end of the process.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// What a daemon's `hookonce.toml` says.
#[derive(Debug, Clone)]
pub struct DaemonPlan {
    database: String,
    server: String,
    admin: String,
    rest: String,
    environment: Vec<(String, String)>,
}

impl DaemonPlan {
    /// A daemon on this database, without sources or handlers.
    pub fn on(database: &TestDatabase) -> Self {
        Self {
            database: format!("url = {:?}\n", database.url()),
            server: String::new(),
            admin: String::new(),
            rest: String::new(),
            environment: Vec::new(),
        }
    }

    /// A source of this provider, named like it, with the signer's secret.
    pub fn source(self, signer: &Signer) -> Self {
        self.source_with(signer, "")
    }

    /// The same with more lines in its table.
    pub fn source_with(self, signer: &Signer, lines: &str) -> Self {
        let (provider, secret) = (signer.provider(), signer.secret());
        self.toml(&format!(
            "[sources.{provider}]\nprovider = \"{provider}\"\nsecrets = [{{ value = {secret:?} }}]\n{lines}\n"
        ))
    }

    /// A handler that calls a URL, with more lines in its table.
    pub fn calls(self, handler: &str, from: &str, url: &str, lines: &str) -> Self {
        self.toml(&format!(
            "[handlers.{handler}]\nfrom = \"{from}\"\nhttp = {{ url = {url:?} }}\n{lines}\n"
        ))
    }

    /// Any further tables.
    pub fn toml(mut self, text: &str) -> Self {
        self.rest.push_str(text);
        self.rest.push('\n');
        self
    }

    /// More lines in `[server]`. What they say of `ack_deadline` counts.
    pub fn server(mut self, lines: &str) -> Self {
        self.server.push_str(lines);
        self.server.push('\n');
        self
    }

    /// More lines in `[admin]`.
    pub fn admin(mut self, lines: &str) -> Self {
        self.admin.push_str(lines);
        self.admin.push('\n');
        self
    }

    /// More lines in `[database]`.
    pub fn database(mut self, lines: &str) -> Self {
        self.database.push_str(lines);
        self.database.push('\n');
        self
    }

    /// With a variable in its environment, which is empty otherwise.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self) -> Daemon {
        let mut daemon = self.place();
        daemon.start().await;
        daemon
    }

    /// Writes the config without starting anything: for tests that run the program themselves.
    pub fn place(&self) -> Daemon {
        let dir = tempfile::Builder::new().prefix("hookonce-run-").tempdir().unwrap();
        let (public, admin) = (loopback(free_port()), loopback(free_port()));
        std::fs::write(dir.path().join("hookonce.toml"), self.text(public, admin)).unwrap();
        let environment = self.environment.clone();
        Daemon { dir, public, admin, environment, running: None }
    }
}

impl DaemonPlan {
    /// The config as a text.
    pub fn text(&self, public: SocketAddr, admin: SocketAddr) -> String {
        let mut text = String::new();
        let ack = if self.server.contains("ack_deadline") { "" } else { ACK_DEADLINE };
        writeln!(text, "[server]\nlisten = \"{public}\"\n{ack}{}", self.server).unwrap();
        writeln!(text, "[admin]\nlisten = \"{admin}\"\n{}", self.admin).unwrap();
        writeln!(text, "[database]\n{}", self.database).unwrap();
        text + &self.rest
    }
}

/// An address of loopback.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A daemon's place, and its process while it runs. The process is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    dir: TempDir,
    public: SocketAddr,
    admin: SocketAddr,
    environment: Vec<(String, String)>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    leash: Leash,
    pid: u32,
}

impl Daemon {
    /// Starts the process and waits until it is ready.
    ///
    /// # Panics
    /// When it ends before, or isn't ready in time; the message has its log.
    pub async fn start(&mut self) {
        self.spawn();
        self.wait_until_ready().await;
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// As [`Daemon::start`].
    pub async fn wait_until_ready(&mut self) {
        let deadline = tokio::time::Instant::now() + READY_PATIENCE;
        loop {
            let running = self.running.as_mut().expect("the daemon runs");
            if let Some(status) = running.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            if is_ready(self.public).await {
                return;
            }
            let late = tokio::time::Instant::now() > deadline;
            assert!(!late, "not ready after {READY_PATIENCE:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts the process without waiting.
    pub fn spawn(&mut self) {
        assert!(self.running.is_none(), "the daemon runs already");
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = self
            .command(&["serve"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = child.id().unwrap();
        self.running = Some(Running { child, leash: Leash::hold(pid), pid });
    }

    /// The program with arguments, in the daemon's folder and a clean environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(self.dir.path(), arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Kills it with SIGKILL and returns when it is gone.
    pub async fn kill(&mut self) {
        let mut running = self.running.take().expect("the daemon runs");
        running.child.start_kill().unwrap();
        running.end(STOP_PATIENCE).await;
    }

    /// Sends SIGTERM without waiting.
    pub fn ask_to_stop(&self) {
        signal("TERM", &[self.pid()]);
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Panics
    /// When it doesn't end in time.
    pub async fn stop(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.wait_for_end().await
    }

    /// Waits for the process's own end.
    pub async fn wait_for_end(&mut self) -> ExitStatus {
        let running = self.running.take().expect("the daemon runs");
        running.end(STOP_PATIENCE).await
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("the daemon runs").pid
    }

    /// Where webhooks go.
    pub fn public(&self) -> SocketAddr {
        self.public
    }

    /// Where the admin API listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The admin listener's URL.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// The folder it runs in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A sender to its public listener.
    pub fn sender(&self) -> Sender {
        Sender::new(self.public)
    }

    /// What it wrote so far, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("daemon.log")
    }

    /// GET on the admin listener.
    pub async fn get(&self, path: &str) -> RawAnswer {
        self.admin_request(RawRequest::new("GET", path)).await
    }

    /// POST on the admin listener.
    pub async fn post(&self, path: &str, body: &Value) -> RawAnswer {
        self.admin_request(RawRequest::post(path, body.to_string())).await
    }

    /// DELETE on the admin listener.
    pub async fn delete(&self, path: &str) -> RawAnswer {
        self.admin_request(RawRequest::new("DELETE", path)).await
    }

    async fn admin_request(&self, request: RawRequest) -> RawAnswer {
        request.without("host").header("host", self.admin.to_string()).send(self.admin).await
    }
}

impl Running {
    async fn end(mut self, patience: Duration) -> ExitStatus {
        let status = within(patience, "the daemon's end", self.child.wait()).await.unwrap();
        self.leash.release();
        status
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", tail(&self.log(), 60));
        }
        if let Some(mut running) = self.running.take() {
            if let Err(error) = running.child.start_kill() {
                eprintln!("daemon: {error}");
            }
            running.leash.release();
        }
    }
}

/// The program with arguments, in a folder and a clean environment.
pub fn program(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(dir).env_clear().env("PATH", "/usr/bin:/bin");
    command
}

async fn is_ready(public: SocketAddr) -> bool {
    RawRequest::new("GET", "/readyz")
        .try_send(public)
        .await
        .is_ok_and(|answer| answer.status == 200)
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Waits until no delivery is pending or leased.
///
/// # Panics
/// When one still is after `patience`.
pub async fn wait_until_settled(database: &TestDatabase, patience: Duration) {
    let open = "SELECT count(*) FROM delivery WHERE state IN ('pending', 'leased')";
    eventually(patience, "every delivery to be settled", || async {
        (database.try_number(open).await.ok()? == 0).then_some(())
    })
    .await;
}
