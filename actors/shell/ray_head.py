"""Competes for the lease `gcs`, runs the GCS while it is held, and tells this node's processes where the GCS is.

The holder's identity, `NODE/PID.TERM@IP:PORT`, says where. What keeps two GCSs from both writing is the
lease's epoch, which the RESP front compares with every write (decision 0027); all else here is about time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import orjson

from oarlock.actors.shell.ray_forwarder import Address, Forwarder
from oarlock.actors.shell.ray_keeping import RETRY_S_MAX, RETRY_S_MIN, Keeper, end
from oarlock.actors.shell.ray_processes import Hosted, RayNodeSettings, gcs_command, gcs_environment
from oarlock.actors.shell.ray_state import prepare, until_cut
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.leases import LEASES_PATH, Holding, LeaseHolder
from oarlock.cluster.objects.status import ApiError

PLACING_AFTER_S: Final = 5.0
"""A GCS that has found its actors in its state brings back by itself what died; the placement only looks afterwards."""
_AGAIN_S: Final = 0.2
_COMPETE_AGAIN_S_MAX: Final = 1.0
_IDENTITY: Final = re.compile(r"[^/@]+/\d+\.\d+@(.+):(\d+)")

_log = logging.getLogger(__name__)


def whereabouts(identity: str) -> Address | None:
    """Return where the GCS of a holder is, None if the identity is no Ray node's."""
    found = _IDENTITY.fullmatch(identity)
    return (found[1], int(found[2])) if found else None


class RayHead:
    """The part of a Ray node that may become the head, and that always knows where the head is."""

    def __init__(self, settings: RayNodeSettings, keeper: Keeper) -> None:
        self._settings, self._head, self._keeper = settings, settings.head, keeper
        self._client = ApiClient(settings.head.client)
        self._forwarder = Forwarder()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listen, and compete from then on. Raises OSError if an address can't be listened on."""
        settings = self._settings
        ip, _, port = settings.gcs_address.rpartition(":")
        await self._forwarder.start(ip, int(port))
        self._tasks = [
            asyncio.create_task(self._compete(), name="ray-head"),
            asyncio.create_task(self._follow(), name="ray-follow"),
        ]

    async def wait(self) -> None:
        """Raise what ended one of the loops, which end by themselves only by a fault of ours."""
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """End the GCS, give the lease up, listen no more. Idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._forwarder.stop()
        await self._client.close()

    # The lease

    async def _compete(self) -> None:
        me = f"{self._settings.name}/{os.getpid()}"
        where = f"{self._settings.ip}:{self._head.gcs_port}"
        term, retry_s = 0, RETRY_S_MIN
        while True:
            term += 1  # a term's identity is its own: asking again by the same would answer with the old epoch
            lease = LeaseHolder(
                self._client, self._head.lease, f"{me}.{term}@{where}", ttl_s=self._head.lease_ttl_ms / 1000
            )
            holding = await lease.acquire()
            leading = asyncio.create_task(self._lead(holding))
            losing = asyncio.create_task(lease.lost())
            try:
                await asyncio.wait((leading, losing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                failed = leading.done()
                for task in (leading, losing):
                    task.cancel()
                await asyncio.wait((leading, losing))
                await lease.release()
            if failed:  # another node may do better
                _log.error("ray head failed node=%s", self._settings.name, exc_info=leading.exception())
                await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, _COMPETE_AGAIN_S_MAX) if failed else RETRY_S_MIN

    async def _lead(self, holding: Holding) -> None:
        """Run the GCS of this term until cancelled. Raises if this host's front is gone: others have theirs."""
        fresh, hosted = await prepare(self._head, holding.fence, self._settings.hosted)
        _log.info("ray head node=%s epoch=%d fresh=%s", self._settings.name, holding.epoch, fresh)

        async def command() -> Sequence[str]:
            return gcs_command(self._settings, holding.fence)

        async with asyncio.TaskGroup() as group:
            group.create_task(self._keeper.keep("gcs", command, gcs_environment(self._head)))
            group.create_task(until_cut(self._head, holding.fence))
            group.create_task(self._place(hosted, 0 if fresh else PLACING_AFTER_S))

    async def _place(self, hosted: tuple[Hosted, ...], after_s: float) -> None:
        """See to it once that every actor exists; how often that takes is bounded by the term alone."""
        if not hosted:
            return
        await asyncio.sleep(after_s)
        retry_s = RETRY_S_MIN
        settings = self._settings
        where = {"gcs_address": settings.gcs_address, "name": settings.name, "ip": settings.ip}
        argument = json.dumps({**where, "hosted": [asdict(one) for one in hosted]})
        while True:
            process = await self._keeper.spawn([sys.executable, "-m", _PLACEMENT, argument], {})
            try:
                if await process.wait() == 0:
                    return
            finally:
                await end(process)
            _log.warning("placement failed node=%s code=%s", settings.name, process.returncode)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_S_MAX)

    # Who holds it

    async def _follow(self) -> None:
        """Point the forwarder at the holder's GCS."""
        path = f"{LEASES_PATH}/{self._head.lease}"
        while True:
            try:
                async for line in self._client.lines(path, {"watch": "1"}):
                    self._forwarder.point(whereabouts(orjson.loads(line).get("holder") or ""))
            except (Unreachable, ApiError) as error:
                _log.debug("lease not watched name=%s error=%r", self._head.lease, str(error))
            await asyncio.sleep(_AGAIN_S)


_PLACEMENT = "oarlock.actors.shell.ray_placement"
