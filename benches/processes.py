"""Starts programs, and ends each of them by its id, however the benchmark ends."""

import ctypes
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time

TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

# What runs now, in the order of its start.
_started = []


class Failed(Exception):
    """Something didn't work, in words for a person."""


def say(text):
    """A line of progress: the tables go to standard output, everything else here."""
    print(text, file=sys.stderr, flush=True)


def on_signals():
    """Turns signals into an exit, so that every `finally` runs. A second one is ignored: cleaning up is under way."""
    def leave(number, _frame):
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, leave)


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def clean_environment(**more):
    """Ours without what would configure a contestant behind the benchmark's back."""
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith(("HOOKONCE", "PG", "NODE_", "PYTHON", "UV_", "RUST_"))}
    return {**kept, **more}


class Process:
    """A program that runs until `end`. Its output goes to a file, which is quoted when it dies early."""

    def __init__(self, command, log, *, stop=signal.SIGTERM, env=None, cwd=None, user=None):
        self.command = [str(part) for part in command]
        self.log = log
        self.stop = stop

        def tie_to_us():
            # If the benchmark itself is killed hard, the kernel ends its programs.
            _libc.prctl(PR_SET_PDEATHSIG, int(stop), 0, 0, 0)

        as_user = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        with open(log, "ab") as out:
            # In a session of its own: a Ctrl-C reaches us alone, and we end things in order.
            self.popen = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd,
                env=clean_environment() if env is None else env, start_new_session=True,
                preexec_fn=tie_to_us, **as_user)
        self.pid = self.popen.pid
        _started.append(self)

    def check(self):
        if self.popen.poll() is not None:
            with open(self.log, errors="replace") as it:
                tail = it.read()[-2000:]
            raise Failed(f"{self.command[0]} ended with {self.popen.returncode}:\n{tail}")

    def end(self, patience=20):
        """Asks it to end, then makes it; its children that are left go after it, each by its id."""
        if self in _started:
            _started.remove(self)
        family = [(pid, born(pid)) for pid in tree(self.pid) if pid != self.pid]
        if self.popen.poll() is None:
            self.popen.send_signal(self.stop)
            try:
                self.popen.wait(patience)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        for pid, start in family:
            if start is not None and born(pid) == start:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass


def end_all():
    for process in reversed(list(_started)):
        process.end()


def _stat(pid):
    """The fields of /proc/PID/stat after the name, or None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as it:
            return it.read().rpartition(")")[2].split()
    except OSError:
        return None


def born(pid):
    """When it started: with the id, this names one process for ever."""
    fields = _stat(pid)
    return fields and fields[19]


def tree(root):
    """The ids of a process and of all that descend from it."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(name)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo.extend(children.get(pid, []))
    return found


def cpu_seconds(root):
    """Of a process, its living descendants, and those that they have reaped."""
    total = 0
    for pid in tree(root):
        fields = _stat(pid)
        if fields:
            total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def rss_mib(root):
    """Resident memory of a process and its descendants, in MiB."""
    total = 0
    for pid in tree(root):
        try:
            with open(f"/proc/{pid}/status") as it:
                found = re.search(r"VmRSS:\s+(\d+) kB", it.read())
        except OSError:
            continue
        total += int(found[1]) if found else 0
    return total / 1024


def status_of(port, path, *, method="GET", body=None, headers=None, timeout=5):
    """The status of one request, or None when nobody answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def wait_until(what, question, patience=60, pause=0.02, process=None):
    """Asks until the answer is true; fails when the process has ended, or when patience has."""
    deadline = time.monotonic() + patience
    while True:
        answer = question()
        if answer:
            return answer
        if process is not None:
            process.check()
        if time.monotonic() > deadline:
            raise Failed(f"waited {patience} s for {what}")
        time.sleep(pause)


def output_of(command, **more):
    """What a program prints; fails with its words when it fails."""
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", **more)
    if done.returncode != 0:
        raise Failed(f"{' '.join(str(part) for part in command)[:300]}: {done.stderr[-2000:] or done.stdout[-2000:]}")
    return done.stdout.strip()
