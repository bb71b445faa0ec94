"""The databases: an own PostgreSQL cluster and an own Redis, made for one run and removed after it."""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import tempfile

from processes import Failed, Process, clean_environment, free_port, output_of, wait_until

# Durable, as the daemon demands, and with room enough that no checkpoint falls into a measurement by its clock:
# the benchmark makes one between two measurements.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_compression": "off",
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "max_connections": "300",
    "listen_addresses": "127.0.0.1",
    "timezone": "UTC",
    "log_min_messages": "warning",
}


def programs():
    """The folder of the newest server programs."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"),
                   key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0)
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    if on_path:
        return pathlib.Path(on_path).resolve().parent
    raise Failed("PostgreSQL's server programs are missing: run scripts/install-test-programs bench")


def program(name):
    """Beside the server, on the PATH, or where only root's PATH looks."""
    beside = programs() / name
    found = str(beside) if beside.exists() else shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if not found:
        raise Failed(f"{name} is missing: run scripts/install-test-programs bench")
    return found


class Postgres:
    """A cluster under `folder`. Contestants connect by TCP on loopback, all alike; we by its socket."""

    def __init__(self, folder):
        # As root, PostgreSQL refuses to run: then Debian's user does.
        self.user = "postgres" if os.geteuid() == 0 else None
        self.folder = self._folder(folder)
        self.data = self.folder / "data"
        # A socket's path has to be shorter than 108 bytes, so it doesn't lie in the folder.
        self.sockets = pathlib.Path(tempfile.mkdtemp(prefix="bench-pg-", dir="/tmp"))
        self._give(self.sockets)
        self.port = free_port()
        self.process = None

    def _folder(self, folder):
        made = pathlib.Path(tempfile.mkdtemp(prefix="pg-", dir=folder))
        self._give(made)
        if self.user and not self._may_enter(made):
            # A checkout below /root, for example, which that user may not pass through.
            made.rmdir()
            made = pathlib.Path(tempfile.mkdtemp(prefix="bench-pg-data-", dir="/var/tmp"))
            self._give(made)
        return made

    def _may_enter(self, folder):
        try:
            output_of(["test", "-w", folder], user=self.user, group=self.user, extra_groups=[])
        except Failed:
            return False
        return True

    def _give(self, folder):
        if self.user:
            owner = pwd.getpwnam(self.user)
            os.chown(folder, owner.pw_uid, owner.pw_gid)

    def start(self):
        as_user = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        output_of([programs() / "initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8",
                   "--locale=C", "--pgdata", self.data], env=clean_environment(), cwd="/", **as_user)
        command = [programs() / "postgres", "-D", self.data, "-p", self.port, "-k", self.sockets]
        for key, value in SETTINGS.items():
            command += ["-c", f"{key}={value}"]
        log = self.folder / "log"
        log.touch()
        self._give(log)
        # SIGINT is its fast shutdown: sessions are cut off, data stays whole.
        self.process = Process(command, log, stop=signal.SIGINT, cwd="/", user=self.user)
        wait_until("PostgreSQL to start", self._is_up, process=self.process)

    def _is_up(self):
        try:
            return self.ask("postgres", "SELECT 1")
        except Failed:
            return None

    def end(self):
        if self.process:
            self.process.end()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def url(self, database):
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def ask(self, database, sql):
        """Runs statements; gives what they print, with tabs between the columns."""
        return output_of([program("psql"), "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-U", "postgres",
                          "-h", self.sockets, "-p", self.port, "-d", database, "-c", sql], env=clean_environment())

    def number(self, database, sql):
        text = self.ask(database, sql)
        return float(text) if text else None

    @contextlib.contextmanager
    def database(self, name, schema=None):
        """A fresh one, after a checkpoint, so that what came before costs what follows nothing."""
        self.drop(name)
        self.ask("postgres", f"CREATE DATABASE {name}")
        try:
            if schema:
                self.ask(name, schema)
            self.ask("postgres", "CHECKPOINT")
            yield self.url(name)
        finally:
            self.drop(name)

    def drop(self, name):
        self.ask("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def shown_settings(self):
        names = ["server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_compression",
                 "wal_sync_method", "shared_buffers", "max_wal_size", "checkpoint_timeout", "autovacuum"]
        return {name: self.ask("postgres", f"SHOW {name}") for name in names}


class Redis:
    """With its append-only file. Even so, nothing is flushed before an answer."""

    def __init__(self, folder):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="redis-", dir=folder))
        self.port = free_port()
        self.process = None

    def start(self):
        found = shutil.which("redis-server")
        if not found:
            raise Failed("redis-server is missing: run scripts/install-test-programs bench")
        # The append-only file with its default, a flush each second: the most durable that is usual.
        self.process = Process([found, "--port", self.port, "--bind", "127.0.0.1", "--dir", self.folder,
                                "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"],
                               self.folder / "log")
        wait_until("Redis to start", self._is_up, process=self.process)

    def _is_up(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as it:
                it.sendall(b"PING\r\n")
                return it.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def end(self):
        if self.process:
            self.process.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _say(self, words):
        with socket.create_connection(("127.0.0.1", self.port), 10) as it:
            it.sendall(words.encode() + b"\r\n")
            return it.recv(64).decode().strip()

    def empty(self):
        self._say("FLUSHALL")

    def keys(self):
        return int(self._say("DBSIZE").lstrip(":"))
