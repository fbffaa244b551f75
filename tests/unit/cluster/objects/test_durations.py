"""Ages as kubectl's users know them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.objects import durations

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (1.9, "1s"),
        (119, "119s"),
        (2 * MINUTE, "2m"),
        (2 * MINUTE + 10, "2m10s"),
        (10 * MINUTE, "10m"),
        (179 * MINUTE, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + 5 * MINUTE, "3h5m"),
        (8 * HOUR, "8h"),
        (47 * HOUR, "47h"),
        (2 * DAY, "2d"),
        (2 * DAY + HOUR, "2d1h"),
        (8 * DAY, "8d"),
        (326 * DAY, "326d"),
        (2 * YEAR, "2y"),
        (2 * YEAR + 10 * DAY, "2y10d"),
        (9 * YEAR, "9y"),
    ],
)
def test_human(seconds: float, text: str) -> None:
    assert durations.human(seconds) == text


def test_ages() -> None:
    now = durations.parse_time("2026-01-01T00:02:10Z")
    assert durations.age("2026-01-01T00:00:00Z", now) == "2m10s"
    assert durations.age("2026-01-01T00:00:00.250000Z", now) == "2m9s"
    assert durations.age(None, now) == "<unknown>"
    assert durations.age("yesterday", now) == "<invalid>"


def test_times_need_a_zone() -> None:
    with pytest.raises(ValueError, match="zone"):
        durations.parse_time("2026-01-01T00:00:00")


@given(st.integers(min_value=0, max_value=2**32))
def test_times_round_trip(moment: int) -> None:
    assert durations.parse_time(durations.format_time(moment)) == moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("-0", 0), ("10s", 10), ("1h30m", 5400), ("250ms", 0.25), ("-1.5s", -1.5), (".5m", 30), ("1.s", 1)],
)
def test_durations_in_gos_form(text: str, seconds: float) -> None:
    assert durations.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'time: invalid duration ""'),
        ("invalid", 'time: invalid duration "invalid"'),
        ("s", 'time: invalid duration "s"'),
        ("-", 'time: invalid duration "-"'),
        ("1 s", 'time: unknown unit " s" in duration "1 s"'),
        ("5", 'time: missing unit in duration "5"'),
        ("3x", 'time: unknown unit "x" in duration "3x"'),
    ],
)
def test_what_is_no_duration(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        durations.parse_duration(text)
