"""Our actors as guests on a Ray cluster that the user runs: placed at the start, and again when some are gone.

Ray restarts an actor whose process or node has died; what it can't is bring actors back whose head was lost with its
state. So the copies, which register themselves, are counted at the API, and placed anew when there are too few.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.settings import ClientSettings
from oarlock.cluster.objects.status import ApiError

REFUSED: Final = 3
"""The placement's exit status when it has said why."""
COPIES_EACH: Final = 2
LOOK_S: Final = 10.0
AGAIN_S: Final = 30.0
PLACE_S: Final = 180.0
PLACEMENT: Final = (sys.executable, "-m", "oarlock.actors.shell.ray_guest_placement")
"""A process of its own, because whatever imports ray costs 60 MB as long as it lives."""

_log = logging.getLogger(__name__)


class GuestsRefused(Exception):
    """The Ray cluster can't have our actors; the message says why."""


@dataclass(frozen=True)
class Guest:
    """One component: `parcel` is what `ray_parcel.pack` made of its settings, as JSON. `lease` marks its copies."""

    name: str
    factory: str
    lease: str
    parcel: str


@dataclass(frozen=True)
class GuestsSettings:
    """`address` is what `ray.init` takes. With `alone` nobody else places these guests: they are made anew at the start
    and taken away at the stop; otherwise those that are there stay.
    """

    address: str
    namespace: str
    client: ClientSettings
    guests: tuple[Guest, ...]
    alone: bool = True


class RayGuests:
    """Keeps two copies of every guest on the user's Ray cluster."""

    def __init__(self, settings: GuestsSettings, placement: Sequence[str] = PLACEMENT) -> None:
        self._settings, self._placement = settings, placement
        self._client = ApiClient(settings.client)
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once the guests are placed. Raises GuestsRefused."""
        await self._run(self._settings.guests, replace=self._settings.alone)
        self._keeping = asyncio.create_task(self._keep(), name="ray-guests")

    async def wait(self) -> None:
        """Return when stopped; raise what ended the keeping otherwise."""
        assert self._keeping is not None, "started"
        await asyncio.wait((self._keeping,))
        if not self._keeping.cancelled():
            self._keeping.result()

    async def stop(self) -> None:
        """Take the guests away if nobody else needs them. Idempotent."""
        keeping, self._keeping = self._keeping, None
        if keeping is None:
            return
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        if self._settings.alone:
            try:
                await self._run((), replace=True)
            except GuestsRefused as refused:
                _log.warning("guests stay on the Ray cluster: %s", refused)
        await self._client.close()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if await self._missing():
                try:
                    await self._run(self._settings.guests, replace=False)
                except GuestsRefused as refused:
                    _log.warning("guests not placed: %s", refused)
                await asyncio.sleep(AGAIN_S)

    async def _missing(self) -> bool:
        """Tell whether copies have ceased to register; nobody knows while no API server answers."""
        try:
            found: Any = await self._client.get("/oarlock/v1/targets")
        except (Unreachable, ApiError):
            return False
        leases = {guest.lease for guest in self._settings.guests}
        return sum(one["labels"].get("job") in leases for one in found) < COPIES_EACH * len(leases)

    async def _run(self, guests: tuple[Guest, ...], *, replace: bool) -> None:
        """Run the placement once. Its input holds keys, so it comes by no command line and no file."""
        settings = self._settings
        document = {
            "address": settings.address,
            "namespace": settings.namespace,
            "replace": replace,
            "guests": [asdict(guest) for guest in guests],
        }
        process = await asyncio.create_subprocess_exec(
            *self._placement,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        )
        try:
            async with asyncio.timeout(PLACE_S):
                said, _ = await process.communicate(json.dumps(document).encode())
        except TimeoutError:
            raise GuestsRefused(f"the Ray cluster at {settings.address} took none in {PLACE_S:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == REFUSED:
            raise GuestsRefused(said.decode(errors="replace").strip().splitlines()[-1])
        if process.returncode:
            raise GuestsRefused(f"placing guests on the Ray cluster at {settings.address} failed; see this log")
