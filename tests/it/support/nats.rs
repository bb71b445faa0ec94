//! A throw-away NATS server with JetStream on loopback; gone when this is dropped or the tests are killed.

use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use async_nats::jetstream;
use tempfile::TempDir;

use super::leash::Leash;
use super::port::free_port;
use super::scratch::scratch;
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
}

impl NatsServer {
    /// Starts one, and returns when it answers.
    ///
    /// # Panics
    /// When `nats-server` isn't there or doesn't start: the tests need it.
    pub async fn start() -> Self {
        let dir = scratch("nats");
        let server = Self { dir, port: free_port(), running: Mutex::new(None) };
        server.restart().await;
        server
    }

    /// Its URL, password included.
    pub fn url(&self) -> String {
        format!("nats://tests:{PASSWORD}@127.0.0.1:{}", self.port)
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
        let client = async_nats::ConnectOptions::new()
            .user_and_password("tests".to_owned(), PASSWORD.to_owned())
            .connect(format!("nats://127.0.0.1:{}", self.port));
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
