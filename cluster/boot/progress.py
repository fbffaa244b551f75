"""The live display of `oarlock up`: a line a part, rewritten in place on a terminal, appended elsewhere."""

from __future__ import annotations

import time
from typing import Any, TextIO

MARKS = {"waiting": "·", "starting": "…", "ready": "✓", "failed": "✗", "refused": "✗", "stopped": "-"}


class Progress:
    """Shows parts as they become ready, with the seconds since the display began."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty()
        self._began = time.monotonic()
        self._lines_drawn = 0
        self._ready_s: dict[str, float] = {}
        self._told: set[tuple[str, str]] = set()

    def show(self, parts: list[dict[str, Any]]) -> None:
        for part in parts:
            if part["state"] == "ready":
                self._ready_s.setdefault(part["name"], time.monotonic() - self._began)
        if self._live:
            self._redraw(parts)
        else:
            self._append(parts)

    def _redraw(self, parts: list[dict[str, Any]]) -> None:
        lines = [self._line(part) for part in parts]
        up = f"\x1b[{self._lines_drawn}A" if self._lines_drawn else ""
        self._out.write(up + "".join(f"\x1b[2K{line}\n" for line in lines))
        self._out.flush()
        self._lines_drawn = len(lines)

    def _append(self, parts: list[dict[str, Any]]) -> None:
        for part in parts:
            news = (part["name"], part["state"])
            if part["state"] in ("ready", "failed", "refused") and news not in self._told:
                self._told.add(news)
                print(self._line(part), file=self._out, flush=True)

    def _line(self, part: dict[str, Any]) -> str:
        seconds = self._ready_s.get(part["name"])
        when = f"{seconds:5.1f} s" if seconds is not None else "       "
        tail = part["error"] if part["state"] in ("failed", "refused") else part["address"]
        return f" {MARKS[part['state']]} {part['name']:<16} {part['kind']:<12} {when}  {tail}".rstrip()[:200]
