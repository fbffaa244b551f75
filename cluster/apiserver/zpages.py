"""/statusz and /flagz: what this server is and what it was started with, for people.

Source: KEP-4827, KEP-4828; component-base pkg/zpages. The text is upstream's; no secret stands among the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from oarlock.cluster.apiserver.exchange import Request, Response
from oarlock.cluster.apiserver.negotiation import clauses

_PLAIN = "text/plain; charset=utf-8"
_ACCEPTED = frozenset({"text/plain", "text/*", "*/*"})
_FLAGS_HEAD = """
----------------------------
title: Kubernetes Flagz
description: Command line flags that Kubernetes component was started with.
----------------------------

"""
_STATUS_HEAD = """
kube-apiserver statusz
Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.

"""  # noqa: E501 - the line is the page's
PATHS = ("/flagz", "/statusz")


class ZPages:
    """Answers both pages. `build` is the version document, `flags` upstream's flags with their values here."""

    def __init__(self, started: datetime, build: Mapping[str, str], flags: Mapping[str, str]) -> None:
        self._started, self._build, self._flags = started, build, flags

    def serve(self, request: Request, now: datetime) -> Response | None:
        """Answer a page as text, 406 to whoever wants another form; None for any other path."""
        if request.path not in PATHS:
            return None
        wanted = clauses(request.headers.get("Accept") or "*/*")
        if not any(clause.media_type in _ACCEPTED for clause in wanted):
            return Response(406, b"unsupported media type\n", _PLAIN)
        text = self._flagz() if request.path == "/flagz" else self._statusz(now)
        return Response(200, text.encode(), _PLAIN)

    def _flagz(self) -> str:
        return _FLAGS_HEAD + "".join(f"{name}={value}\n" for name, value in sorted(self._flags.items()))

    def _statusz(self, now: datetime) -> str:
        rows = {
            "Started": f"{self._started:%a %b %d %H:%M:%S} UTC {self._started:%Y}",
            "Up": _duration(now - self._started),
            "Go version": self._build["goVersion"],
            "Binary version": self._build["gitVersion"].removeprefix("v").partition("+")[0],
            "Emulation version": f"{self._build['emulationMajor']}.{self._build['emulationMinor']}",
            "Paths": "/healthz /livez /metrics /readyz /version",
        }
        return _STATUS_HEAD + "".join(f"{name}: {value}\n" for name, value in rows.items())


def _duration(passed: timedelta) -> str:
    minutes, seconds = divmod(max(0, int(passed.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} hr {minutes:02d} min {seconds:02d} sec"
