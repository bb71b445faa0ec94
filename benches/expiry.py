"""Millions of expired events and bodies, deleted beside intake: gently, row by row, by the day, and by one DELETE."""

import re
import shutil
import subprocess
import threading
import time

import growth
import load
from contestants import daemon
from processes import Failed, clean_environment, say
from report import Spread, Verdict, median, paired, ratio
from targets import folder_of, note, short, still

DATABASE = "bench"
RATE = 1000
WINDOW = 10
# Windows in peace, before and after.
CALM = 6
# Windows beside a gentle cleanup, each with one in peace.
PAIRS = 10
PATIENCE = 3600

# A run that the schedule begins is gentle for the first half of its time.
CLEANUP = '[cleanup]\nschedule = "* * * * * *"\nmax_run = "2h"\n'
# The daemon that is measured in peace deletes nothing, nor does the one beside which somebody else does.
NEVER = '[cleanup]\nschedule = "0 0 0 1 1 *"\nbatch = {batch}\npause = "{pause}"\nmax_run = "2h"\n'
BY_DAY = "partition_bodies = true\n"

OLD = "SELECT (SELECT count(*) FROM event WHERE event_id LIKE 'evt_expired_%'), (SELECT count(*) FROM event_body WHERE expires_at < now())"

STATE = """
SELECT (SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname ~ '^event(_body.*)?$' AND relkind = 'r') / 1048576,
       (SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE relname ~ '^event(_body.*)?$'),
       pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') / 1048576"""

# Statement by statement, as somebody would type it; each waits for nobody but is one transaction.
BIG_DELETE = ["DELETE FROM event_body WHERE expires_at < now()", "DELETE FROM event WHERE expires_at < now()"]


def a_daemon(bench, folder, url, *, days=False, more=""):
    """`daemon`, with tables by the day or not."""
    return daemon(bench, folder, url, database=BY_DAY if days else "", more=more)


def state(bench):
    return [float(it or 0) for it in bench.postgres.ask(DATABASE, STATE).split("\t")]


def never(bench):
    return NEVER.format(batch=bench.options.batch, pause=bench.options.pause)


def left(bench):
    """Expired events and bodies that are still there. Only between windows: it reads whole tables."""
    return [int(it) for it in bench.postgres.ask(DATABASE, OLD).split("\t")]


def rows_of(bench, share):
    """How many events, and how many of them with a body."""
    return bench.options.expired // share, bench.options.bodies // share


class Waits:
    """Waits for locks of more than ten milliseconds, as the server's log tells them."""

    def __init__(self, bench):
        self.log = bench.postgres.folder / "log"
        self.begin = self.log.stat().st_size

    def longest(self):
        with self.log.open("rb") as file:
            file.seek(self.begin)
            text = file.read().decode(errors="replace")
        waits = [float(it) for it in re.findall(r"(?:still waiting for|acquired) \S+ on .*? after ([0-9.]+) ms", text)]
        return len(waits), max(waits, default=0.0)


def listed(windows):
    return ", ".join(f"{it['p99_ms']:.3g}" for it in windows)


def fill(bench, folder, url, days, share):
    """Expired events, and bodies for the first of them, in tables as the daemon makes them."""
    expired, bodies = rows_of(bench, share)
    with a_daemon(bench, folder, url, days=days, more=never(bench)) as (_, port, _):
        load.run(bench.load, f"http://127.0.0.1:{port}/in/stripe", folder=folder, seconds=1, rate=10, concurrent=1)
    if days:
        # A day's rows each: ids hold a time every five milliseconds.
        bench.postgres.ask(DATABASE, "SELECT hookonce_add_partitions((now() - interval '61 days')::date, 3)")
    growth.fill(bench, DATABASE, "expired", 1, bodies, [growth.INSERT_EVENT, growth.INSERT_BODY], ago="60 days")
    growth.fill(bench, DATABASE, "expired", bodies + 1, expired - bodies, [growth.INSERT_EVENT], ago="60 days")
    growth.tidy(bench, DATABASE)


class Work:
    """Something that is done beside the windows."""

    def __init__(self, do):
        self.do, self.began, self.ended = do, time.monotonic(), None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        self.do()
        self.ended = time.monotonic()

    def took(self):
        """How many seconds it took, or 0 while it is at it."""
        if not self.thread.is_alive() and not self.ended:
            raise Failed("the cleanup failed")
        return self.ended - self.began if self.ended else 0


def until(took, window):
    """Windows until `took` tells how long it took."""
    busy, began = [window()], time.monotonic()
    while not (seconds := took()):
        if time.monotonic() - began > PATIENCE:
            raise Failed(f"the cleanup has not ended after {PATIENCE} s")
        busy.append(window())
    return busy, seconds


def at_rate(bench, folder, port, seconds=WINDOW):
    return load.run(bench.load, f"http://127.0.0.1:{port}/in/stripe", folder=folder, seconds=seconds, rate=RATE)


def warm(bench, folder, port):
    """A daemon's first requests open its connections: a hundred slow ones are the p99 of a window."""
    at_rate(bench, folder, port, 2)


def gently(bench, title, days, share):
    """A daemon with its gentle cleanup and one without, in turn on one table.

    Such a cleanup takes most of an hour, and a machine that is shared has better and worse minutes: what was before and what
    came after it differ by more than the cleanup does.
    """
    with folder_of(bench, "expiry") as folder, bench.postgres.database(DATABASE) as url:
        say(title)
        fill(bench, folder, url, days, share)
        waits, before, cleaning = Waits(bench), sum(left(bench)), 0.0

        def window(config):
            nonlocal cleaning
            with a_daemon(bench, folder, url, days=days, more=config) as (_, port, _):
                began = time.monotonic()
                warm(bench, folder, port)
                seen = at_rate(bench, folder, port)
                cleaning += time.monotonic() - began if config is CLEANUP else 0
            return seen

        still(bench)
        calm, busy = [], []
        for turn in range(PAIRS):
            # Whoever comes second must not always be the same.
            for config, windows in ((never(bench), calm), (CLEANUP, busy))[::-1 if turn % 2 else 1]:
                windows.append(window(config))
        deleted = before - sum(left(bench))
        count, longest = waits.longest()
    if deleted <= 0:
        raise Failed("the schedule's cleanup deleted nothing")
    spread = Spread.of(paired([it["p99_ms"] for it in busy], [it["p99_ms"] for it in calm]))
    say(f"  p99 of each window: {listed(calm)} ms in peace; {listed(busy)} beside the cleanup")
    calm_p99, busy_p99 = (Spread.of(it["p99_ms"] for it in windows) for windows in (calm, busy))
    told = note(f"{PAIRS} pairs of windows; {ratio(calm_p99)} ms in peace, {ratio(busy_p99)} beside it; "
                f"longest answer {max(it['max_ms'] for it in busy):.0f} ms, {max(it['max_ms'] for it in calm):.0f} in peace",
                *{short(it) for it in calm + busy})
    return [
        Verdict("expiry", f"{title}: rows a second", deleted / cleaning, ">=", None, "/s", None, f"{cleaning:.0f} s, {deleted:,.0f} rows"),
        Verdict("expiry", f"{title}: p99 beside it ÷ in peace", spread.middle, "<=", 1.2, "×", spread, told),
        waited(title, count, longest),
    ]


def waited(title, count, longest):
    return Verdict("expiry", f"{title}: longest wait for a lock", longest, "<=", None, "ms", None,
                   f"{count} waits of more than 10 ms" if count else "none of more than 10 ms")


def one_way(bench, title, how, days, share):
    """Fills, measures intake in peace, then while it is cleaned up, then in peace again."""
    with folder_of(bench, "expiry") as folder, bench.postgres.database(DATABASE) as url:
        say(title)
        fill(bench, folder, url, days, share)

        with a_daemon(bench, folder, url, days=days, more=never(bench)) as (_, port, _):
            warm(bench, folder, port)
            still(bench)
            calm = [at_rate(bench, folder, port) for _ in range(CALM)]
        size, _, wal = state(bench)
        waits = Waits(bench)

        def clean(config):
            if how == "delete":
                for statement in BIG_DELETE:
                    bench.postgres.ask(DATABASE, f"SET statement_timeout = 0; {statement}")
            else:
                subprocess.run([bench.daemon, "cleanup", "--yes", "--config", config], check=True, cwd=folder, timeout=PATIENCE,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=clean_environment())

        with a_daemon(bench, folder, url, days=days, more=never(bench)) as (_, port, _):
            work = Work(lambda: clean(folder / f"hookonce-{port}.toml"))
            warm(bench, folder, port)
            busy, seconds = until(work.took, lambda: at_rate(bench, folder, port))
        if any(remains := left(bench)):
            raise Failed(f"{remains} expired events and bodies are left")
        size_after, dead, wal_after = state(bench)
        count, longest = waits.longest()
        with a_daemon(bench, folder, url, days=days, more=never(bench)) as (_, port, _):
            warm(bench, folder, port)
            after = [at_rate(bench, folder, port) for _ in range(CALM)]
    rows = sum(rows_of(bench, share))
    # The last window may lie behind the end for the most part.
    during = busy[:-1] or busy
    calm_p99, busy_p99, after_p99 = (median(it["p99_ms"] for it in windows) for windows in (calm, during, after))
    # Both sides of it: a machine that is shared has other minutes, and the tables have grown.
    peace_p99 = median(it["p99_ms"] for it in calm + after)
    sent = sum(it["sent"] for it in busy)
    say(f"  p99 of each window: {listed(calm)} ms before; {listed(busy)} during; {listed(after)} after")
    longest_answer = max(it["max_ms"] for it in busy)
    told = note(f"{calm_p99:.3g} ms before, {busy_p99:.3g} ms during, {after_p99:.3g} after; longest answer {longest_answer:.0f} ms",
                *{short(it) for it in busy})
    say(f"  {title}: {rows / seconds:,.0f} rows/s, p99 {told}")
    return [
        Verdict("expiry", f"{title}: rows a second", rows / seconds, ">=", None, "/s", None, f"{seconds:.0f} s"),
        Verdict("expiry", f"{title}: p99 during ÷ before and after", busy_p99 / peace_p99, "<=", None, "×", None, told),
        waited(title, count, longest),
        Verdict("expiry", f"{title}: disk afterwards ÷ before", size_after / size, "<=", None, "×", None,
                f"{size:,.0f} MiB, then {size_after:,.0f} with {sent:,.0f} new events; {dead:,.0f} dead rows; {wal_after - wal:,.0f} MiB of log"),
    ]


# What it is called, how it goes, whether tables are by the day, and of how many rows one is made: what is looked at gently is
# far from done.
WAYS = [("gently", "gently", False, 10), ("row by row", "at once", False, 1), ("by the day", "at once", True, 1), ("one DELETE", "delete", False, 1)]


def measure(bench):
    options = bench.options
    needed = options.expired * 600 + options.bodies * 6000 + 10e9
    free = shutil.disk_usage(bench.postgres.folder).free
    if free < needed:
        raise Failed(f"needs about {needed / 1e9:.0f} GB of disk, {free / 1e9:.0f} are free: set EXPIRED and BODIES lower")
    for setting in ("log_lock_waits = on", "deadlock_timeout = '10ms'"):
        bench.postgres.ask("postgres", f"ALTER SYSTEM SET {setting}")
    bench.postgres.ask("postgres", "SELECT pg_reload_conf()")
    verdicts = []
    for title, how, days, share in WAYS:
        if bench.wants(title):
            verdicts += gently(bench, title, days, share) if how == "gently" else one_way(bench, title, how, days, share)
    return {}, verdicts
