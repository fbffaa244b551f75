"""Each API server's identity: a Lease in kube-system that it renews; those that nobody renews any more are removed.

People and programs read from it which servers there are; who is an endpoint is decided by `presence`, much sooner.
Source: apiserver pkg/server/config.go (the name); pkg/controlplane/server.go and controller/apiserverleasegc.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from oarlock.cluster.apiserver import clock
from oarlock.cluster.apiserver.admission.view import View
from oarlock.cluster.apiserver.bootstrap import own_call, resource_of
from oarlock.cluster.apiserver.deleting import Deleter
from oarlock.cluster.apiserver.options import DeleteOptions, WriteOptions
from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.apiserver.writing import Writer
from oarlock.cluster.objects.status import ApiError
from oarlock.consensus.model import StoreError

log = logging.getLogger(__name__)

Obj = dict[str, Any]
NAMESPACE: Final = "kube-system"
IDENTITY, COMPONENT = "apiserver.kubernetes.io/identity", "kube-apiserver"
HOSTNAME: Final = "kubernetes.io/hostname"
DURATION_S, RENEW_S, COLLECT_S = 3600, 10.0, 3600.0


def identity(host: str, name: str) -> str:
    """The Lease's name, the same whenever this server runs on this host.

    Upstream takes the host and the component; here a host may have several servers, and so it is the server's name.
    """
    parts = b"".join(len(raw).to_bytes(2, "big") + raw for raw in (host.encode(), name.encode()))
    digest = hashlib.sha256(parts).digest()[:16]
    return "apiserver-" + base64.b32encode(digest).decode().rstrip("=").lower()


class Heartbeat:
    """Renews this server's Lease every ten seconds, and removes what has expired each hour."""

    def __init__(self, name: str, storage: Storage, writer: Writer, deleter: Deleter, now: clock.Clock) -> None:
        self._host = socket.gethostname()
        self._name = identity(self._host, name)
        self._holder = f"{self._name}_{uuid4()}"
        self._storage, self._writer, self._deleter, self._now = storage, writer, deleter, now
        self._resource = resource_of("coordination.k8s.io", "v1", "leases")
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; `stop` ends it."""
        self._tasks = [
            asyncio.create_task(self._each(RENEW_S, self.renew), name="identity lease"),
            asyncio.create_task(self._each(COLLECT_S, self.collect), name="expired identity leases"),
        ]

    async def stop(self) -> None:
        """End, whatever is under way; the Lease stays until it expires. May be called when it never began."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _each(self, period_s: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await act()
            except (ApiError, StoreError) as error:
                log.warning("identity leases can't be written now: %s", error)
            await asyncio.sleep(period_s)

    async def renew(self) -> None:
        """Make this server's Lease, or write in it that the server lives. Raises ApiError and StoreError."""
        labels = {IDENTITY: COMPONENT, HOSTNAME: self._host}
        lease: Obj = {
            "kind": self._resource.kind,
            "apiVersion": self._resource.api_version,
            "metadata": {"name": self._name, "namespace": NAMESPACE, "labels": labels},
            "spec": {"holderIdentity": self._holder, "leaseDurationSeconds": DURATION_S, "renewTime": self._time()},
        }

        def renewed(current: Obj, _: object) -> Obj:
            kept = {**(current["metadata"].get("labels") or {}), **labels}
            metadata = {**current["metadata"], "labels": kept}
            return {**current, "metadata": metadata, "spec": {**(current.get("spec") or {}), **lease["spec"]}}

        try:
            await self._writer.rewrite(own_call(self._resource, lease, "update"), renewed, WriteOptions())
        except ApiError as error:
            if error.code != 404:
                raise
            await self._writer.create_object(own_call(self._resource, lease, "create"), lease, dry_run=False)

    async def collect(self) -> None:
        """Remove the Leases of servers that haven't renewed them in time. Raises ApiError and StoreError."""
        for entry in list(View(self._storage).entries("coordination.k8s.io", "leases", NAMESPACE)):
            lease = entry.object()
            if (lease["metadata"].get("labels") or {}).get(IDENTITY) != COMPONENT or not self._expired(lease):
                continue
            call = own_call(self._resource, lease, "delete")
            # The revision stands in for a second look: who renewed it meanwhile keeps it.
            unchanged = DeleteOptions(resource_version=lease["metadata"]["resourceVersion"])
            try:
                await self._deleter.delete_object(call, entry.key, lease["metadata"]["name"], unchanged)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

    def _expired(self, lease: Obj) -> bool:
        """Source: upstream's isLeaseExpired; a Lease that doesn't say when it ends has ended."""
        spec = lease.get("spec") or {}
        renewed, duration_s = spec.get("renewTime"), spec.get("leaseDurationSeconds")
        if renewed is None or duration_s is None:
            return True
        return clock.parse(renewed) + timedelta(seconds=duration_s) < self._now()

    def _time(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
