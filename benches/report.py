"""From measurements to ratios, verdicts and tables. No measuring here, so that the arithmetic can be checked by itself."""

import math
from dataclasses import asdict, dataclass

BASE = "hookonce"


def median(values):
    ordered = sorted(values)
    if not ordered:
        raise ValueError("the median of nothing")
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def paired(above, below):
    """The ratio of each round: what changed between two rounds, such as a busy neighbour, cancels out within one."""
    if len(above) != len(below):
        raise ValueError(f"{len(above)} rounds against {len(below)}")
    return [a / b for a, b in zip(above, below)]


@dataclass
class Spread:
    """A median with its range."""
    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values):
        values = list(values)
        return cls(median(values), min(values), max(values))


@dataclass
class Verdict:
    """A target, and what was measured against it."""
    key: str
    what: str
    measured: float
    sign: str        # ">=" or "<="
    target: float    # None: only told.
    unit: str = ""
    spread: Spread = None
    note: str = ""
    void: bool = False    # It was measured, but not under the conditions that the target names.

    @property
    def passed(self):
        if self.target is None or self.measured is None or math.isnan(self.measured) or self.void:
            return None
        return self.measured >= self.target if self.sign == ">=" else self.measured <= self.target

    def as_json(self):
        return {**asdict(self), "passed": self.passed}


def number(value):
    """As many digits as say something."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def ratio(spread):
    return f"{number(spread.middle)} ({number(spread.low)}–{number(spread.high)})"


def table(head, rows):
    """Markdown, with its columns in line for those who read it in a terminal."""
    texts = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[n]) for row in texts) for n in range(len(head))]

    def line(cells):
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"

    return "\n".join([line(texts[0]), "|" + "|".join("-" * (width + 2) for width in widths) + "|",
                      *(line(row) for row in texts[1:])])


def rates(results, key):
    return [it["rate"] for it in results.get(key, [])]


def contest_table(results, contestants):
    """Every contestant's median, and how many times as fast hookonce's intake is, by pairs within a round."""
    head = ["contestant", "events/s", f"{BASE} ÷ it", "p50 ms", "p99 ms", "CPU µs: it", "database", "load", "RSS MiB"]
    base = rates(results, BASE)
    rows = []
    for contestant in contestants:
        rounds = results.get(contestant.key)
        if not rounds:
            continue

        def middle(field):
            seen = [it[field] for it in rounds if it.get(field) is not None]
            return number(median(seen)) if seen else "–"

        own = rates(results, contestant.key)
        rows.append([contestant.title, ratio(Spread.of(own)), ratio(Spread.of(paired(base, own))) if base else "–",
                     middle("p50_ms"), middle("p99_ms"), middle("own_cpu_us"), middle("database_cpu_us"),
                     middle("load_cpu_us"), middle("rss_mib")])
    return table(head, rows)


def notes(results, contestants):
    lines = [f"- {it.title}: {it.note}." for it in contestants if results.get(it.key)]
    troubled = [f"- {it.title}: {sum(seen.get('errors', 0) for seen in results[it.key])} errors, refused "
                f"{[seen['refused'] for seen in results[it.key] if seen.get('refused')]}."
                for it in contestants
                if any(seen.get("errors") or seen.get("refused") for seen in results.get(it.key, []))]
    return "\n".join(lines + troubled)


def ratio_verdict(results, key, what, above, below, target):
    """A target on a ratio of two contestants, or None when one of them wasn't measured."""
    a, b = rates(results, above), rates(results, below)
    if not a or not b:
        return None
    spread = Spread.of(paired(a, b))
    return Verdict(key, what, spread.middle, ">=", target, "×", spread)


def contest_verdicts(results):
    """The targets that the contest itself answers."""
    found = [
        ratio_verdict(results, "T1", "intake ÷ pgbench, one row", BASE, "pgbench-single", 2.0),
        ratio_verdict(results, "T1", "intake ÷ INSERT a request", BASE, "naive", 4.0),
        ratio_verdict(results, "T1", "intake ÷ Node", BASE, "node", 8.0),
        ratio_verdict(results, "T1", "intake ÷ no database", BASE, "no-database", 0.45),
        ratio_verdict(results, "T2", "settled ÷ pgbench, one row", "hookonce-handler", "pgbench-single", 1.3),
        ratio_verdict(results, "T2", "settled ÷ Node's insert", "hookonce-handler", "node", 5.0),
    ]

    def plain(rounds, key, what, field, sign, target, unit):
        if rounds:
            spread = Spread.of(it[field] for it in rounds)
            found.append(Verdict(key, what, spread.middle, sign, target, unit, spread))

    plain(results.get(BASE), "T3", "daemon's CPU an event, intake", "own_cpu_us", "<=", 14, "µs")
    sqlite = results.get("hookonce-sqlite")
    plain(sqlite, "T5", "SQLite, synchronous=FULL", "rate", ">=", 25_000, "/s")
    plain(sqlite, "T5", "SQLite, p99", "p99_ms", "<=", 5, "ms")
    plain(results.get(BASE), "T9", "RSS at full load, 64 connections", "rss_mib", "<=", 128, "MiB")
    return [it for it in found if it]


def verdict_table(verdicts):
    word = {True: "pass", False: "MISS", None: "–"}
    sign = {">=": "≥", "<=": "≤"}
    rows = [[it.key, it.what, (ratio(it.spread) if it.spread else number(it.measured)) + (f" {it.unit}" if it.unit else ""),
             "–" if it.target is None else f"{sign[it.sign]} {number(it.target)} {it.unit}".rstrip(), word[it.passed], it.note] for it in verdicts]
    return table(["", "what", "measured", "target", "", "note"], rows)
