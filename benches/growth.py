"""With big tables: deliveries beside millions of settled ones, intake beside millions of keys, cleanup under load."""

import shutil

import contest
import load
from contestants import by_key, daemon
from processes import Failed, rss_mib, say
from report import Spread, Verdict, paired
from targets import folder_of, note, short

CHUNK = 500_000
DATABASE = "bench"
KEYS = "bench_keys"

# Ids in the order of time, as the daemon makes them: random ones would spread over the whole index.
IDENTITY = ("(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5('{salt}' || i), 1, 3) || '8' "
            "|| substr(md5('{salt}' || i), 4, 15))::uuid")
EVENT = IDENTITY.format(salt="e")
DELIVERY = IDENTITY.format(salt="d")

# What is expired has its row's whole life behind it, and is a month old; everything else is of today.
SERIES = "generate_series({first}, {last}) AS i, LATERAL (SELECT timestamptz '{base}' + i * interval '5 ms' AS at) AS t"

INSERT_EVENT = f"""
INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, received_at, expires_at)
SELECT {EVENT}, 'stripe', 'evt_{{kind}}_' || i, gen_random_uuid(), 'invoice.paid', sha256(i::text::bytea), {load.SIZE}, at,
       at + interval '35 days'
  FROM {SERIES};"""

# Headers and body are those of an event that was really received: their form is the daemon's own.
INSERT_BODY = f"""
INSERT INTO event_body (event_id, headers, body, expires_at)
SELECT {EVENT}, b.headers, b.body, at + interval '30 days'
  FROM {SERIES}, (SELECT headers, body FROM event_body ORDER BY event_id LIMIT 1) AS b;"""

INSERT_SETTLED = f"""
INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, lease_epoch, leased_at, settled_at)
SELECT {DELIVERY}, {EVENT}, 'audit', 'delivered', 1, at, at, 1, at, at + interval '1 ms'
  FROM {SERIES};
INSERT INTO attempt (delivery_id, n, epoch, started_at, duration_ms, outcome)
SELECT {DELIVERY}, 1, 1, at, 0, 'delivered'
  FROM {SERIES};"""

INSERT_PENDING = f"""
INSERT INTO delivery (id, event_id, handler, state, opened_at, due_at)
SELECT {DELIVERY}, {EVENT}, 'audit', 'pending', at, at
  FROM {SERIES};"""


def fill(bench, database, kind, first, count, statements, ago="20 hours"):
    """Generated rows. Their foreign keys hold by construction, and nobody needs them after a crash."""
    base = bench.postgres.ask("postgres", f"SELECT now() - interval '{ago}'")
    for at in range(first, first + count, CHUNK):
        last = min(at + CHUNK, first + count) - 1
        sql = "".join(statements).format(first=at, last=last, base=base, kind=kind)
        bench.postgres.ask(database, f"SET session_replication_role = replica; SET synchronous_commit = off; {sql}")
        say(f"  {database}: {last - first + 1:,} of {count:,} rows ({kind})")


def tidy(bench, database):
    # Each by itself: VACUUM refuses to run in a transaction.
    bench.postgres.ask(database, "VACUUM ANALYZE")
    bench.postgres.ask("postgres", "CHECKPOINT")


def with_tables(bench, folder, url):
    """Lets the daemon make its tables and receive a few events, whose bodies are then copied."""
    with daemon(bench, folder, url) as (_, port, _):
        load.run(bench.load, f"http://127.0.0.1:{port}/in/stripe", folder=folder, seconds=1, rate=10, concurrent=1)


def deliveries(bench):
    """T7: no-op deliveries claimed and settled, beside millions that are settled."""
    settled, pending = bench.options.settled, bench.options.pending
    rates = []
    with folder_of(bench, "deliveries") as folder, bench.postgres.database(DATABASE) as url:
        with_tables(bench, folder, url)
        fill(bench, DATABASE, "settled", 1, settled, [INSERT_EVENT, INSERT_SETTLED])
        for turn in range(bench.rounds):
            fill(bench, DATABASE, "pending", settled + 1 + turn * pending, pending, [INSERT_EVENT, INSERT_BODY, INSERT_PENDING])
            tidy(bench, DATABASE)
            since = bench.postgres.ask("postgres", "SELECT clock_timestamp()")
            with daemon(bench, folder, url, handler=True, concurrency=1024):
                contest.settled(bench, DATABASE, patience=900)
            # From the first claim: how long the daemon takes to start is T10's matter.
            text = bench.postgres.ask(DATABASE, f"""
                SELECT count(*), extract(epoch FROM max(d.settled_at)
                           - (SELECT min(started_at) FROM attempt WHERE started_at > '{since}'))
                  FROM delivery d WHERE d.settled_at > '{since}' AND d.state = 'delivered'""")
            count, seconds = (float(it) for it in text.split("\t"))
            if count < pending:
                raise Failed(f"{count:.0f} of {pending} deliveries were delivered")
            rates.append(count / seconds)
            say(f"round {turn + 1}/{bench.rounds}  deliveries  {rates[-1]:,.0f}/s")
    spread = Spread.of(rates)
    return [Verdict("T7", f"no-op deliveries settled beside {settled:,} settled ones", spread.middle, ">=", 60_000, "/s", spread,
                    f"{pending:,} a round")]


def keys(bench):
    """T8: intake beside millions of keys, against intake into an empty table, by pairs."""
    count = bench.options.keys
    empty, full = [], []
    with folder_of(bench, "keys") as folder, bench.postgres.database(KEYS) as url:
        with_tables(bench, folder, url)
        fill(bench, KEYS, "key", 1, count, [INSERT_EVENT])
        tidy(bench, KEYS)

        def into_full():
            bench.postgres.ask("postgres", "CHECKPOINT")
            with daemon(bench, folder, url) as (_, port, _):
                where = f"http://127.0.0.1:{port}/in/stripe"
                load.run(bench.load, where, folder=folder, seconds=max(1, bench.warm))
                seen = load.run(bench.load, where, folder=folder, seconds=bench.seconds)
            full.append(seen["ok"] / seen["elapsed_s"])

        def into_empty():
            empty.append(contest.one_load(bench, by_key("hookonce"))["rate"])

        for turn in range(bench.rounds):
            # Whoever comes second must not always be the same.
            for measured in (into_full, into_empty) if turn % 2 else (into_empty, into_full):
                measured()
            say(f"round {turn + 1}/{bench.rounds}  empty {empty[-1]:,.0f}/s, {count:,} keys {full[-1]:,.0f}/s")
    spread = Spread.of(paired(full, empty))
    return [Verdict("T8", f"intake with {count:,} keys ÷ empty", spread.middle, ">=", 0.88, "×", spread,
                    f"empty {Spread.of(empty).middle:,.0f}/s")]


CLEANUP = '[cleanup]\nschedule = "* * * * * *"\nbatch = 1000\npause = "50ms"\nmax_run = "15m"\n'


def cleanup(bench):
    """p99 at 1,000/s while expired events are deleted and autovacuum follows."""
    expired, rate, seconds = bench.options.expired, 1000, 3 * bench.seconds
    old = "SELECT count(*) FROM event WHERE event_id LIKE 'evt_expired_%'"
    vacuums = "SELECT coalesce(sum(autovacuum_count), 0) FROM pg_stat_user_tables"
    with folder_of(bench, "cleanup") as folder, bench.postgres.database(DATABASE) as url:
        def at_rate(port):
            return load.run(bench.load, f"http://127.0.0.1:{port}/in/stripe", folder=folder, seconds=seconds, rate=rate)

        with_tables(bench, folder, url)
        with daemon(bench, folder, url) as (_, port, _):
            calm = at_rate(port)
        # The chunks' times advance by milliseconds: all of them are past their 35 days.
        fill(bench, DATABASE, "expired", 1, expired, [INSERT_EVENT, INSERT_BODY], ago="60 days")
        tidy(bench, DATABASE)
        before = bench.postgres.number(DATABASE, vacuums)
        # The default looks once a minute: it would not come at all.
        bench.postgres.ask("postgres", "ALTER SYSTEM SET autovacuum_naptime = '3s'")
        bench.postgres.ask("postgres", "SELECT pg_reload_conf()")
        try:
            with daemon(bench, folder, url, more=CLEANUP) as (process, port, _):
                busy = at_rate(port)
                left = bench.postgres.number(DATABASE, old)
                runs = bench.postgres.number(DATABASE, vacuums) - before
                memory = rss_mib(process.pid)
        finally:
            bench.postgres.ask("postgres", "ALTER SYSTEM RESET autovacuum_naptime")
            bench.postgres.ask("postgres", "SELECT pg_reload_conf()")
    told = note(f"{expired - left:,.0f} of {expired:,} expired events deleted in {seconds} s, {runs:.0f} autovacuums",
                f"RSS {memory:.0f} MiB", short(busy))
    return [Verdict("growth", "p99 at 1,000/s, calm", calm["p99_ms"], "<=", None, "ms", None, short(calm)),
            Verdict("growth", "p99 at 1,000/s, cleanup and autovacuum", busy["p99_ms"], "<=", None, "ms", None, told)]


SCENARIOS = [("T7", deliveries), ("T8", keys), ("cleanup", cleanup)]


def measure(bench):
    options = bench.options
    # Per settled row about 700 bytes with its attempt and the indexes, per key 350; and the log.
    needed = max(options.settled * 700 + bench.rounds * options.pending * 4000, options.keys * 350, options.expired * 4000) + 10e9
    free = shutil.disk_usage(bench.postgres.folder).free
    if free < needed:
        raise Failed(f"needs about {needed / 1e9:.0f} GB of disk, {free / 1e9:.0f} are free: set SETTLED, KEYS or PENDING lower")
    verdicts = []
    for key, scenario in SCENARIOS:
        if bench.wants(key):
            say(scenario.__doc__)
            verdicts += scenario(bench)
    return {}, verdicts
