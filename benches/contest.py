"""The contest: every contestant once a round, in rotated order, so that drift hits all of them alike."""

import threading

import load
import pgbench
from contestants import CONTESTANTS
from processes import Failed, cpu_seconds, rss_mib, say, wait_until

# Whether any is open, by index: counting a large table ten times a second would take a core from what is measured.
OPEN = ("SET enable_seqscan = off; SELECT (EXISTS (SELECT FROM delivery WHERE state = 'pending' AND NOT lane_waits)"
        " OR EXISTS (SELECT FROM delivery WHERE state = 'leased'))::int")


class Watch:
    """Looks at a process's memory while something goes on."""

    def __init__(self, pid, pause=0.25):
        self.pid, self.pause = pid, pause
        self.seen = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self):
        while True:
            self.seen.append(rss_mib(self.pid))
            if self._stop.wait(self.pause):
                return

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def settled(bench, database, patience=120):
    """Waits until no delivery is open."""
    wait_until("every delivery to be settled", lambda: bench.postgres.number(database, OPEN) == 0, patience, 0.1)


def settled_rate(bench, database, since):
    """Deliveries of the events since then: how many, and from the first event to the last settled."""
    text = bench.postgres.ask(database, f"""
        SELECT count(*) FILTER (WHERE d.state = 'delivered'), count(*),
               extract(epoch FROM max(d.settled_at) - min(e.received_at)),
               (SELECT count(*) FROM event WHERE received_at > '{since}')
          FROM delivery d JOIN event e ON e.id = d.event_id WHERE e.received_at > '{since}'""")
    done, all_of_them, seconds, events = (float(part) for part in text.split("\t"))
    if not done == all_of_them == events:
        raise Failed(f"{events:.0f} events, but {done:.0f} of {all_of_them:.0f} deliveries are delivered")
    return done, done / seconds


def one_load(bench, contestant):
    """A warm-up and a measured load on a fresh start."""
    handler = contestant.key == "hookonce-handler"
    with contestant.running(bench) as running:
        if bench.warm:
            load.run(bench.load, running.url, folder=running.folder, provider=running.provider, seconds=bench.warm)
        if handler:
            settled(bench, running.database)
        before_rows = running.rows() if running.rows else 0
        database = {"postgres": bench.postgres, "redis": bench.redis}.get(contestant.uses)
        since = bench.postgres.ask("postgres", "SELECT clock_timestamp()") if handler else None
        own, theirs = cpu_seconds(running.process.pid), cpu_seconds(database.process.pid) if database else 0
        with Watch(running.process.pid) as watch:
            seen = load.run(bench.load, running.url, folder=running.folder, provider=running.provider, seconds=bench.seconds)
            if handler:
                settled(bench, running.database)
        own = cpu_seconds(running.process.pid) - own
        theirs = cpu_seconds(database.process.pid) - theirs if database else 0
        ok = seen["ok"]
        if not ok:
            raise Failed(f"{contestant.key}: not one request was accepted: {seen}")
        rate = ok / seen["elapsed_s"]
        acks = rate
        if handler:
            _, rate = settled_rate(bench, running.database, since)
        # What was acked has to be there: fast and lost is not fast.
        stored = running.rows() - before_rows if running.rows else None
        if stored is not None and stored < ok:
            raise Failed(f"{contestant.key}: {ok} requests were acked and {stored:.0f} events stored")
    return {"rate": rate, "acks": acks, "ok": ok, "errors": seen["errors"], "refused": seen.get("refused", {}),
            "p50_ms": seen["p50_ms"], "p99_ms": seen["p99_ms"], "max_ms": seen["max_ms"],
            "own_cpu_us": own / ok * 1e6, "database_cpu_us": theirs / ok * 1e6 if database else None,
            "load_cpu_us": seen["cpu_us_per_request"], "rss_mib": max(watch.seen)}


def rotated(contestants, turn):
    turn %= len(contestants) or 1
    return contestants[turn:] + contestants[:turn]


def hold(bench):
    """All rounds: {contestant: [one result a round]}. A contestant that fails stops the run: half a table lies."""
    chosen = [it for it in CONTESTANTS if bench.wants(it.key)]
    results = {it.key: [] for it in chosen}
    for turn in range(bench.rounds if chosen else 0):
        for contestant in rotated(chosen, turn):
            if contestant.measure == "pgbench":
                seen = pgbench.measure(bench, contestant.key)
            else:
                seen = one_load(bench, contestant)
            results[contestant.key].append(seen)
            say(f"round {turn + 1}/{bench.rounds}  {contestant.key:<18} {seen['rate']:>9,.0f}/s"
                + (f"  p99 {seen['p99_ms']:.2f} ms" if "p99_ms" in seen else ""))
    return results
