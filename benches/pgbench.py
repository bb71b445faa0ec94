"""The yardstick: what PostgreSQL itself takes in, without HTTP and without a signature."""

import re

from cluster import program
from contestants import SCHEMA
from processes import Failed, clean_environment, cpu_seconds, output_of

BATCH = 64
HIGHEST = 9_223_372_036_854_775_807


def as_parameter(body):
    """A body in bytea's escape form: PostgreSQL reads it at once, unlike twice as many hexadecimal digits."""
    return body.decode("utf-8", "replace").replace("\\", "\\\\").replace("\n", "\\012").replace("\r", "\\015")


def single():
    return (f"\\set id random(1, {HIGHEST})\n"
            "INSERT INTO event (id, body, received_at) VALUES (:id, :body, now()) ON CONFLICT DO NOTHING;\n")


def batch():
    ids = "".join(f"\\set id{n} random(1, {HIGHEST})\n" for n in range(BATCH))
    rows = ", ".join(f":id{n}" for n in range(BATCH))
    bodies = ", ".join([":body"] * BATCH)
    return (f"{ids}INSERT INTO event (id, body, received_at) SELECT id, body, now() "
            f"FROM UNNEST(ARRAY[{rows}]::text[], ARRAY[{bodies}]::bytea[]) AS t (id, body) ON CONFLICT DO NOTHING;\n")


KINDS = {"pgbench-single": (single, 32, 1), "pgbench-batch": (batch, 2, BATCH)}


def measure(bench, key):
    """Rate of rows and CPU of the server for each, on a fresh table."""
    script, clients, rows = KINDS[key]
    name = "bench"
    file = bench.folder / f"{key}.sql"
    file.write_text(script())
    with bench.postgres.database(name, SCHEMA):
        def run(seconds):
            return output_of([program("pgbench"), "-n", "-M", "prepared", "-c", clients, "-j", min(clients, bench.cores),
                              "-T", seconds, "-f", file, "-D", f"body={as_parameter(bench.body)}", "-h", "127.0.0.1",
                              "-p", bench.postgres.port, "-U", "postgres", name], env=clean_environment())
        run(max(1, bench.warm))
        before_rows = bench.postgres.number(name, "SELECT count(*) FROM event")
        before = cpu_seconds(bench.postgres.process.pid)
        text = run(bench.seconds)
        spent = cpu_seconds(bench.postgres.process.pid) - before
        stored = bench.postgres.number(name, "SELECT count(*) FROM event") - before_rows
    rate = re.search(r"tps = ([0-9.]+)", text)
    done = re.search(r"transactions actually processed: (\d+)", text)
    if not rate or not done or stored < int(done[1]) * rows:
        raise Failed(f"pgbench said something else than expected ({stored} rows stored): {text}")
    return {"rate": float(rate[1]) * rows, "ok": stored, "database_cpu_us": spent / stored * 1e6}
