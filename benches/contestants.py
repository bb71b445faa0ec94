"""Who takes part: how each one is started, where it listens, and how its rows are counted."""

import contextlib
import os
import pathlib
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass

import load
from processes import Failed, Process, clean_environment, free_port, status_of, wait_until

HERE = pathlib.Path(__file__).parent
PEERS = HERE / "peers"
SCHEMA = (PEERS / "schema.sql").read_text()
# As many as pgbench has clients, whatever the number of workers that share them.
POOL = 32


@dataclass
class Running:
    """A contestant that answers."""
    port: int
    path: str
    provider: str
    process: Process
    rows: object = None       # Counts the events that are stored; None where nothing is.
    database: str = None      # PostgreSQL's name of it.
    folder: pathlib.Path = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}{self.path}"


@dataclass(frozen=True)
class Contestant:
    key: str
    title: str
    note: str
    start: object
    uses: str = "postgres"    # Which database's CPU is counted with it.
    measure: str = "load"     # Or pgbench, which is its own load.

    @contextlib.contextmanager
    def running(self, bench):
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.key}-", dir=bench.folder))
        try:
            with self.start(bench, folder) as running:
                running.folder = folder
                check(running)
                yield running
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def check(running):
    """A contestant that accepts anything, or nothing, must not be measured."""
    good = load.signed(running.provider, "evt_check")
    bad = load.signed(running.provider, "evt_forged", secret="another")
    for (headers, body), wanted in ((good, "2xx"), (bad, "a refusal")):
        status = status_of(running.port, running.path, method="POST", body=body, headers=headers)
        accepted = status is not None and 200 <= status < 300
        if status is None or accepted != (wanted == "2xx"):
            raise Failed(f"{running.process.command[0]}: wanted {wanted} for a check request, got {status}")


# --- hookonce

def config(port, admin, url, *, handler=False, concurrency=256, log="warn", database="", more=""):
    """The daemon's settings. Everything that isn't named has its default."""
    text = (f'[server]\nlisten = "127.0.0.1:{port}"\n[admin]\nlisten = "127.0.0.1:{admin}"\n'
            f'[database]\nurl = "{url}"\n{database}[telemetry]\nlog = "{log}"\n'
            f'[sources.stripe]\nprovider = "stripe"\nsecrets = [{{ value = "{load.SECRET}" }}]\n')
    if handler:
        text += f'[handlers.audit]\nfrom = "stripe"\nlog = {{}}\nconcurrency = {concurrency}\n'
    return text + more


@contextlib.contextmanager
def daemon(bench, folder, url, *, pause=0.02, check_config=True, **settings):
    """A daemon that is ready on `url`: its process and its ports."""
    port, admin = free_port(), free_port()
    file = pathlib.Path(folder) / f"hookonce-{port}.toml"
    file.write_text(config(port, admin, url, **settings))
    # Secrets stand in it: the daemon warns about a file that others may read.
    file.chmod(0o600)
    process = Process([bench.daemon, "serve", "--config", file], pathlib.Path(folder) / f"hookonce-{port}.log", cwd=folder)
    try:
        wait_until("the daemon's readiness", lambda: status_of(admin, "/readyz") == 200, process=process, pause=pause)
        yield process, port, admin
    finally:
        process.end(patience=40)


def hookonce_postgres(handler):
    @contextlib.contextmanager
    def start(bench, folder):
        name = "bench"
        with bench.postgres.database(name) as url, daemon(bench, folder, url, handler=handler) as (process, port, _):
            count = lambda: bench.postgres.number(name, "SELECT count(*) FROM event")
            yield Running(port, "/in/stripe", "stripe", process, count, name)
    return start


@contextlib.contextmanager
def hookonce_sqlite(bench, folder):
    file = folder / "bench.db"
    with daemon(bench, folder, f"sqlite://{file}") as (process, port, _):
        def count():
            with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as it:
                return it.execute("SELECT count(*) FROM event").fetchone()[0]
        yield Running(port, "/in/stripe", "stripe", process, count)


# --- the peers

@contextlib.contextmanager
def _process(folder, port, command, *, path="/in/stripe", provider="stripe", rows=None, database=None, **more):
    process = Process(command, folder / "log", **more)
    try:
        # Any answer will do: each of them says 404 or 200 here.
        wait_until(f"{command[0]} to answer", lambda: status_of(port, "/") is not None, process=process)
        yield Running(port, path, provider, process, rows, database)
    finally:
        process.end()


@contextlib.contextmanager
def no_database(bench, folder):
    port = free_port()
    with _process(folder, port, [bench.target / "no_database", port, load.SECRET]) as running:
        yield running


def _with_table(command):
    """A peer on a fresh database with the one table; `command` says how it is started."""
    @contextlib.contextmanager
    def start(bench, folder):
        name = "bench"
        with bench.postgres.database(name, SCHEMA) as url:
            port = free_port()
            line, more = command(bench, port, url)
            count = lambda: bench.postgres.number(name, "SELECT count(*) FROM event")
            with _process(folder, port, line, rows=count, database=name, **more) as running:
                yield running
    return start


def naive(bench, port, url):
    return [bench.target / "naive", port, load.SECRET, url], {}


def node_environment():
    return clean_environment(NODE_ENV="production")


def node_postgres(bench, port, url):
    command = ["node", bench.node / "postgres.js", port, load.SECRET, url]
    return command, {"env": node_environment(), "cwd": bench.node}


@contextlib.contextmanager
def node_redis(bench, folder):
    port = free_port()
    bench.redis.empty()
    command = ["node", bench.node / "redis.js", port, load.SECRET, bench.redis.port]
    with _process(folder, port, command, rows=bench.redis.keys, env=node_environment(), cwd=bench.node) as running:
        yield running


def python(bench, port, url):
    workers = os.cpu_count() or 1
    environment = clean_environment(SECRET=load.SECRET, DATABASE=url, POOL=str(-(-POOL // workers)))
    command = [bench.venv / "bin" / "python", "-m", "uvicorn", "main:app", "--host", "127.0.0.1", "--port", port,
               "--workers", workers, "--loop", "uvloop", "--http", "httptools", "--no-access-log",
               "--log-level", "warning", "--timeout-keep-alive", "75"]
    return command, {"env": environment, "cwd": PEERS / "python"}


@contextlib.contextmanager
def webhook(bench, folder):
    program = shutil.which("webhook")
    if not program:
        raise Failed("webhook is missing: run scripts/install-test-programs bench")
    port = free_port()
    command = [program, "-hooks", PEERS / "webhook" / "hooks.json", "-template", "-ip", "127.0.0.1", "-port", port,
               "-urlprefix", "in"]
    with _process(folder, port, command, path="/in/github", provider="github",
                  env=clean_environment(SECRET=load.SECRET)) as running:
        yield running


CONTESTANTS = [
    Contestant("hookonce", "hookonce, PostgreSQL, intake", "event and body recorded, no handler", hookonce_postgres(False)),
    Contestant("hookonce-handler", "hookonce, PostgreSQL, one handler",
               "rate: deliveries settled, from the first event to the last settled", hookonce_postgres(True)),
    Contestant("hookonce-sqlite", "hookonce, SQLite, intake", "one file, synchronous=FULL", hookonce_sqlite, uses="none"),
    Contestant("no-database", "actix-web, no database", "signature checked, nothing stored", no_database, uses="none"),
    Contestant("pgbench-single", "pgbench, one row a statement", "32 clients; no HTTP, no signature", None, measure="pgbench"),
    Contestant("pgbench-batch", "pgbench, 64 rows a statement", "2 clients, UNNEST; no HTTP, no signature", None,
               measure="pgbench"),
    Contestant("naive", "actix-web, INSERT a request", "sqlx, 32 connections", _with_table(naive)),
    Contestant("node", "Express, stripe, pg", "one worker a core, 32 connections", _with_table(node_postgres)),
    Contestant("node-redis", "Express, stripe, Redis", "GET, then SETEX; an answer isn't durable, nothing is kept but the id",
               node_redis, uses="redis"),
    Contestant("python", "FastAPI, asyncpg", "uvicorn, uvloop, httptools; one worker a core", _with_table(python)),
    Contestant("webhook", "webhook (Debian's)",
               "GitHub's signature, for it can't check Stripe's; answers before it runs `true`, stores nothing", webhook,
               uses="none"),
]


def by_key(key):
    return next(it for it in CONTESTANTS if it.key == key)
