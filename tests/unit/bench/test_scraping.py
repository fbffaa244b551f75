"""What benchmarks read from metrics."""

from __future__ import annotations

import math

from bench import scraping

BEFORE = """# TYPE paused_seconds histogram
paused_seconds_bucket{kind="a",le="0.1"} 5
paused_seconds_bucket{kind="a",le="1.0"} 7
paused_seconds_bucket{kind="a",le="+Inf"} 7
paused_seconds_bucket{kind="b",le="0.1"} 0
paused_seconds_bucket{kind="b",le="1.0"} 0
paused_seconds_bucket{kind="b",le="+Inf"} 1
paused_seconds_count{kind="a"} 7
paused_seconds_count{kind="b"} 1
# TYPE writes_total counter
writes_total{kind="a"} 3
writes_total{kind="b"} 4
"""
AFTER = BEFORE.replace('kind="a",le="0.1"} 5', 'kind="a",le="0.1"} 9').replace('"} 7', '"} 11')


def test_a_counter_is_summed_over_labels_and_pages() -> None:
    assert scraping.total([BEFORE, BEFORE], "writes_total") == 14
    assert scraping.total([BEFORE, BEFORE], "writes_total", kind="a") == 6
    assert scraping.total([BEFORE], "writes") == 0


def test_a_histogram_tells_what_lies_between_its_bounds() -> None:
    assert scraping.buckets([BEFORE], "paused_seconds") == {0.1: 5, 1.0: 2, math.inf: 1}
    assert scraping.buckets([BEFORE, BEFORE], "paused_seconds", kind="a") == {0.1: 10, 1.0: 4, math.inf: 0}
    named = [BEFORE.replace("kind=", "name=")]
    assert scraping.buckets(named, "paused_seconds", name="b") == {0.1: 0, 1.0: 0, math.inf: 1}


def test_the_largest_of_a_time_is_known_by_its_bound() -> None:
    before, after = scraping.buckets([BEFORE], "paused_seconds"), scraping.buckets([AFTER], "paused_seconds")
    assert scraping.largest(before, after) == 0.1
    assert scraping.largest({}, before) == math.inf
    assert scraping.largest(after, after) is None
