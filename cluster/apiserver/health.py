"""/healthz, /livez and /readyz with their checks. Source: apiserver pkg/server/healthz."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from oarlock.cluster.apiserver.exchange import TEXT, Request, Response

log = logging.getLogger(__name__)
CHECK_TIMEOUT_S = 2.0
_SAFE = {"X-Content-Type-Options": "nosniff"}

Check = Callable[[], Awaitable[str]]
"""Returns what is wrong, or "" if nothing is."""


class Health:
    """Answers the health paths. `kinds` maps livez, readyz and healthz to their checks by name."""

    def __init__(self, kinds: Mapping[str, Mapping[str, Check]]) -> None:
        self._kinds = kinds

    @property
    def paths(self) -> list[str]:
        """Every path that is answered: each kind, and each of its checks."""
        return [
            f"/{kind}{tail}" for kind, checks in self._kinds.items() for tail in ("", *(f"/{one}" for one in checks))
        ]

    async def serve(self, request: Request) -> Response | None:
        """Answer a health path; None for any other."""
        kind, _, name = request.path.strip("/").partition("/")
        checks = self._kinds.get(kind)
        if checks is None or (name and name not in checks):
            return None
        if name:
            return _single(await _run(checks[name]))
        return await _all(kind, checks, request)


def _single(problem: str) -> Response:
    """One check's own path tells what is wrong; only those may read it who may read this path."""
    if problem:
        return Response(500, f"internal server error: {problem}\n".encode(), TEXT, dict(_SAFE))
    return Response(200, b"ok", TEXT)


async def _all(kind: str, checks: Mapping[str, Check], request: Request) -> Response:
    excluded = set(request.query.all("exclude"))
    lines: list[str] = []
    failed = False
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
            continue
        problem = await _run(check)
        if problem:
            failed = True
            log.info("health check failed kind=%s check=%s: %s", kind, name, problem)
        lines.append(f"[-]{name} failed: reason withheld" if problem else f"[+]{name} ok")
    unknown = sorted(excluded - checks.keys())
    if unknown:
        quoted = ",".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
    if not failed and not request.query.has("verbose"):
        return Response(200, b"ok", TEXT, dict(_SAFE))
    lines.append(f"{kind} check {'failed' if failed else 'passed'}")
    return Response(500 if failed else 200, ("\n".join(lines) + "\n").encode(), TEXT, dict(_SAFE))


async def _run(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return "timed out"
