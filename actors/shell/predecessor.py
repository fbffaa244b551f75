"""Gives up the lease of a copy's dead predecessor, so that nobody need wait for the rest of its time to live.

Ray makes a copy anew about half a second after its process's end; the lease would outlive it by up to its whole TTL.
Should the predecessor be alive after all, the release ends its epoch and with that its writes: nothing is done twice.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

from oarlock.actors.shell.component import ComponentContext
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.leases import LEASES_PATH
from oarlock.cluster.objects.status import ApiError

_WITHIN_S = 1.0
"""Later than that the lease is about to end by itself."""

_log = logging.getLogger(__name__)


async def release_predecessor(context: ComponentContext) -> None:
    """Release the context's lease if an earlier process of the same copy holds it. Never raises for want of it."""
    copy, _, pid = context.identity.partition("/")
    try:
        async with asyncio.timeout(_WITHIN_S), ApiClient(replace(context.client, fence=None)) as client:
            path = f"{LEASES_PATH}/{context.lease}"
            held = await client.get(path)
            holder = str(held["holder"])
            if not is_dead_predecessor(holder, copy, pid):
                return
            await client.create(f"{path}/release", {"identity": holder, "epoch": held["epoch"]})
            _log.info("lease of a dead predecessor released name=%s holder=%s", context.lease, holder)
    except (ApiError, Unreachable, TimeoutError) as error:
        _log.debug("no lease of a predecessor released name=%s error=%r", context.lease, str(error))


def is_dead_predecessor(holder: str, copy: str, pid: str) -> bool:
    """Whether `holder` (COPY/PID.TERM) is another process of the same copy that isn't there any more."""
    name, _, process = holder.partition("/")
    other = process.partition(".")[0]
    return name == copy and other.isdigit() and other != pid and not _lives(other)


def _lives(pid: str) -> bool:
    """A zombie holds nothing: its parent just hasn't looked yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
