"""Holds hookonce against other receivers, and against its targets. Started by scripts/bench; see benches/README.md."""

import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import contest
import expiry
import gateway
import growth
import load
import machine
import report
import soak
import targets
from cluster import Postgres, Redis
from contestants import CONTESTANTS
from processes import Failed, clean_environment, end_all, on_signals, say

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = ROOT / "target" / "bench"


def arguments():
    """Each option is also an environment variable, so that `make bench ROUNDS=7` works."""
    def default(name, otherwise):
        return os.environ.get(name) or otherwise

    it = argparse.ArgumentParser(description=__doc__)
    it.add_argument("mode", choices=["full", "quick", "growth", "soak", "expiry", "gateway"])
    it.add_argument("--rounds", type=int, default=default("ROUNDS", None), help="of the contest (full 5, quick 1, growth 3)")
    it.add_argument("--duration", type=int, default=default("DURATION", None), help="seconds that each run is measured (full 10, quick 3)")
    it.add_argument("--warm", type=int, default=default("WARM", None), help="seconds before that (full 2, quick 1)")
    it.add_argument("--only", default=default("ONLY", ""), help="a pattern: contestants and targets whose key it matches")
    it.add_argument("--hookonce", default=default("HOOKONCE", ""), help="the daemon's binary, instead of building it")
    it.add_argument("--load", default=default("LOAD", ""), help="the load's binary, instead of the one that is built")
    it.add_argument("--settled", type=int, default=default("SETTLED", 5_000_000), help="growth: settled deliveries in the table")
    it.add_argument("--pending", type=int, default=default("PENDING", 500_000), help="growth: deliveries to settle")
    it.add_argument("--keys", type=int, default=default("KEYS", 10_000_000), help="growth: keys in the table")
    it.add_argument("--expired", type=int, default=default("EXPIRED", None), help="growth, expiry: events to clean up (500000, 5000000)")
    it.add_argument("--bodies", type=int, default=default("BODIES", 2_000_000), help="expiry: how many of them have a body")
    it.add_argument("--batch", type=int, default=default("BATCH", 1000), help="expiry: rows a statement, of a cleanup that isn't gentle")
    it.add_argument("--pause", default=default("PAUSE", "5ms"), help="expiry: between two statements")
    it.add_argument("--minutes", type=int, default=default("MINUTES", 20), help="soak: how long")
    return it.parse_args()


class Bench:
    """What every part needs to know."""

    def __init__(self, options):
        quick = options.mode == "quick"
        self.mode = options.mode
        self.full = options.mode == "full"
        self.rounds = options.rounds or {"full": 5, "growth": 3, "gateway": 5}.get(options.mode, 1)
        self.seconds = options.duration or (3 if quick else 10)
        self.warm = options.warm if options.warm is not None else (1 if quick else 2)
        options.expired = options.expired or (5_000_000 if options.mode == "expiry" else 500_000)
        options.bodies = min(options.bodies, options.expired)
        self.only = re.compile(options.only)
        self.options = options
        self.cores = os.cpu_count() or 1
        self.root = ROOT
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
        self.target = target / "release"
        self.given = bool(options.hookonce)
        self.daemon = pathlib.Path(options.hookonce or self.target / "hookonce").resolve()
        self.load = pathlib.Path(options.load or self.target / "hookonce").resolve()
        self.node = CACHE / "node"
        self.venv = CACHE / "venv"
        self.folder = self.postgres = self.redis = self.body = None

    def wants(self, key):
        return bool(self.only.search(key))

    def build(self):
        packages = ["-p", "hookonce-peers"]
        if not (self.given and self.options.load):
            packages += ["-p", "hookonce"]
        command(["cargo", "build", "--release", "--locked", "--bins", *packages], cwd=ROOT)
        for binary in (self.daemon, self.load):
            if not os.access(binary, os.X_OK):
                raise Failed(f"{binary} is no program")
        if self.wants("node") or self.wants("node-redis"):
            self.build_node()
        if self.wants("python"):
            self.build_python()

    def build_node(self):
        """Beside the sources would be simpler, but nothing that is fetched lies outside of target/."""
        self.node.mkdir(parents=True, exist_ok=True)
        source = ROOT / "benches" / "peers" / "node"
        locked = self.node / "package-lock.json"
        fresh = locked.exists() and locked.read_bytes() == (source / "package-lock.json").read_bytes() \
            and (self.node / "installed").exists()
        for file in source.iterdir():
            if file.is_file():
                shutil.copy(file, self.node)
        if not fresh:
            (self.node / "installed").unlink(missing_ok=True)
            command(["npm", "ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=self.node)
            (self.node / "installed").touch()

    def build_python(self):
        wanted = (ROOT / "benches" / "peers" / "python" / "requirements.txt").read_bytes()
        mark = self.venv / "installed"
        if mark.exists() and mark.read_bytes() == wanted:
            return
        command([sys.executable, "-m", "venv", "--clear", self.venv])
        command([self.venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                 "-r", ROOT / "benches" / "peers" / "python" / "requirements.txt"])
        mark.write_bytes(wanted)

    def open(self):
        # Known before it starts: a signal meanwhile must not leave its folder behind.
        self.postgres = Postgres(self.folder)
        self.postgres.start()
        if self.wants("node-redis") and self.mode in ("full", "quick"):
            self.redis = Redis(self.folder)
            self.redis.start()

    def close(self):
        end_all()
        for server in (self.postgres, self.redis):
            if server:
                server.end()


def command(parts, **more):
    """Builds and installs: their output goes where progress goes."""
    done = subprocess.run([str(part) for part in parts], stdin=subprocess.DEVNULL, stdout=sys.stderr,
                          env=build_environment(), **more)
    if done.returncode != 0:
        raise Failed(f"{' '.join(str(part) for part in parts)} failed")


def build_environment():
    """Builds may be configured by the environment, unlike what is measured."""
    return {**clean_environment(), **{key: value for key, value in os.environ.items()
                                      if key.startswith(("RUST", "PIP_", "NODE_EXTRA"))}}


def raise_limit():
    """Ten thousand connections need as many descriptors, on both sides; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def contest_and_targets(bench):
    results = contest.hold(bench)
    verdicts = report.contest_verdicts(results) + targets.measure(bench)
    # T4 after T3 reads better than in the order of measuring.
    verdicts.sort(key=lambda it: (not it.key.startswith("T"), int(it.key[1:]) if it.key[1:].isdigit() else 0))
    return results, verdicts


def publish(bench, facts, results, verdicts, began):
    settings = bench.postgres.shown_settings()
    parts = [machine.header(facts, settings)]
    if results and bench.mode in ("full", "quick"):
        parts.append(f"{bench.rounds} rounds of {bench.seconds} s; {load.CONNECTIONS} connections, bodies of {load.SIZE} bytes. "
                     "Medians, and the range over the rounds; ratios are taken within a round.\n\n"
                     + report.contest_table(results, CONTESTANTS) + "\n\n" + report.notes(results, CONTESTANTS))
    if bench.mode == "gateway":
        parts.append(gateway.as_table(results))
    if bench.mode == "soak":
        parts.append(soak.minutes_table(results["soak"]))
    if verdicts:
        parts.append(report.verdict_table(verdicts))
    text = "\n\n".join(parts) + "\n"
    print(text)
    name = "results" if bench.mode in ("full", "quick") else f"results-{bench.mode}"
    (CACHE / f"{name}.json").write_text(json.dumps({
        "mode": bench.mode, "rounds": bench.rounds, "seconds": bench.seconds, "machine": facts, "postgres": settings,
        "results": results, "targets": [it.as_json() for it in verdicts]}, indent=1) + "\n")
    if bench.mode != "quick":
        (CACHE / f"{name}.md").write_text(text)
    say(f"written to target/bench/{name}.json after {time.monotonic() - began:.0f} s")


def main():
    bench = Bench(arguments())
    on_signals()
    raise_limit()
    CACHE.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        bench.build()
        bench.folder = pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=CACHE))
        # PostgreSQL's user has to pass through.
        bench.folder.chmod(0o755)
        facts = machine.describe(bench)
        bench.body = load.captured_body(bench.load, bench.folder)
        bench.open()
        busy = os.getloadavg()[0]
        if busy > bench.cores / 2:
            say(f"!! the machine is busy (load average {busy:.1f} on {bench.cores} cores): the ratios will be restless")
        say(f"ready after {time.monotonic() - began:.0f} s")
        work = {"growth": growth.measure, "soak": soak.measure, "expiry": expiry.measure, "gateway": gateway.measure}.get(bench.mode, contest_and_targets)
        results, verdicts = work(bench)
        publish(bench, facts, results, verdicts, began)
    except Failed as why:
        say(f"failed: {why}")
        return 1
    finally:
        bench.close()
        if bench.folder:
            shutil.rmtree(bench.folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
