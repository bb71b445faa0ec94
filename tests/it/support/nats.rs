//! A throw-away NATS server with JetStream on loopback; gone when this is dropped or the tests are killed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use async_nats::jetstream;
use tempfile::TempDir;

use super::leash::Leash;
use super::port::free_port;
use super::scratch::scratch;
use super::tls::Authority;
use super::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(30);

/// What each one asks for.
pub const PASSWORD: &str = "a-password-of-tests";

/// An own server.
#[derive(Debug)]
pub struct NatsServer {
    dir: TempDir,
    port: u16,
    running: Mutex<Option<(Child, Leash)>>,
    tls: Option<Tls>,
}

/// What it shows, and what its clients have to believe.
#[derive(Debug)]
struct Tls {
    arguments: Vec<String>,
    root: PathBuf,
}

impl NatsServer {
    /// Starts one, and returns when it answers.
    ///
    /// # Panics
    /// When `nats-server` isn't there or doesn't start: the tests need it.
    pub async fn start() -> Self {
        Self::start_as(None).await
    }

    /// One that speaks TLS only, with this authority's certificate.
    pub async fn start_tls(authority: &Authority) -> Self {
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let arguments = vec![
            "--tls".to_owned(),
            "--tlscert".to_owned(),
            path(authority.certificate()),
            "--tlskey".to_owned(),
            path(authority.key()),
        ];
        Self::start_as(Some(Tls { arguments, root: authority.root() })).await
    }

    async fn start_as(tls: Option<Tls>) -> Self {
        let dir = scratch("nats");
        let server = Self { dir, port: free_port(), running: Mutex::new(None), tls };
        server.restart().await;
        server
    }

    /// Its URL, password included.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "tls" } else { "nats" };
        format!("{scheme}://tests:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// Starts it again on its port, with what its streams had kept.
    pub async fn restart(&self) {
        // Debian has it off the PATH of ordinary users.
        let program = ["/usr/sbin/nats-server", "/usr/bin/nats-server"];
        let program = program.into_iter().find(|it| std::path::Path::new(it).exists());
        let child = Command::new(program.unwrap_or("nats-server"))
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"])
            .arg(self.dir.path())
            .args(["--user", "tests", "--pass", PASSWORD])
            .args(self.tls.iter().flat_map(|tls| &tls.arguments))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is there (Debian package: nats-server)");
        let leash = Leash::hold(child.id());
        assert!(self.running.lock().unwrap().replace((child, leash)).is_none(), "it runs already");
        // It says that it is ready when its streams are.
        eventually(PATIENCE, "NATS to answer", || async { self.try_context().await.map(drop) })
            .await;
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&self) {
        if let Some((mut child, leash)) = self.running.lock().unwrap().take() {
            leash.release();
            child.kill().expect("it is ours");
            child.wait().expect("it ends");
        }
    }

    async fn try_context(&self) -> Option<jetstream::Context> {
        let mut options = async_nats::ConnectOptions::new()
            .user_and_password("tests".to_owned(), PASSWORD.to_owned());
        if let Some(tls) = &self.tls {
            options = options.require_tls(true).add_root_certificates(tls.root.clone());
        }
        let client = options.connect(format!("nats://127.0.0.1:{}", self.port));
        client.await.ok().map(jetstream::new)
    }

    /// A client of its streams.
    pub async fn context(&self) -> jetstream::Context {
        self.try_context().await.expect("NATS answers")
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}
