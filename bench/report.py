"""Tables for docs/benchmarks.md, each in a section of its own with the environment that it was measured in."""

from __future__ import annotations

import os
import platform
import re
import timeit
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

REPORT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Each table was written by the command above it. Times on a shared machine vary by half, and so does what a second of its
CPU does: the unit is the time of a fixed piece of Python's work in that hour, to compare tables by.
"""


class ToolMissing(Exception):
    """A benchmark can't run on this machine; the message says what to install."""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def quantile(sorted_values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the sorted values don't exceed. Raises ValueError if there are none."""
    if not sorted_values:
        raise ValueError("nothing was measured")
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def put_section(name: str, body: str) -> None:
    """Write or replace one section of the report."""
    text = REPORT.read_text() if REPORT.exists() else HEAD
    section = f"\n## {name}\n\n`python -m bench {name}` — {environment()}\n\n{body}\n"
    pattern = re.compile(rf"\n## {re.escape(name)}\n.*?(?=\n## |\Z)", re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else text + section
    REPORT.write_text(text)


def environment() -> str:
    """Return what a reader needs to judge the figures by."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}, unit {unit_us():.0f} µs"
    )


def unit_us() -> float:
    """Return the least time of a fixed piece of Python's own work: what the machine can do at this hour."""
    return min(timeit.repeat(unit, number=1, repeat=200)) * 1e6


def unit() -> None:
    """Do the fixed piece of work."""
    held: dict[int, list[int]] = {}
    for number in range(2_000):
        held.setdefault(number % 97, []).append(number)
    sorted(held, key=lambda one: -one)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
