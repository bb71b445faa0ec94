"""Checks of the report's arithmetic. Run by `scripts/bench --self-check` and by `make lint`."""

import json
import unittest

import acks
import contest
import contestants
import pgbench
import report
import soak
import targets


class Medians(unittest.TestCase):
    def test_of_odd_even_and_unordered(self):
        self.assertEqual(report.median([3]), 3)
        self.assertEqual(report.median([9, 1, 5]), 5)
        self.assertEqual(report.median([4, 1, 3, 2]), 2.5)
        with self.assertRaises(ValueError):
            report.median([])


class Pairs(unittest.TestCase):
    def test_are_taken_within_a_round(self):
        # Twice as fast in each round, though the machine was at half speed in the second.
        self.assertEqual(report.paired([200, 100], [100, 50]), [2, 2])

    def test_a_missing_round_is_not_paired_with_another(self):
        with self.assertRaises(ValueError):
            report.paired([1, 2], [1])

    def test_the_median_of_ratios_is_not_the_ratio_of_medians(self):
        results = {"hookonce": [{"rate": 10}, {"rate": 40}, {"rate": 90}],
                   "naive": [{"rate": 10}, {"rate": 10}, {"rate": 30}]}
        verdict = report.ratio_verdict(results, "T1", "x", "hookonce", "naive", 3.5)
        self.assertEqual((verdict.spread.low, verdict.measured, verdict.spread.high), (1, 3, 4))
        self.assertIs(verdict.passed, False)

    def test_without_a_contestant_there_is_no_verdict(self):
        self.assertIsNone(report.ratio_verdict({"hookonce": [{"rate": 1}]}, "T1", "x", "hookonce", "naive", 1))


class Verdicts(unittest.TestCase):
    def test_both_directions_and_nothing_measured(self):
        for sign, measured, wanted in ((">=", 2, True), (">=", 1.9, False), ("<=", 2, True), ("<=", 2.1, False),
                                       ("<=", float("nan"), None), (">=", None, None)):
            self.assertIs(report.Verdict("T", "x", measured, sign, 2).passed, wanted, (sign, measured))

    def test_what_has_no_target_or_other_conditions_neither_passes_nor_misses(self):
        self.assertIsNone(report.Verdict("rest", "x", 3, "<=", None).passed)
        self.assertIsNone(report.Verdict("T4", "x", 1, "<=", 2, void=True).passed)

    def test_a_miss_is_shouted(self):
        text = report.verdict_table([report.Verdict("T9", "x", 3, "<=", 2, "ms")])
        self.assertIn("MISS", text)
        self.assertIn("≤ 2 ms", text)


class Tables(unittest.TestCase):
    def test_columns_are_in_line(self):
        lines = report.table(["a", "b"], [["long text", 1], ["x", "long too"]]).splitlines()
        self.assertEqual(len({len(line) for line in lines}), 1)

    def test_a_contest_shows_who_took_part_and_no_other(self):
        results = {"hookonce": [{"rate": 100.0, "p50_ms": 1.0}], "naive": [{"rate": 25.0}]}
        text = report.contest_table(results, contestants.CONTESTANTS)
        self.assertEqual(len(text.splitlines()), 4)
        self.assertIn("4 (4–4)", text)

    def test_numbers(self):
        for value, text in ((None, "–"), (float("nan"), "–"), (12345.6, "12,346"), (123.4, "123"), (0.1234, "0.123"), (2, "2")):
            self.assertEqual(report.number(value), text)


class Loads(unittest.TestCase):
    def test_a_tail_without_its_refused_requests_is_no_tail(self):
        seen = {"sent": 1000, "unsent": 0, "errors": 0, "refused": {"503": 10}, "p99_ms": 5}
        self.assertEqual(targets.p99(seen), 5)
        self.assertEqual(targets.p99({**seen, "unsent": 20}), float("inf"))

    def test_a_slope(self):
        self.assertEqual(soak.slope([5, 5, 5]), 0)
        self.assertEqual(soak.slope([1, 3, 5]), 2)
        self.assertEqual(soak.slope([1]), 0)

    def test_waits_are_of_what_was_acked_and_handled(self):
        self.assertEqual(acks.milliseconds({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.5, "b": 1.75}), [-250.0, 500.0])


class Order(unittest.TestCase):
    def test_each_round_begins_with_another(self):
        self.assertEqual([contest.rotated("abc", turn)[0] for turn in range(4)], ["a", "b", "c", "a"])

    def test_keys_are_unique(self):
        keys = [it.key for it in contestants.CONTESTANTS]
        self.assertEqual(len(keys), len(set(keys)))


class Yardstick(unittest.TestCase):
    def test_a_body_survives_as_a_parameter(self):
        self.assertEqual(pgbench.as_parameter(json.dumps({"a": "b"}).encode()), '{"a": "b"}')
        self.assertEqual(pgbench.as_parameter(b"a\\b\n"), "a\\\\b\\012")

    def test_a_batch_names_every_row(self):
        self.assertEqual(pgbench.batch().count(":body"), pgbench.BATCH)


if __name__ == "__main__":
    unittest.main()
