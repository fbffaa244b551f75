"""Which endpoint serves the next client: all in turn, or the one that this client had before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from oarlock.cluster.proxy.rules import Address, Rule


class Choice:
    """Endpoints of one frontend. Remembers at most `clients_max` clients, the most recent ones."""

    def __init__(self, rule: Rule, clock: Callable[[], float], clients_max: int) -> None:
        self.rule = rule
        self._clock = clock
        self._clients_max = clients_max
        self._turn = 0
        self._remembered: OrderedDict[str, tuple[Address, float]] = OrderedDict()

    def candidates(self, client: str) -> list[Address]:
        """Return all endpoints, each once, in the order in which this client should try them."""
        backends = self.rule.backends
        if not backends:
            return []
        self._turn = (self._turn + 1) % len(backends)
        turned = [*backends[self._turn :], *backends[: self._turn]]
        known = self._remembered.get(client) if self.rule.affinity_s else None
        if known is not None and known[0] in backends and self._clock() - known[1] < self.rule.affinity_s:
            turned.remove(known[0])
            turned.insert(0, known[0])
        return turned

    def chose(self, client: str, backend: Address) -> None:
        """Note which endpoint serves the client now."""
        if not self.rule.affinity_s:
            return
        self._remembered[client] = (backend, self._clock())
        self._remembered.move_to_end(client)
        if len(self._remembered) > self._clients_max:
            self._remembered.popitem(last=False)
