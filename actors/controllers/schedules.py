"""Cron schedules: when a time matches next, by the clock of a time zone.

Source: robfig/cron v3, the parser that upstream uses; kubernetes.io "CronJob". A time that a change of the clocks
leaves out never comes, one that it repeats comes twice, as there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from oarlock.cluster.objects.batch_validation import schedule_error

_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAYS = {name: number for number, name in enumerate(_DAY_NAMES)}
_NO_NAMES: dict[str, int] = {}
_FIELDS = ((0, 59, _NO_NAMES), (0, 23, _NO_NAMES), (1, 31, _NO_NAMES), (1, 12, _MONTHS), (0, 6, _DAYS))
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SEARCHED_YEARS = 5


class Schedule(Protocol):
    """Times in order."""

    def after(self, moment: datetime) -> datetime | None:
        """Return the first time later than `moment`, in UTC, or None when there is none for years."""
        ...


@dataclass(frozen=True)
class Every:
    """A fixed interval, in whole seconds, counted from the moment asked about."""

    interval_s: int

    def after(self, moment: datetime) -> datetime | None:
        """See Schedule."""
        return moment.replace(microsecond=0) + timedelta(seconds=self.interval_s)


@dataclass(frozen=True)
class Field:
    """The values that match; `star` tells that any was written."""

    values: frozenset[int]
    star: bool


@dataclass(frozen=True)
class Cron:
    """Five fields, matched on the clock of `zone`."""

    minutes: Field
    hours: Field
    days: Field
    months: Field
    weekdays: Field
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime | None:
        """See Schedule."""
        at = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        last_year = at.year + _SEARCHED_YEARS
        while at.year <= last_year:
            local = at.astimezone(self.zone)
            if local.month not in self.months.values or not self._is_day(local):
                at = self._next_midnight(local)
            elif local.hour not in self.hours.values:
                at += timedelta(minutes=60 - local.minute)
            elif local.minute not in self.minutes.values:
                at += timedelta(minutes=1)
            else:
                return at
        return None

    def _is_day(self, local: datetime) -> bool:
        """Both the day of the month and of the week when either is any; one of them is enough when both are given."""
        day, weekday = local.day in self.days.values, (local.weekday() + 1) % 7 in self.weekdays.values
        return day and weekday if self.days.star or self.weekdays.star else day or weekday

    def _next_midnight(self, local: datetime) -> datetime:
        following = (local + timedelta(days=1)).date()
        return datetime(following.year, following.month, following.day, tzinfo=self.zone).astimezone(UTC)


def parse(text: str, zone: ZoneInfo) -> Schedule:
    """Read a schedule; ValueError, worded as upstream, tells what is wrong with it."""
    found = re.fullmatch(r"(?:CRON_)?TZ=(\S+)\s+(.*)", text)
    if found is not None:
        zone, text = ZoneInfo(found[1]), found[2]
    if why := schedule_error(text):
        raise ValueError(why)
    if text.startswith("@every "):
        parts = re.findall(r"([0-9.]+)(ns|us|µs|ms|s|m|h)", text)
        return Every(max(1, int(sum(float(number) * _UNITS_S[unit] for number, unit in parts))))
    fields = _DESCRIPTORS.get(text, text).split()
    minutes, hours, days, months, weekdays = (_field(one, *bounds) for one, bounds in zip(fields, _FIELDS, strict=True))
    return Cron(minutes, hours, days, months, weekdays, zone)


def _field(text: str, low: int, high: int, named: dict[str, int]) -> Field:
    values: set[int] = set()
    star = False
    for piece in text.split(","):
        span, stepped, step = piece.partition("/")
        if span in ("*", "?"):
            first, last = low, high
            star = star or not stepped or step == "1"
        else:
            start, ranged, end = span.partition("-")
            first = _number(start, named)
            last = _number(end, named) if ranged else high if stepped else first
        values.update(range(first, last + 1, int(step) if stepped else 1))
    return Field(frozenset(values), star)


def _number(text: str, named: dict[str, int]) -> int:
    return named[text.lower()] if text.lower() in named else int(text)
