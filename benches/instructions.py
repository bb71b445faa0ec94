"""Instructions of the micro-benchmarks, counted by callgrind: the same on a busy machine and on a quiet one.

Each thing is done TIMES and twice TIMES; the difference has no start and no end in it. Valgrind's processor has no SHA
instructions, so hashing counts for more than it takes: compare counts with counts, and times with times.
"""

import json
import re
import subprocess
import sys

TIMES = 200
THINGS = ["admit-github", "admit-stripe", "encode-1", "encode-64", "encode-256"]


def program():
    """Builds the counter and tells where it lies."""
    lines = subprocess.run(["cargo", "bench", "--locked", "--bench", "count", "--no-run", "--message-format=json"],
                           check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    found = [it["executable"] for it in map(json.loads, lines)
             if it.get("reason") == "compiler-artifact" and it["target"]["name"] == "count" and it.get("executable")]
    if not found:
        sys.exit("the counter was not built")
    return found[0]


def counted(binary, thing, times):
    said = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", binary, thing, str(times)],
                          check=True, stderr=subprocess.PIPE, text=True).stderr
    found = re.search(r"Collected\s*:\s*(\d+)", said)
    if not found:
        sys.exit(f"valgrind told no count of {thing}: {said[-500:]}")
    return int(found.group(1))


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else program()
    print("| what | instructions |\n|---|---:|")
    for thing in THINGS:
        each = (counted(binary, thing, 2 * TIMES) - counted(binary, thing, TIMES)) / TIMES
        print(f"| {thing} | {each:,.0f} |")


if __name__ == "__main__":
    main()
