"""/healthz, /livez and /readyz with their checks, and what /metrics/slis says of them.

Source: apiserver pkg/server/healthz; KEP-3466.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from oarlock.cluster.apiserver.exchange import TEXT, Request, Response

log = logging.getLogger(__name__)
CHECK_TIMEOUT_S = 2.0
SERVING = "/oarlock/v1/serving"
"""What /readyz says, for balancers that tell a server which leaves from one that fails by the status: 404 means "give
me nothing new, and let go on what I have". Source: HAProxy's `http-check disable-on-404`."""
_LEAVING = {"shutdown"}
_BALANCERS_ASK = ("/readyz", SERVING)
REGULARLY_S = 3.0
"""Who asked longer ago doesn't ask regularly: balancers do every second or more often."""
_SAFE = {"X-Content-Type-Options": "nosniff"}
_GAUGE_HEAD = (
    "# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.",
    "# TYPE kubernetes_healthcheck gauge",
)
_COUNTER_HEAD = (
    "# HELP kubernetes_healthchecks_total [STABLE] This metric records the results of all healthcheck.",
    "# TYPE kubernetes_healthchecks_total counter",
)

Check = Callable[[], Awaitable[str]]
"""Returns what is wrong, or "" if nothing is."""


class Health:
    """Answers the health paths. `kinds` maps livez, readyz and healthz to their checks by name."""

    def __init__(self, kinds: Mapping[str, Mapping[str, Check]]) -> None:
        self._kinds = kinds
        self._counted: Counter[tuple[str, str, str]] = Counter()
        self._asked: dict[str, float] = {}
        """When each path that balancers ask was asked last, on the loop's clock."""

    def paths(self) -> list[str]:
        """Every path that is answered."""
        return [
            f"/{kind}{name}" for kind, checks in self._kinds.items() for name in ("", *(f"/{one}" for one in checks))
        ]

    async def serve(self, request: Request) -> Response | None:
        """Answer a health path; None for any other."""
        if request.path in _BALANCERS_ASK:
            self._asked[request.path] = asyncio.get_running_loop().time()
        if request.path == SERVING:
            return await self._serving()
        kind, _, name = request.path.strip("/").partition("/")
        checks = self._kinds.get(kind)
        if checks is None or (name and name not in checks):
            return None
        if name:
            return await self._single(kind, name)
        return await self._all(kind, request)

    def is_known(self, since: float) -> bool:
        """Tell whether whoever asked regularly until `since` how ready the server is has asked again."""
        return all(at > since or at < since - REGULARLY_S for at in self._asked.values())

    async def slis(self) -> Response:
        """The page of /metrics/slis: how every check stands now, and how often each has passed and failed."""
        gauges = []
        for kind, checks in self._kinds.items():
            for name, passes in (await self._passing(kind, checks)).items():
                gauges.append(f'kubernetes_healthcheck{{name="{name}",type="{kind}"}} {int(passes)}')
        counts = [
            f'kubernetes_healthchecks_total{{name="{name}",status="{outcome}",type="{kind}"}} {count}'
            for (kind, name, outcome), count in sorted(self._counted.items())
        ]
        lines = [*_GAUGE_HEAD, *gauges, *_COUNTER_HEAD, *counts]
        return Response(200, ("\n".join(lines) + "\n").encode(), "text/plain; version=0.0.4; charset=utf-8")

    async def _serving(self) -> Response:
        passing = await self._passing("readyz", self._kinds["readyz"])
        failing = {name for name, passes in passing.items() if not passes}
        if not failing:
            return Response(200, b"ok", TEXT)
        return Response(404, b"leaving", TEXT) if failing == _LEAVING else Response(503, b"not ready", TEXT)

    async def _single(self, kind: str, name: str) -> Response:
        """Answer one check's own path. Anybody may read it here, so that the reason goes to the log alone."""
        if not (await self._passing(kind, (name,)))[name]:
            return Response(500, b"internal server error: reason withheld\n", TEXT, dict(_SAFE))
        return Response(200, b"ok", TEXT)

    async def _all(self, kind: str, request: Request) -> Response:
        checks = self._kinds[kind]
        excluded = set(request.query.all("exclude"))
        passing = await self._passing(kind, [name for name in checks if name not in excluded])
        failed = not all(passing.values())
        said = {True: "[+]{} ok", False: "[-]{} failed: reason withheld", None: "[+]{} excluded: ok"}
        lines = [said[passing.get(name)].format(name) for name in checks]
        unknown = sorted(excluded - checks.keys())
        if unknown:
            quoted = ",".join(f'"{name}"' for name in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
        if not failed and not request.query.has("verbose"):
            return Response(200, b"ok", TEXT, dict(_SAFE))
        lines.append(f"{kind} check {'failed' if failed else 'passed'}")
        return Response(500 if failed else 200, ("\n".join(lines) + "\n").encode(), TEXT, dict(_SAFE))

    async def _passing(self, kind: str, names: Iterable[str]) -> dict[str, bool]:
        """Return which checks pass. Several names may stand for one check, which is asked and told of once."""
        problems: dict[Check, str] = {}
        passing: dict[str, bool] = {}
        for name in names:
            check = self._kinds[kind][name]
            if check not in problems:
                problems[check] = await _problem(kind, name, check)
            passing[name] = not problems[check]
            self._counted[kind, name, "success" if passing[name] else "error"] += 1
        return passing


async def _problem(kind: str, name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            problem = await check()
    except TimeoutError:
        problem = "timed out"
    if problem:
        log.info("health check failed kind=%s check=%s: %s", kind, name, problem)
    return problem
