"""A sender that remembers when each answer came, for the time from the answer to the handler.

The load says how long answers take, but not when they came, and the handler's start is only comparable with that. At
1,000 requests a second Python is fast enough; what it reads late makes the time look shorter, by some tens of microseconds
on a machine at rest.
"""

import json
import re
import selectors
import socket
import time
from datetime import datetime

import load


def requests(count):
    """Signed beforehand: they are fresh for five minutes. The id, and the bytes to send."""
    made = []
    for n in range(count):
        identity = f"evt_acks_{time.time_ns()}_{n}"
        headers, body = load.signed("stripe", identity, size=load.SIZE)
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        head = f"POST /in/stripe HTTP/1.1\r\nhost: 127.0.0.1\r\n{lines}content-length: {len(body)}\r\n\r\n"
        made.append((identity, head.encode() + body))
    return made


def send(port, rate, seconds, connections=load.CONNECTIONS):
    """At a fixed rate: {id: seconds since the epoch of the whole answer} of what was accepted."""
    todo = requests(rate * seconds)
    acked = {}
    selector = selectors.DefaultSelector()
    free = []
    try:
        for _ in range(connections):
            it = socket.create_connection(("127.0.0.1", port), 5)
            it.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(it, selectors.EVENT_READ, [None])
            free.append(it)
        began = time.perf_counter()
        busy = begun = 0
        while busy or begun < len(todo):
            now = time.perf_counter()
            if now - began > seconds + 10:
                break
            while free and begun < len(todo) and began + begun / rate <= now:
                it = free.pop()
                identity, data = todo[begun]
                selector.get_key(it).data[0] = identity
                it.sendall(data)
                begun, busy = begun + 1, busy + 1
            for key, _ in selector.select(0.0002):
                # A small answer, from loopback: it comes in one piece.
                answer = key.fileobj.recv(65536)
                at = time.time()
                if answer.startswith(b"HTTP/1.1 200"):
                    acked[key.data[0]] = at
                if not answer:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                else:
                    free.append(key.fileobj)
                busy -= 1
    finally:
        for key in list(selector.get_map().values()):
            key.fileobj.close()
        selector.close()
    return acked


def moment(text):
    """Seconds since the epoch of a time in the log. Older Pythons read neither a `Z` nor nanoseconds."""
    text = re.sub(r"(\.\d{6})\d*", r"\1", text.replace("Z", "+00:00"))
    return datetime.fromisoformat(text).timestamp()


def handled(log):
    """The lines of the `log` handler, which it writes as the first thing that it does, by the event's id: when it was
    written, and when the event was recorded, which is the time at which the recording statement began."""
    started, recorded = {}, {}
    with open(log, errors="replace") as lines:
        for line in lines:
            if '"event.provider_id"' in line and '"handler.name"' in line:
                entry = json.loads(line)
                identity = entry["event.provider_id"]
                started.setdefault(identity, moment(entry["timestamp"]))
                recorded.setdefault(identity, moment(entry["event.received_at"]))
    return started, recorded


def milliseconds(first, then):
    """From the one to the other of each event that has both, in order; below nothing when the second was first."""
    return sorted((then[identity] - at) * 1000 for identity, at in first.items() if identity in then)
