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

    async def serve(self, request: Request) -> Response | None:
        """Answer a health path; None for any other."""
        kind, _, name = request.path.strip("/").partition("/")
        checks = self._kinds.get(kind)
        if checks is None or (name and name not in checks):
            return None
        if name:
            return await _single(kind, name, checks[name])
        return await _all(kind, checks, request)


async def _single(kind: str, name: str, check: Check) -> Response:
    """Answer one check's own path. Anybody may read it here, so that the reason goes to the log alone."""
    if not await _passes(kind, name, check):
        return Response(500, b"internal server error: reason withheld\n", TEXT, dict(_SAFE))
    return Response(200, b"ok", TEXT)


async def _all(kind: str, checks: Mapping[str, Check], request: Request) -> Response:
    excluded = set(request.query.all("exclude"))
    lines: list[str] = []
    failed = False
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
            continue
        passes = await _passes(kind, name, check)
        failed = failed or not passes
        lines.append(f"[+]{name} ok" if passes else f"[-]{name} failed: reason withheld")
    unknown = sorted(excluded - checks.keys())
    if unknown:
        quoted = ",".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
    if not failed and not request.query.has("verbose"):
        return Response(200, b"ok", TEXT, dict(_SAFE))
    lines.append(f"{kind} check {'failed' if failed else 'passed'}")
    return Response(500 if failed else 200, ("\n".join(lines) + "\n").encode(), TEXT, dict(_SAFE))


async def _passes(kind: str, name: str, check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            problem = await check()
    except TimeoutError:
        problem = "timed out"
    if problem:
        log.info("health check failed kind=%s check=%s: %s", kind, name, problem)
    return not problem
