"""What the numbers were measured on."""

import json
import os
import pathlib
import platform
import shutil
import time

from processes import Failed, output_of
from report import median, number


def _line(file, key):
    try:
        for line in pathlib.Path(file).read_text().splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return "unknown"


def filesystem(folder):
    """Type and device of the file system that a folder lies on."""
    best = ("", "unknown", "unknown")
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        device, at, kind = line.split()[:3]
        if (str(folder) + "/").startswith(at.rstrip("/") + "/") and len(at) >= len(best[0]):
            best = (at, kind, device)
    return f"{best[1]} on {best[2]}"


def fdatasync_ms(folder, times=200):
    """Of appending 8 KiB, as the log of a database does: median and the worst of a hundred."""
    path = pathlib.Path(folder) / "fdatasync"
    seen = []
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        for _ in range(times):
            os.write(file, b"x" * 8192)
            began = time.perf_counter()
            os.fdatasync(file)
            seen.append((time.perf_counter() - began) * 1000)
    finally:
        os.close(file)
        path.unlink()
    return median(seen), sorted(seen)[int(len(seen) * 0.99)]


def version(command):
    if not shutil.which(str(command[0])):
        return "missing"
    try:
        return output_of(command).splitlines()[0]
    except (Failed, IndexError):
        return "unknown"


def describe(bench):
    """In the order in which the header shows it."""
    middle, worst = fdatasync_ms(bench.folder)
    commit = "unknown"
    try:
        commit = output_of(["git", "describe", "--always", "--dirty", "--abbrev=10"], cwd=bench.root)
    except (Failed, OSError):
        pass
    facts = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "CPU": f"{_line('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "memory": f"{int(_line('/proc/meminfo', 'MemTotal').split()[0]) / 1048576:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file system": filesystem(bench.folder),
        "fdatasync of 8 KiB": f"median {number(middle)} ms, p99 {number(worst)} ms",
        "load average at the start": " ".join(f"{it:.2f}" for it in os.getloadavg()),
        "hookonce": f"{version([bench.daemon, '--version'])}, source at {commit}"
                    + (", a binary that was given" if bench.given else ""),
        "Rust": version(["rustc", "--version"]),
        "Node": version(["node", "--version"]),
        "Python": version([bench.venv / "bin" / "python", "--version"]),
        "Redis": version(["redis-server", "--version"]),
        "webhook": version(["webhook", "-version"]),
    }
    facts.update(packages(bench))
    return facts


def packages(bench):
    """The versions of the peers' libraries, as they are installed."""
    found = {}
    lock = bench.node / "package-lock.json"
    if lock.exists():
        entries = json.loads(lock.read_text())["packages"]
        found["Node's packages"] = ", ".join(
            f"{name} {entries[f'node_modules/{name}']['version']}" for name in ("express", "stripe", "pg", "redis")
            if f"node_modules/{name}" in entries)
    wanted = bench.root / "benches" / "peers" / "python" / "requirements.txt"
    found["Python's packages"] = ", ".join(line.replace("==", " ") for line in wanted.read_text().split())
    return found


def header(facts, postgres_settings):
    lines = [f"- {key}: {value}" for key, value in facts.items()]
    version_, *rest = postgres_settings.items()
    lines.append(f"- PostgreSQL: {version_[1]}; " + ", ".join(f"{key} {value}" for key, value in rest))
    return "\n".join(lines)
