"""/healthz, /livez and /readyz with their checks. Source: apiserver pkg/server/healthz."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from oarlock.cluster.apiserver.exchange import TEXT, Request, Response

log = logging.getLogger(__name__)
CHECK_TIMEOUT_S = 2.0

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
        excluded = set(request.query.all("exclude"))
        chosen = {name: checks[name]} if name else {one: check for one, check in checks.items() if one not in excluded}
        problems = {one: await _run(check) for one, check in chosen.items()}
        failed = [one for one, problem in problems.items() if problem]
        for one in failed:
            log.info("health check failed kind=%s check=%s: %s", kind, one, problems[one])
        if not failed and not request.query.has("verbose"):
            return Response(200, b"ok", TEXT, _SAFE)
        lines = [
            f"[-]{one} failed: reason withheld" if problem else f"[+]{one} ok" for one, problem in problems.items()
        ]
        lines += [f"[+]{one} excluded: ok" for one in checks if one in excluded]
        lines.append(f"{kind} check {'failed' if failed else 'passed'}")
        return Response(500 if failed else 200, ("\n".join(lines) + "\n").encode(), TEXT, _SAFE)


_SAFE = {"X-Content-Type-Options": "nosniff"}


async def _run(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return "timed out"
