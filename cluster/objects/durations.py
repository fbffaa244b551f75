"""Times and ages as Kubernetes writes them.

Times are seconds since the Unix epoch (float); ages are written as kubectl's users know them from its AGE columns.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from oarlock.cluster.objects.gotext import quote

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_YEAR = 365 * _DAY
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)", re.ASCII)


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time; raises ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time without zone: {text!r}")
    return moment.timestamp()


def format_time(moment: float) -> str:
    """An RFC 3339 time in UTC with whole seconds (metav1.Time)."""
    return datetime.fromtimestamp(int(moment // 1), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def human(seconds: float) -> str:
    """A duration in at most two units, coarser as it grows: 59s, 2m10s, 47h, 3d4h, 2y10d.

    Up to two seconds in the future count as now (clocks differ); more than that is "<invalid>".
    """
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 2 * _MINUTE:
        return f"{max(whole, 0)}s"
    if whole < 10 * _MINUTE:
        return _two(whole, _MINUTE, "m", 1, "s")
    if whole < 3 * _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < 8 * _HOUR:
        return _two(whole, _HOUR, "h", _MINUTE, "m")
    if whole < 2 * _DAY:
        return f"{whole // _HOUR}h"
    if whole < 8 * _DAY:
        return _two(whole, _DAY, "d", _HOUR, "h")
    if whole < 2 * _YEAR:
        return f"{whole // _DAY}d"
    if whole < 8 * _YEAR:
        return _two(whole, _YEAR, "y", _DAY, "d")
    return f"{whole // _YEAR}y"


def age(timestamp: str | None, now: float) -> str:
    """How long ago `timestamp` (RFC 3339) was; "<unknown>" without one."""
    if not timestamp:
        return "<unknown>"
    try:
        return human(now - parse_time(timestamp))
    except ValueError:
        return "<invalid>"


def parse_duration(text: str) -> float:
    """Seconds of a duration in Go's form (1h30m, 250ms, -1.5s, 0). Raises ValueError in Go's words.

    Source: Go's time.ParseDuration.
    """
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    parts = _DURATION.findall(rest)
    if not rest or "".join(number + unit for number, unit in parts) != rest:
        raise ValueError(f"time: invalid duration {quote(text)}")
    for _, unit in parts:
        if not unit:
            raise ValueError(f"time: missing unit in duration {quote(text)}")
        if unit not in _UNITS_S:
            raise ValueError(f"time: unknown unit {quote(unit)} in duration {quote(text)}")
    return sign * sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _two(whole: int, unit: int, name: str, lesser: int, lesser_name: str) -> str:
    head, rest = divmod(whole, unit)
    tail = rest // lesser
    return f"{head}{name}{tail}{lesser_name}" if tail else f"{head}{name}"
