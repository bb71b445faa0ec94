//! A throw-away RabbitMQ on loopback; gone when this is dropped or the tests are killed.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use tempfile::TempDir;

use super::leash::{Leash, signal, stands_still};
use super::port::free_port;
use super::scratch::scratch;
use super::wait::{eventually, eventually_blocking, within};

/// It needs some five seconds alone; the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// For one that runs to let a client in.
const ANSWER: Duration = Duration::from_secs(5);

/// What each one asks for.
pub const PASSWORD: &str = "a-password-of-tests";

/// The one that tests share which don't stop it: for as long as any of them has it.
static SHARED: tokio::sync::Mutex<Weak<RabbitServer>> = tokio::sync::Mutex::const_new(Weak::new());

/// An own server, with an own registry of names: without one it would start one that outlives it.
#[derive(Debug)]
pub struct RabbitServer {
    dir: TempDir,
    port: u16,
    registry_port: u16,
    distribution_port: u16,
    registry: Mutex<Option<(Child, Leash)>>,
    running: Mutex<Option<(Child, Leash)>>,
}

impl RabbitServer {
    /// Starts one, and returns when it answers.
    ///
    /// # Panics
    /// When `rabbitmq-server` isn't there or doesn't start: the tests need it.
    pub async fn start() -> Self {
        let dir = scratch("rabbitmq");
        let server = Self {
            dir,
            port: free_port(),
            registry_port: free_port(),
            distribution_port: free_port(),
            registry: Mutex::new(None),
            running: Mutex::new(None),
        };
        server.write("rabbitmq.conf", &server.settings());
        server.write("enabled_plugins", "[].");
        server.start_registry();
        server.restart().await;
        server
    }

    /// One for several tests, each with names of its own in it.
    pub async fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().await;
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&server);
        server
    }

    /// Its URL, password included.
    pub fn url(&self) -> String {
        format!("amqp://tests:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    fn settings(&self) -> String {
        format!(
            "listeners.tcp.1 = 127.0.0.1:{}\ndefault_user = tests\ndefault_pass = {PASSWORD}\n\
             disk_free_limit.absolute = 1MB\n",
            self.port
        )
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn start_registry(&self) {
        let child = Command::new("epmd")
            .args(["-address", "127.0.0.1", "-port", &self.registry_port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("epmd is on the PATH (Debian package: erlang-base)");
        let leash = Leash::hold(child.id());
        *self.registry.lock().unwrap() = Some((child, leash));
        eventually_blocking(PATIENCE, "epmd to listen", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.registry_port)).ok()
        });
    }

    /// Starts it again on its port, with what its queues had on disk.
    pub async fn restart(&self) {
        let child = self
            .command("rabbitmq-server")
            // Its script then becomes the server, and doesn't wait for it.
            .env("detached", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("rabbitmq-server is there (Debian package: rabbitmq-server)");
        let leash = Leash::hold(child.id());
        assert!(self.running.lock().unwrap().replace((child, leash)).is_none(), "it runs already");
        eventually(PATIENCE, "RabbitMQ to answer", || async {
            // One that is just starting may hang up half-way, and then the client waits without end.
            let asked = tokio::time::timeout(ANSWER, self.try_client()).await;
            asked.ok()?.ok().map(drop)
        })
        .await;
    }

    /// One of its programs, for this server.
    fn command(&self, name: &str) -> Command {
        // Debian's program on the PATH becomes another user; the one behind it runs as whoever calls it.
        let behind = Path::new("/usr/lib/rabbitmq/bin").join(name);
        let mut command = Command::new(if behind.exists() { behind } else { name.into() });
        let dir = self.dir.path();
        command
            .env("HOME", dir)
            .env("RABBITMQ_NODENAME", format!("hookonce-{}@localhost", self.port))
            .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", dir.join("log"))
            .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
            .env("RABBITMQ_CONF_ENV_FILE", dir.join("none"))
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("ERL_EPMD_PORT", self.registry_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&self) {
        end(&self.running);
    }

    /// Stops it: it takes connections and bytes, and says nothing.
    pub fn freeze(&self) {
        let pid = self.pid();
        signal("STOP", &[pid]);
        let still = || stands_still(pid).then_some(());
        eventually_blocking(PATIENCE, "RabbitMQ to stand still", still);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal("CONT", &[self.pid()]);
    }

    fn pid(&self) -> u32 {
        self.running.lock().unwrap().as_ref().expect("it runs").0.id()
    }

    async fn try_client(&self) -> lapin::Result<(Connection, Channel)> {
        let client = Connection::connect(&self.url(), ConnectionProperties::default()).await?;
        let channel = client.create_channel().await?;
        Ok((client, channel))
    }

    async fn client(&self) -> (Connection, Channel) {
        let client = within(PATIENCE, "RabbitMQ to let a client in", self.try_client()).await;
        client.expect("RabbitMQ answers")
    }

    /// Makes a queue that survives restarts.
    pub async fn declare(&self, queue: &str) {
        let (_client, channel) = self.client().await;
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        declared.expect("a queue");
    }

    /// Returns when what was declared is on its disk: it writes messages before it confirms them, and the
    /// definitions of queues when it likes, so that one may be gone after a kill.
    pub async fn keep_definitions(&self) {
        let mut asking = tokio::process::Command::from(self.command("rabbitmqctl"));
        asking.args(["eval", "mnesia:dump_log()."]).stdin(Stdio::null());
        let said = within(PATIENCE, "rabbitmqctl", asking.output()).await;
        let said = said.expect("rabbitmqctl is there");
        assert!(said.status.success() && said.stdout.starts_with(b"dumped"), "{said:?}");
    }

    /// Makes an exchange that routes to each queue of it, whatever the key.
    pub async fn declare_exchange(&self, exchange: &str) {
        let (_client, channel) = self.client().await;
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let table = FieldTable::default();
        let declared =
            channel.exchange_declare(exchange.into(), ExchangeKind::Fanout, options, table).await;
        declared.expect("an exchange");
    }

    /// Lets an exchange route to a queue.
    pub async fn bind(&self, queue: &str, exchange: &str) {
        let (_client, channel) = self.client().await;
        let options = QueueBindOptions::default();
        let table = FieldTable::default();
        let bound =
            channel.queue_bind(queue.into(), exchange.into(), "".into(), options, table).await;
        bound.expect("a binding");
    }

    /// The messages of a queue, which keeps them, oldest first.
    pub async fn messages(&self, queue: &str) -> Vec<BasicGetMessage> {
        // Not acknowledged, so they go back when the connection ends.
        let (_client, channel) = self.client().await;
        let mut messages = Vec::new();
        let options = BasicGetOptions::default();
        while let Some(message) = channel.basic_get(queue.into(), options).await.expect("its word")
        {
            messages.push(message);
        }
        messages
    }
}

fn end(process: &Mutex<Option<(Child, Leash)>>) {
    if let Some((mut child, leash)) = process.lock().unwrap().take() {
        leash.release();
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
    }
}

impl Drop for RabbitServer {
    fn drop(&mut self) {
        end(&self.running);
        end(&self.registry);
    }
}
