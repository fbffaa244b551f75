"""Which backend gets the next connection: the one with the fewest, among the best that there are."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence

from oarlock.cluster.balancer import metrics
from oarlock.cluster.balancer.settings import Address


class Health(enum.IntEnum):
    """A backend's state, best first. Only READY ones get connections while there is any."""

    READY = 0
    UNKNOWN = 1
    SLOW = 2
    DRAINING = 3
    NOT_READY = 4
    DEAD = 5


class Backend:
    """One API server: its health, and how to cut each connection that it carries."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.name = f"{address[0]}:{address[1]}"
        self.health = Health.UNKNOWN
        self.reason = "not checked yet"
        self._cuts: dict[object, Callable[[], None]] = {}
        self._up = metrics.BACKEND_UP.labels(self.name)
        self._open = metrics.CONNECTIONS.labels(self.name)
        self._up.set(0)

    @property
    def connections(self) -> int:
        return len(self._cuts)

    def attach(self, connection: object, cut: Callable[[], None]) -> None:
        """Count a connection in; `cut` must end it at once."""
        self._cuts[connection] = cut
        metrics.CONNECTIONS_TOTAL.labels(self.name).inc()
        self._open.set(len(self._cuts))

    def detach(self, connection: object) -> None:
        self._cuts.pop(connection, None)
        self._open.set(len(self._cuts))

    def set_health(self, health: Health, reason: str) -> bool:
        """Record what a check found and tell whether that is news."""
        changed = health is not self.health
        self.health, self.reason = health, reason
        self._up.set(health is Health.READY)
        return changed

    def cut_all(self) -> None:
        cuts = list(self._cuts.values())
        metrics.CUT_TOTAL.labels(self.name).inc(len(cuts))
        for cut in cuts:
            cut()


class Pool:
    """The backends in the order in which a new connection should try them."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self.backends = [Backend(address) for address in addresses]
        self._turn = 0

    def cut_lost(self) -> None:
        """Cut the connections of backends that are dead or not ready, so that clients come back and get another one.

        Only once there is another one: till then they are no worse off where they are, and it may be that the whole
        machine is slow. A draining backend keeps its connections: it ends them itself, each after the answer. So does
        a slow one: a machine that has too much to do would have still more with all of its clients coming back at once.
        """
        if any(backend.health is Health.READY for backend in self.backends):
            for backend in self.backends:
                if backend.health in (Health.DEAD, Health.NOT_READY) and backend.connections:
                    backend.cut_all()

    def candidates(self, excluded: Iterable[Backend] = ()) -> list[Backend]:
        """Return backends to try, best first: by health, then by fewest connections, equals taking turns.

        Backends that are not ready come last rather than never: when there is nothing better, their answer says why.
        """
        self._turn += 1
        count = len(self.backends)
        excluded = set(excluded)
        turned = [self.backends[(self._turn + step) % count] for step in range(count)]
        return sorted(
            (backend for backend in turned if backend not in excluded),
            key=lambda backend: (backend.health, backend.connections),
        )
