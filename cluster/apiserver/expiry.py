"""Store leases for objects that expire by themselves: Events.

Objects written within a minute share one lease, which lives that minute longer than they must, so that most writes
grant none. Source: upstream's etcd3 lease manager.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from oarlock.cluster.objects.resources import Resource
from oarlock.consensus.model import Store

EVENT_TTL_S = 3600
"""Source: kube-apiserver's --event-ttl."""
SHARED_S = 60
NO_LEASE = 0


class Expiry:
    """Gives the store lease on which an object is to hang."""

    def __init__(self, store: Store, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._lease = NO_LEASE
        self._granted = 0.0

    async def lease(self, resource: Resource) -> int:
        """Return a lease for a new or changed object of `resource`, NO_LEASE for kinds that stay. Raises StoreError."""
        if resource.plural != "events":
            return NO_LEASE
        present = self._monotonic()
        if self._lease == NO_LEASE or present - self._granted > SHARED_S:
            granted = await self._store.lease_grant((EVENT_TTL_S + SHARED_S) * 1000)
            self._lease, self._granted = granted.lease, present
        return self._lease

    def forget(self) -> None:
        """Use the present lease no more: the store does not know it."""
        self._lease = NO_LEASE
