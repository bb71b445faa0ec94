"""Requests through a gateway: protected, replayed and passed through, next to plain proxies and to none."""

import contextlib
import re
import subprocess

from cluster import program
from contest import rotated
from contestants import daemon
from processes import Failed, Process, clean_environment, cpu_seconds, free_port, say, status_of, wait_until
from report import Spread, number, paired, ratio, table
from targets import folder_of

DATABASE = "bench"
CONNECTIONS = 64
BYTES = 512
# Keys a thread that replays go round in.
KEYS = 500

NGINX = """
worker_processes {cores};
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
daemon off;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    keepalive_requests 1000000;
    upstream service {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""

HAPROXY = """
global
    nbthread {cores}
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    http-reuse always
frontend in
    bind 127.0.0.1:{port}
    default_backend service
backend service
    server one 127.0.0.1:{upstream}
"""

# GET would be passed through as well; so is a method that isn't protected.
GATEWAY = """
[gateways.protected]
path = "/protected"
upstream = "http://127.0.0.1:{upstream}"
[gateways.through]
path = "/through"
upstream = "http://127.0.0.1:{upstream}"
methods = ["PATCH"]
"""

WAYS = [
    ("direct", "no proxy"),
    ("nginx", "nginx, kept connections"),
    ("haproxy", "HAProxy, kept connections"),
    ("through", "gateway, method not protected"),
    ("protected", "gateway, each request under a new key"),
    ("replayed", "gateway, each request a retry"),
]


def milliseconds(text):
    value, unit = re.fullmatch(r"([0-9.]+)(us|ms|s|m)", text).groups()
    return float(value) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[unit]


def read(text):
    """What wrk tells."""
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    p50, p99 = (re.search(rf"^\s+{it}%\s+(\S+)", text, re.M) for it in (50, 99))
    count = re.search(r"(\d+) requests in", text)
    if not (rate and p50 and p99 and count):
        raise Failed(f"no figures from wrk:\n{text[-800:]}")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text) or re.search(r"Socket errors: .*", text)
    if bad:
        raise Failed(f"not every request was answered: {bad[0]}")
    return {"rate": float(rate[1]), "p50_ms": milliseconds(p50[1]), "p99_ms": milliseconds(p99[1]), "count": int(count[1])}


def wrk(bench, port, path, seconds, salt, keys=0, warming=False):
    line = [program("wrk"), "--latency", "-t", min(2, bench.cores), "-c", CONNECTIONS, "-d", f"{seconds}s",
            "-s", bench.root / "benches" / "wrk.lua", f"http://127.0.0.1:{port}{path}"]
    more = {"WRK_SALT": salt, "WRK_KEYS": str(keys), "WRK_BYTES": str(BYTES)}
    done = subprocess.run([str(it) for it in line], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env={**clean_environment(), **more}, timeout=seconds + 60)
    if done.returncode != 0:
        raise Failed(f"wrk failed: {done.stderr[-500:]}")
    return None if warming else read(done.stdout)


@contextlib.contextmanager
def proxy(folder, name, command, port):
    process = Process(command, folder / f"{name}.log", cwd=folder)
    try:
        wait_until(f"{name} to answer", lambda: status_of(port, "/") == 201, process=process)
        yield process
    finally:
        process.end()


def one(bench, folder, key, running, turn):
    """One way, warmed up and measured."""
    process, port, path = running[key]
    salt = f"{key}-{turn}"
    keys = KEYS if key == "replayed" else 0
    # The keys of the retries are run here. Retries are so much faster that they may overtake the last first runs, which is a 409.
    wrk(bench, port, path, max(2, bench.warm), f"warm-{salt}" if not keys else salt, keys, warming=True)
    own, database = cpu_seconds(process.pid), cpu_seconds(bench.postgres.process.pid)
    seen = wrk(bench, port, path, bench.seconds, salt, keys)
    seen["own_cpu_us"] = None if key == "direct" else (cpu_seconds(process.pid) - own) / seen["count"] * 1e6
    seen["database_cpu_us"] = (cpu_seconds(bench.postgres.process.pid) - database) / seen["count"] * 1e6
    return seen


def measure(bench):
    results = {key: [] for key, _ in WAYS}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(folder_of(bench, "gateway"))
        upstream, nginx, haproxy = free_port(), free_port(), free_port()
        facts = {"cores": bench.cores, "folder": folder, "upstream": upstream}
        (folder / "nginx.conf").write_text(NGINX.format(port=nginx, **facts))
        (folder / "haproxy.cfg").write_text(HAPROXY.format(port=haproxy, **facts))
        service = stack.enter_context(proxy(folder, "upstream", [bench.target / "upstream", upstream, "x" * 32], upstream))
        first = stack.enter_context(proxy(folder, "nginx", [program("nginx"), "-p", folder, "-c", folder / "nginx.conf"], nginx))
        second = stack.enter_context(proxy(folder, "haproxy", [program("haproxy"), "-f", folder / "haproxy.cfg"], haproxy))
        url = stack.enter_context(bench.postgres.database(DATABASE))
        hookonce, port, _ = stack.enter_context(daemon(bench, folder, url, more=GATEWAY.format(**facts)))
        running = {"direct": (service, upstream, "/through/pay"), "nginx": (first, nginx, "/through/pay"),
                   "haproxy": (second, haproxy, "/through/pay"), "through": (hookonce, port, "/through/pay"),
                   "protected": (hookonce, port, "/protected/pay"), "replayed": (hookonce, port, "/protected/pay")}
        chosen = [key for key, _ in WAYS if bench.wants(key)]
        for turn in range(bench.rounds):
            for key in rotated(chosen, turn):
                seen = one(bench, folder, key, running, turn)
                results[key].append(seen)
                say(f"round {turn + 1}/{bench.rounds}  {key:<10} {seen['rate']:>9,.0f}/s  p99 {seen['p99_ms']:.2f} ms")
    return results, []


def as_table(results):
    """Medians, and what each is next to the service without a proxy, and to nginx, within a round."""
    rows = []

    def rates(key):
        return [it["rate"] for it in results[key]]

    for key, title in WAYS:
        rounds = results[key]
        if not rounds:
            continue
        middle = lambda field: number(Spread.of(it[field] for it in rounds).middle) if rounds[0][field] is not None else "–"
        against = lambda other: ratio(Spread.of(paired(rates(key), rates(other)))) if results[other] else "–"
        rows.append([title, ratio(Spread.of(rates(key))), against("direct"), against("nginx"),
                     middle("p50_ms"), middle("p99_ms"), middle("own_cpu_us"), middle("database_cpu_us")])
    return table(["way", "requests/s", "÷ no proxy", "÷ nginx", "p50 ms", "p99 ms", "CPU µs: proxy", "database"], rows)
