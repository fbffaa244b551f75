"""Times as the API writes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


def text(time: datetime) -> str:
    """Return `time` as metav1.Time: RFC 3339 in whole seconds, UTC."""
    return time.isoformat("T", "seconds")[:19] + "Z"


def parse(written: str) -> datetime:
    """Read a metav1.Time."""
    return datetime.fromisoformat(written)
