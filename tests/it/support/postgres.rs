//! A throw-away PostgreSQL cluster, made by `initdb` and run with durable settings.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::leash::{children, runs, signal, stands_still};
use super::port::free_port;
use super::scratch::scratch;
use super::wait::eventually_blocking;

/// For a cluster to accept connections; recovery after a kill included.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// What every cluster runs with. The daemon refuses to start without the first three, and a test of
/// durability on anything less would prove nothing.
const SETTINGS: [&str; 12] = [
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
    "listen_addresses=127.0.0.1",
    "max_connections=400",
    "shared_buffers=64MB",
    "max_wal_size=512MB",
    "autovacuum_naptime=5s",
    "log_min_messages=warning",
    "logging_collector=off",
    "jit=off",
    "timezone=UTC",
];

/// Runs the server, and stops it and removes the cluster when the pipe on its standard input closes: when
/// this process ends, in whatever way. The first line that it prints is the server's process id.
const GUARDIAN: &str = r#"
    dir=$1; shift
    "$@" </dev/null >>"$dir/log" 2>&1 &
    server=$!
    echo "$server"
    exec >/dev/null
    if read -r keep; then wait "$server"; exit 0; fi
    kill -s QUIT "$server" 2>/dev/null
    wait "$server"
    rm -rf "$dir"
"#;

/// An own cluster: on loopback and on a socket in its directory; gone when this is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    programs: PathBuf,
    /// PostgreSQL refuses to run as root; then this is who runs it.
    user: Option<User>,
    dir: PathBuf,
    port: u16,
    /// Beside [`SETTINGS`], and stronger.
    settings: &'static [&'static str],
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    guardian: Child,
    server: u32,
}

#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl PostgresServer {
    /// Makes a cluster and starts it. Blocks for about two seconds.
    ///
    /// # Panics
    /// When PostgreSQL's programs aren't there or don't work: the tests need them, and say so.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// [`PostgresServer::start`] with settings that are stronger than the usual ones.
    pub fn start_with(settings: &'static [&'static str]) -> Self {
        let programs = find_programs();
        let dir = scratch("pg").keep();
        let user = (fs::metadata(&dir).unwrap().uid() == 0).then(find_user);
        if let Some(User { uid, gid }) = user {
            chown(&dir, Some(uid), Some(gid)).unwrap();
        }
        let server =
            Self { programs, user, dir, port: free_port(), settings, running: Mutex::new(None) };
        server.make_cluster();
        server.restart();
        server
    }

    /// [`PostgresServer::start`], from a test.
    pub async fn started() -> Self {
        tokio::task::spawn_blocking(Self::start).await.unwrap()
    }

    /// The URL of one of its databases, over TCP.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Starts it again on the same port, and returns when it accepts connections.
    ///
    /// # Panics
    /// When it runs, or doesn't start.
    pub fn restart(&self) {
        let mut running = self.running.lock().unwrap();
        assert!(running.is_none(), "the server runs already");
        // After a kill, the shared memory may be held for a moment by a process that is just dying.
        for _ in 0..5 {
            if let Some(started) = self.try_start() {
                *running = Some(started);
                return;
            }
        }
        panic!("PostgreSQL does not start:\n{}", self.log());
    }

    /// Kills the server and each of its processes with SIGKILL, and returns when they are gone.
    pub fn kill(&self) {
        let Some(mut running) = self.running.lock().unwrap().take() else { return };
        // Stopped first: a session that it forked after we looked would live on, hold the shared memory,
        // and keep the next start away.
        signal("STOP", &[running.server]);
        eventually_blocking(Duration::from_secs(10), "the server to stand still", || {
            stands_still(running.server).then_some(())
        });
        let mut pids = children(running.server);
        pids.insert(0, running.server);
        signal("KILL", &pids);
        eventually_blocking(Duration::from_secs(10), "the killed server's end", || {
            pids.iter().all(|pid| !runs(*pid)).then_some(())
        });
        running.finish(b"keep\n");
    }

    /// Where the cluster is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn make_cluster(&self) {
        let made = self
            .command("initdb")
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"])
            // It is about the loss of power right after initdb, which no test survives.
            .arg("--no-sync")
            .arg("--pgdata")
            .arg(self.data())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb failed:\n{}{}",
            String::from_utf8_lossy(&made.stdout),
            String::from_utf8_lossy(&made.stderr)
        );
    }

    /// `None` when the server ended at once.
    fn try_start(&self) -> Option<Running> {
        let mut command = self.as_user(Command::new("sh"));
        command.args(["-c", GUARDIAN, "guardian"]).arg(&self.dir);
        command.arg(self.programs.join("postgres")).arg("-D").arg(self.data());
        command.args(["-p", &self.port.to_string(), "-k"]).arg(&self.dir);
        for setting in SETTINGS.iter().chain(self.settings) {
            command.args(["-c", setting]);
        }
        // In a group of its own: a Ctrl-C at the terminal must leave the guardian alive to clean up.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut guardian = command.spawn().unwrap();
        let server = read_pid(&mut guardian);
        let mut running = Running { guardian, server };
        let ready = eventually_blocking(START_PATIENCE, "PostgreSQL to start", || {
            if self.is_ready(server) { Some(true) } else { (!runs(server)).then_some(false) }
        });
        if !ready {
            running.finish(b"keep\n");
        }
        ready.then_some(running)
    }

    /// The server writes its state into the eighth line of `postmaster.pid`, which may be a killed one's.
    fn is_ready(&self, server: u32) -> bool {
        let Ok(text) = fs::read_to_string(self.data().join("postmaster.pid")) else { return false };
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.first() == Some(&server.to_string().as_str()) && lines.get(7) == Some(&"ready")
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn command(&self, program: &str) -> Command {
        self.as_user(Command::new(self.programs.join(program)))
    }

    fn as_user(&self, mut command: Command) -> Command {
        if let Some(User { uid, gid }) = self.user {
            command.uid(uid).gid(gid);
        }
        // The tests' own folder may be closed to that user.
        command.current_dir("/").env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let running = match self.running.lock() {
            Ok(mut running) => running.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        };
        match running {
            // Closing the pipe makes the guardian stop the server and remove the cluster.
            Some(mut running) => running.finish(b""),
            None => {
                fs::remove_dir_all(&self.dir).unwrap_or_else(|error| eprintln!("cluster: {error}"))
            }
        }
    }
}

impl Running {
    fn finish(&mut self, last_words: &[u8]) {
        use std::io::Write;
        if let Some(mut pipe) = self.guardian.stdin.take() {
            pipe.write_all(last_words).unwrap_or_else(|error| eprintln!("guardian: {error}"));
        }
        self.guardian.wait().expect("the guardian ends");
    }
}

fn read_pid(guardian: &mut Child) -> u32 {
    use std::io::{BufRead, BufReader};
    let mut line = String::new();
    BufReader::new(guardian.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim().parse().expect("the guardian says the server's process id")
}

/// Debian keeps the server programs of each version in a folder off the PATH; the newest is taken.
fn find_programs() -> PathBuf {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = debian
        .map(|version| version.path().join("bin"))
        .filter(|bin| has_programs(bin))
        .max_by_key(|bin| version_of(bin));
    if let Some(bin) = newest {
        return bin;
    }
    let found = Command::new("sh").args(["-c", "command -v initdb"]).output().unwrap();
    let initdb = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
    let bin = initdb.parent().map(Path::to_path_buf).unwrap_or_default();
    assert!(
        has_programs(&bin),
        "PostgreSQL's server programs are missing: `make test` installs them, or install Debian's package `postgresql`"
    );
    bin
}

fn has_programs(bin: &Path) -> bool {
    bin.join("postgres").exists() && bin.join("initdb").exists()
}

fn version_of(bin: &Path) -> u32 {
    let folder = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    folder.and_then(|name| name.parse().ok()).unwrap_or(0)
}

/// The `postgres` user of Debian's package, or else `nobody`.
fn find_user() -> User {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
        })
        .expect("a user `postgres` or `nobody`: PostgreSQL refuses to run as root")
}
