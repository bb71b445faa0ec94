"""The targets that need more than the contest: open loop, latencies, memory, start, rest, overload."""

import contextlib
import os
import pathlib
import shutil
import socket
import tempfile
import time

import acks
import contest
import load
from contestants import by_key, config, daemon
from processes import Failed, Process, free_port, rss_mib, say, status_of, wait_until
from report import Spread, Verdict, median

DATABASE = "bench"


@contextlib.contextmanager
def folder_of(bench, name):
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=bench.folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def send(bench, running, **more):
    seen = load.run(bench.load, running.url, folder=running.folder, provider=running.provider, **more)
    if not seen["ok"]:
        raise Failed(f"not one request was accepted: {seen}")
    return seen


def short(summary):
    """What did not go well, for the note of a verdict."""
    parts = [f"{summary[key]} {key}" for key in ("errors", "unsent") if summary.get(key)]
    refused = sum((summary.get("refused") or {}).values())
    return ", ".join(parts + ([f"{refused} refused"] if refused else []))


def behind(summary, rate, seconds):
    """In an open loop what is due is sent when a connection is free: too few were, or the load has no time on this machine."""
    sent = summary["sent"] / seconds
    return f"only {sent:,.0f}/s were sent" if sent < 0.95 * rate else ""


def p99(summary):
    """Of all requests: when more than one in a hundred wasn't accepted, it has no value."""
    lost = summary["errors"] + summary["unsent"] + sum((summary.get("refused") or {}).values())
    return float("inf") if lost > 0.01 * (summary["sent"] + summary["unsent"]) else summary["p99_ms"]


def note(*parts):
    return "; ".join(part for part in parts if part)


def still(bench):
    """What came before is on its disk: while the kernel writes it, every flush waits for it, whoever asks."""
    bench.postgres.ask("postgres", "CHECKPOINT")
    os.sync()
    time.sleep(2)


def open_loop(bench):
    """T4: latency at a fixed rate, measured from when each request was due."""
    naive, own = [], []
    rounds = min(3, bench.rounds)
    for _ in range(rounds):
        still(bench)
        with by_key("naive").running(bench) as running:
            send(bench, running, seconds=1, rate=1000)
            naive.append(send(bench, running, seconds=bench.seconds, rate=1000))
        still(bench)
        with by_key("hookonce").running(bench) as running:
            send(bench, running, seconds=1, rate=1000)
            own.append(send(bench, running, seconds=bench.seconds, rate=1000))
    with by_key("hookonce").running(bench) as running:
        send(bench, running, seconds=1, rate=1000)
        fast = send(bench, running, seconds=bench.seconds, rate=20_000)
    half = Spread.of(it["p50_ms"] for it in own)
    tail = Spread.of(p99(it) for it in own)
    theirs = median([it["p50_ms"] for it in naive])
    slow, late = behind(own[-1], 1000, bench.seconds), behind(fast, 20_000, bench.seconds)
    return [
        Verdict("T4", "p50 at 1,000/s, against INSERT a request", half.middle, "<=", theirs, "ms", half,
                note(short(own[-1]), slow)),
        Verdict("T4", "p99 at 1,000/s", tail.middle, "<=", 2, "ms", tail),
        Verdict("T4", "p99 at 20,000/s", p99(fast), "<=", 10, "ms", None, note(short(fast), late)),
    ]


def handler_latency(bench):
    """T6: from the sender's answer to the handler's start, at 1,000/s.

    The answer's time is the sender's, the start's that of the line which the `log` handler writes; one machine, one clock.
    The database's own times are shown beside it. They can't be the measure: the statement that records an event may also
    claim it for a handler, and then both of its times are one.
    """
    with folder_of(bench, "acks") as folder, bench.postgres.database(DATABASE) as url:
        with daemon(bench, folder, url, handler=True, log="info") as (process, port, _):
            acks.send(port, 1000, 1)
            contest.settled(bench, DATABASE)
            since = bench.postgres.ask("postgres", "SELECT clock_timestamp()")
            acked = acks.send(port, 1000, bench.seconds)
            contest.settled(bench, DATABASE)
            text = bench.postgres.ask(DATABASE, f"""
                SELECT percentile_cont(0.5) WITHIN GROUP (
                       ORDER BY extract(epoch FROM a.started_at - e.received_at)::float8 * 1000)
                  FROM event e JOIN delivery d ON d.event_id = e.id JOIN attempt a ON a.delivery_id = d.id AND a.n = 1
                 WHERE e.received_at > '{since}'""")
        started, recorded = acks.handled(process.log)
    waits = acks.milliseconds(acked, started)
    whole = acks.milliseconds({identity: recorded[identity] for identity in acked if identity in recorded}, started)
    wanted = 1000 * bench.seconds
    if len(waits) < 0.95 * wanted:
        raise Failed(f"of {wanted} events {len(acked)} were acked and {len(waits)} handled")
    told = f"{len(waits):,} deliveries"
    return [Verdict("T6", "answer → handler starts at 1,000/s, p50", median(waits), "<=", 0.3, "ms", None, told),
            Verdict("T6", "answer → handler starts at 1,000/s, p99", waits[int(len(waits) * 0.99)], "<=", 3, "ms"),
            Verdict("T6", "recording begins → handler starts, p50", median(whole), "<=", None, "ms", None, "with the commit"),
            Verdict("T6", "recorded → claimed, by the database, p50", float(text), "<=", None, "ms")]


def memory(bench):
    """T9: idle, and with 10,000 connections that say nothing."""
    verdicts = []
    with by_key("hookonce").running(bench) as running:
        time.sleep(2)
        verdicts.append(Verdict("T9", "RSS idle", rss_mib(running.process.pid), "<=", 32, "MiB"))
        wanted = 10_000
        with contextlib.ExitStack() as stack:
            told = ""
            # The daemon closes a connection that says nothing for ten seconds: they are opened faster than that.
            for count in range(wanted):
                try:
                    stack.enter_context(socket.create_connection(("127.0.0.1", running.port), 5))
                except OSError as why:
                    told = f"{count:,} connections, then: {why}"
                    break
            time.sleep(1)
            held = len(os.listdir(f"/proc/{running.process.pid}/fd"))
            if held < wanted * 0.95:
                told = note(told, f"the daemon held only {held:,} descriptors")
            verdicts.append(Verdict("T9", "RSS with 10,000 idle connections", rss_mib(running.process.pid), "<=", 256,
                                    "MiB", None, told, void=bool(told)))
    return verdicts


def start(bench):
    """T10: from the program's start to a ready answer on SQLite, on a new file and on one with tables."""
    new, again = [], []
    with folder_of(bench, "start") as folder:
        for turn in range(5):
            for seen in (new, again):
                seen.append(time_to_ready(bench, folder, f"sqlite://{folder}/start-{turn}.db"))
    fresh, migrated = Spread.of(new), Spread.of(again)
    return [Verdict("T10", "start to ready, SQLite, new file", fresh.middle, "<=", 100, "ms", fresh),
            Verdict("T10", "start to ready, SQLite, migrated", migrated.middle, "<=", 100, "ms", migrated)]


def time_to_ready(bench, folder, url):
    port, admin = free_port(), free_port()
    file = folder / "start.toml"
    file.write_text(config(port, admin, url))
    file.chmod(0o600)
    began = time.perf_counter()
    process = Process([bench.daemon, "serve", "--config", file], folder / "log", cwd=folder)
    try:
        wait_until("the daemon's readiness", lambda: status_of(admin, "/readyz") == 200, process=process, pause=0.001)
        return (time.perf_counter() - began) * 1000
    finally:
        process.end()


def rest(bench):
    """Transactions a second that an idle daemon with one handler asks of its database."""
    seconds = 10 if bench.full else 4
    sql = f"SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{DATABASE}'"
    with by_key("hookonce-handler").running(bench):
        # Its first seconds are its start's; sessions report what they did within a second or so.
        time.sleep(3)
        before = bench.postgres.number("postgres", sql)
        time.sleep(seconds)
        after = bench.postgres.number("postgres", sql)
    return [Verdict("rest", "statements a second at rest, one handler", (after - before) / seconds, "<=", None, "/s")]


def prober(port, path, patience=10):
    """Seconds until ten requests in a row are answered well and quickly."""
    began = time.perf_counter()
    good, first = 0, None
    while time.perf_counter() - began < patience:
        headers, body = load.signed("stripe", f"evt_probe_{time.time_ns()}")
        asked = time.perf_counter()
        status = status_of(port, path, method="POST", body=body, headers=headers)
        if status == 200 and time.perf_counter() - asked < 0.05:
            good, first = good + 1, asked if good == 0 else first
            if good == 10:
                return first - began
        else:
            good = 0
        time.sleep(0.005)
    return float("nan")


def overload(bench):
    """Twice and ten times what it can take: it must go on taking it, and refuse the rest at once.

    Times count from when a request was written: the load has only so many connections, and what it could not send for
    want of one was never offered. The second has more of them than may wait.
    """
    verdicts = []
    for times, connections in ((2, 1024), (10, 8192)):
        with by_key("hookonce").running(bench) as running:
            send(bench, running, seconds=max(1, bench.warm))
            most = send(bench, running, seconds=bench.seconds)
            top = most["ok"] / most["elapsed_s"]
            with contest.Watch(running.process.pid) as calm:
                send(bench, running, seconds=2, rate=round(top))
            with contest.Watch(running.process.pid) as watch:
                seen = send(bench, running, seconds=bench.seconds, rate=round(top * times), concurrent=connections)
            recovered = prober(running.port, running.path)
        name = f"overload × {times}"
        refused = sum((seen.get("refused") or {}).values())
        # The load shares the machine and its connections are counted: it may not reach ten times.
        told = note(f"maximum {top:,.0f}/s, really sent {seen['sent'] / bench.seconds / top:.1f} × of it", short(seen))
        early = watch.seen[min(4, len(watch.seen) - 1)]
        quick = seen["refused_service_p99_ms"] if refused else None
        verdicts += [
            Verdict(name, "accepted ÷ maximum", seen["ok"] / seen["elapsed_s"] / top, ">=", 0.9, "", None, told),
            Verdict(name, "p99 of the accepted", seen["service_p99_ms"], "<=", 250, "ms", None,
                    f"{connections} connections; {seen['p99_ms']:,.0f} ms from when they were due"),
            Verdict(name, "p99 of the refused", quick, "<=", 50, "ms", None,
                    f"{refused} of {seen['sent']}" if refused else "none was refused"),
            Verdict(name, "RSS at the end ÷ after a second", watch.seen[-1] / early, "<=", 1.1, "", None,
                    f"highest {max(watch.seen):.0f} MiB, before {max(calm.seen):.0f} MiB"),
            Verdict(name, "recovery", recovered, "<=", 2, "s"),
        ]
    return verdicts


SCENARIOS = [("T4", open_loop), ("T6", handler_latency), ("T9", memory), ("T10", start), ("rest", rest)]
ONLY_FULL = [("overload", overload)]


def measure(bench):
    """Each scenario by itself: one that fails is a line in the report, for the others' sake."""
    verdicts = []
    for key, scenario in SCENARIOS + (ONLY_FULL if bench.full else []):
        if not bench.wants(key):
            continue
        say(f"target {key}")
        try:
            verdicts += scenario(bench)
        except Failed as why:
            say(f"target {key} failed: {why}")
            verdicts.append(Verdict(key, scenario.__doc__.split(":")[-1].strip().splitlines()[0], None, ">=", 0, "",
                                    None, f"failed: {str(why).splitlines()[0][:120]}"))
    return verdicts
