"""Half the highest rate for a while: what grows must stop growing."""

import shutil

import load
from contestants import daemon
from processes import Failed, rss_mib, say
from report import Spread, Verdict, number, table
from targets import folder_of, short

DATABASE = "bench"
# Seconds.
MINUTE = 60

# Bodies go after two minutes, so that cleanup and autovacuum have as much to do as intake.
CLEANUP = ('[cleanup]\nschedule = "*/10 * * * * *"\nbatch = 1000\npause = "5ms"\nmax_run = "5m"\n'
           '[retention]\nbodies = "2m"\n')

SIZES = """
SELECT sum(pg_total_relation_size(relid)) / 1048576, sum(n_dead_tup), sum(autovacuum_count),
       sum(pg_total_relation_size(relid)) FILTER (WHERE relname = 'event_body') / 1048576
  FROM pg_stat_user_tables"""


def slope(values):
    """Least squares: by how much a value grows from one to the next."""
    count = len(values)
    if count < 2:
        return 0.0
    middle_x, middle_y = (count - 1) / 2, sum(values) / count
    above = sum((x - middle_x) * (y - middle_y) for x, y in enumerate(values))
    return above / sum((x - middle_x) ** 2 for x in range(count))


def minutes_table(seen):
    rows = [[number(value) if isinstance(value, float) else value for value in it.values()] for it in seen]
    return table([key.replace("_", " ") for key in seen[0]], rows)


def measure(bench):
    minutes = bench.options.minutes
    free = shutil.disk_usage(bench.postgres.folder).free
    with folder_of(bench, "soak") as folder, bench.postgres.database(DATABASE) as url, \
            daemon(bench, folder, url, handler=True, more=CLEANUP) as (process, port, _):
        where = f"http://127.0.0.1:{port}/in/stripe"
        load.run(bench.load, where, folder=folder, seconds=2)
        most = load.run(bench.load, where, folder=folder, seconds=10)
        rate = max(1, round(most["ok"] / most["elapsed_s"] / 2))
        # About 800 bytes an event that stays, five minutes of bodies, and the log.
        needed = rate * 60 * (minutes * 800 + 5 * 3000) + 10e9
        if free < needed:
            raise Failed(f"needs about {needed / 1e9:.0f} GB of disk, {free / 1e9:.0f} are free: set MINUTES lower")
        say(f"{minutes} minutes at {rate:,}/s")
        seen = []
        for minute in range(1, minutes + 1):
            summary = load.run(bench.load, where, folder=folder, seconds=MINUTE, rate=rate)
            size, dead, vacuums, bodies = (float(it) for it in bench.postgres.ask(DATABASE, SIZES).split("\t"))
            backlog = bench.postgres.number(DATABASE, "SELECT count(*) FROM delivery WHERE state = 'pending'")
            seen.append({"minute": minute, "p50_ms": summary["p50_ms"], "p99_ms": summary["p99_ms"], "max_ms": summary["max_ms"],
                         "trouble": short(summary), "rss_mib": rss_mib(process.pid), "tables_mib": size, "bodies_mib": bodies,
                         "dead_rows": dead, "autovacuums": vacuums, "pending": backlog})
            say("  " + "  ".join(f"{key} {number(value) if isinstance(value, float) else value}" for key, value in seen[-1].items()))
    # The first quarter is the warming up of caches and of the retention.
    steady = seen[len(seen) // 4:]
    p99 = Spread.of(it["p99_ms"] for it in steady)
    return {"soak": seen}, [
        Verdict("soak", f"p99 a minute at {rate:,}/s", p99.middle, "<=", None, "ms", p99),
        Verdict("soak", "RSS, growth a minute", slope([it["rss_mib"] for it in steady]), "<=", None, "MiB", None,
                f"highest {max(it['rss_mib'] for it in seen):.0f} MiB"),
        Verdict("soak", "table of bodies, growth a minute", slope([it["bodies_mib"] for it in steady]), "<=", None, "MiB", None,
                f"at the end {seen[-1]['bodies_mib']:,.0f} MiB, {seen[-1]['dead_rows']:,.0f} dead rows in all tables"),
        Verdict("soak", "deliveries pending at the end of a minute", max(it["pending"] for it in steady), "<=", None, ""),
    ]
