//! A throw-away Redis on loopback: no persistence, gone when this is dropped or the tests are killed.

use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use redis::{Client, Cmd, FromRedisValue};
use tempfile::TempDir;

use super::leash::{Leash, signal, stands_still};
use super::port::free_port;
use super::scratch::scratch;
use super::tls::Authority;
use super::wait::{eventually, eventually_blocking};

const PATIENCE: Duration = Duration::from_secs(30);

/// What each one asks for.
pub const PASSWORD: &str = "a-password-of-tests";

/// An own server.
#[derive(Debug)]
pub struct RedisServer {
    dir: TempDir,
    port: u16,
    running: Mutex<Option<(Child, Leash)>>,
    /// Whether it writes down each change before it answers.
    keeps: bool,
    /// Where it also listens on TLS, and its arguments for that.
    tls: Option<(u16, Vec<String>)>,
}

impl RedisServer {
    /// Starts one, and returns when it answers.
    ///
    /// # Panics
    /// When `redis-server` isn't there or doesn't start: the tests need it.
    pub async fn start() -> Self {
        Self::start_as(false, None).await
    }

    /// One that writes down each change before it answers, and has it again after a kill.
    pub async fn start_durable() -> Self {
        Self::start_as(true, None).await
    }

    /// One that also listens on TLS, with this authority's certificate.
    pub async fn start_tls(authority: &Authority) -> Self {
        let port = free_port();
        let mut arguments = vec!["--tls-port".to_owned(), port.to_string()];
        for (option, file) in [
            ("--tls-cert-file", authority.certificate()),
            ("--tls-key-file", authority.key()),
            ("--tls-ca-cert-file", authority.root()),
        ] {
            arguments.extend([option.to_owned(), file.to_str().unwrap().to_owned()]);
        }
        // It needs no certificate of who asks.
        arguments.extend(["--tls-auth-clients", "no"].map(str::to_owned));
        Self::start_as(false, Some((port, arguments))).await
    }

    async fn start_as(keeps: bool, tls: Option<(u16, Vec<String>)>) -> Self {
        let dir = scratch("redis");
        let server = Self { dir, port: free_port(), running: Mutex::new(None), keeps, tls };
        server.restart().await;
        server
    }

    /// Its URL, password included.
    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// Its URL over TLS.
    ///
    /// # Panics
    /// When it has none.
    pub fn tls_url(&self) -> String {
        let (port, _) = self.tls.as_ref().expect("it speaks TLS");
        format!("rediss://:{PASSWORD}@127.0.0.1:{port}")
    }

    /// Starts it again on its port, with what it had written down.
    pub async fn restart(&self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", if self.keeps { "yes" } else { "no" }])
            .args(["--appendfsync", "always", "--requirepass", PASSWORD])
            .args(self.tls.iter().flat_map(|(_, arguments)| arguments))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is on the PATH (Debian package: redis-server)");
        let leash = Leash::hold(child.id());
        assert!(self.running.lock().unwrap().replace((child, leash)).is_none(), "it runs already");
        eventually(PATIENCE, "Redis to answer", || async {
            self.try_ask::<String>(&redis::cmd("PING")).await.ok()
        })
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

    /// Stops it: it takes connections and questions, and says nothing.
    pub fn freeze(&self) {
        let pid = self.pid();
        signal("STOP", &[pid]);
        eventually_blocking(PATIENCE, "Redis to stand still", || stands_still(pid).then_some(()));
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal("CONT", &[self.pid()]);
    }

    fn pid(&self) -> u32 {
        self.running.lock().unwrap().as_ref().expect("it runs").0.id()
    }

    /// What it says to a command.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        self.try_ask(command).await.expect("Redis answers")
    }

    async fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        let client = Client::open(self.url())?;
        command.query_async(&mut client.get_multiplexed_async_connection().await?).await
    }

    /// The names that it has values of.
    pub async fn names(&self) -> Vec<String> {
        self.ask(redis::cmd("KEYS").arg("*")).await
    }

    /// The number of the newest connection that ran a script last.
    pub async fn last_evaluator(&self) -> i64 {
        let clients: String = self.ask(redis::cmd("CLIENT").arg("LIST")).await;
        let evaluates = clients.lines().filter(|line| line.contains(" cmd=eval "));
        let number = |line: &str| line.strip_prefix("id=")?.split(' ').next()?.parse().ok();
        evaluates.filter_map(number).max().unwrap_or(0)
    }

    /// A value's bytes.
    pub async fn get(&self, name: &str) -> Vec<u8> {
        self.ask(redis::cmd("GET").arg(name)).await
    }

    /// Sets a value for good.
    pub async fn set(&self, name: &str, value: &[u8]) {
        self.ask::<()>(redis::cmd("SET").arg(name).arg(value)).await;
    }

    /// Forgets everything.
    pub async fn flush(&self) {
        self.ask::<()>(&redis::cmd("FLUSHALL")).await;
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
