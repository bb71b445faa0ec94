"""The load: one program that sends signed requests and prints what it saw as one JSON object.

Only `command` knows that program's arguments.
"""

import hashlib
import hmac
import http.server
import json
import subprocess
import threading
import time

from processes import Failed, clean_environment

SECRET = "whsec_0123456789abcdef0123456789abcdef"
CONNECTIONS = 64
SIZE = 2048

FIXTURES = {"stripe": "invoice.paid", "github": "ping"}
FIELDS = ("sent", "ok", "accepted", "duplicates", "errors", "unsent", "elapsed_s", "rate_per_s", "p50_ms",
          "p90_ms", "p99_ms", "p999_ms", "max_ms", "cpu_us_per_request")


def command(program, url, *, provider, seconds, rate, concurrent, size, duplicates, journal):
    line = [program, "send", provider, FIXTURES[provider], "--to", url, "--secret", SECRET,
            "--concurrent", concurrent, "--duration", f"{seconds}s", "--size", size,
            "--summary", "-o", "json"]
    if rate is not None:
        line += ["--rate", f"{rate}/s"]
    if duplicates:
        line += ["--duplicates", duplicates]
    if journal:
        line += ["--journal", journal]
    return [str(part) for part in line]


def run(program, url, *, folder, provider="stripe", seconds=10, rate=None, concurrent=CONNECTIONS, size=SIZE,
        duplicates=None, journal=None):
    """Sends for so long: as fast as answers come, or `rate` requests a second. Gives the program's summary."""
    line = command(program, url, provider=provider, seconds=seconds, rate=rate, concurrent=concurrent, size=size,
                   duplicates=duplicates, journal=journal)
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              cwd=folder, env=clean_environment(), timeout=seconds + 60)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"the load did not end within {seconds + 60} s") from late
    # The program may say by its exit code that some requests failed: the summary says which.
    try:
        summary = json.loads(done.stdout)
    except json.JSONDecodeError as bad:
        raise Failed(f"no summary from {' '.join(line)}\nexit {done.returncode}: {done.stderr[-1500:]}") from bad
    missing = [field for field in FIELDS if field not in summary]
    if missing:
        raise Failed(f"the summary lacks {missing}: {done.stdout[:500]}")
    return summary


def signed(provider, identity, secret=SECRET, size=0):
    """A request by hand, for checks: headers and body, padded to a size."""
    body = json.dumps({"id": identity, "object": "event", "type": "invoice.paid"}).encode().ljust(size)
    headers = {"content-type": "application/json"}
    if provider == "stripe":
        stamp = str(int(time.time()))
        mac = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        headers["stripe-signature"] = f"t={stamp},v1={mac}"
    else:
        mac = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers.update({"x-hub-signature-256": f"sha256={mac}", "x-github-event": "ping",
                        "x-github-delivery": identity})
    return headers, body


def captured_body(program, folder):
    """One body as the program really sends it, for the yardstick that speaks no HTTP: other bytes compress otherwise."""
    bodies = []

    class Keep(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keep) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            run(program, f"http://127.0.0.1:{server.server_port}/in/stripe", folder=folder, seconds=1, rate=10, concurrent=1)
        finally:
            server.shutdown()
    if not bodies or abs(len(bodies[0]) - SIZE) > SIZE // 10:
        raise Failed(f"wanted bodies of {SIZE} bytes, the load sends {len(bodies[0]) if bodies else 'none'}")
    return bodies[0]
