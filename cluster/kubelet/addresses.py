"""Pod addresses of one node."""

from __future__ import annotations

from oarlock.cluster.kubelet.runtime import RuntimeFailure

FIRST, LAST = 2, 254


class AddressPool:
    """Gives each pod uid an address of its own out of PREFIX.2 to PREFIX.254.

    An address that was given back is used again only after all others, so that late packets meet nobody new.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._taken: dict[str, str] = {}
        self._next = FIRST

    @property
    def cidr(self) -> str:
        return f"{self._prefix}.0/24"

    def take(self, uid: str) -> str:
        """Return the pod's address, the same each time. Raises RuntimeFailure when none is left."""
        if uid in self._taken:
            return self._taken[uid]
        used = set(self._taken.values())
        for _ in range(FIRST, LAST + 1):
            address = f"{self._prefix}.{self._next}"
            self._next = FIRST if self._next == LAST else self._next + 1
            if address not in used:
                self._taken[uid] = address
                return address
        raise RuntimeFailure(f"no pod address is left in {self.cidr}")

    def hold(self, uid: str, address: str) -> None:
        """Note that a pod has an address already; another node's are not ours to note."""
        if address.startswith(self._prefix + "."):
            self._taken[uid] = address

    def free(self, uid: str) -> None:
        self._taken.pop(uid, None)
