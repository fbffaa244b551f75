"""Pod addresses of one node."""

from __future__ import annotations

import ipaddress

from oarlock.cluster.kubelet.runtime import NetworkNotReady, RuntimeFailure

FIRST = 2
"""The first number in a range that is given out: 0 names the range, 1 is a gateway's by custom."""
COUNT_MAX = 65_536


class AddressPool:
    """Gives each pod uid an address of its own out of the node's range, but for the first two and the last one.

    An address that was given back is used again only after all others, so that late packets meet nobody new.
    `refusal` says why no further pod gets one for the time being, "" if nothing keeps it from that.
    """

    def __init__(self, cidr: str = "") -> None:
        """Without a range, only pods that are noted to have an address keep it until `assign` gives one."""
        self.cidr, self.refusal = "", ""
        self._range: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
        self._taken: dict[str, str] = {}
        self._next = FIRST
        if cidr:
            self.assign(cidr)

    def assign(self, cidr: str) -> None:
        """Have this range from now on; addresses outside of it are no pod's any more."""
        self.cidr, self._range = cidr, ipaddress.ip_network(cidr)
        self._next = FIRST
        taken, self._taken = self._taken, {}
        for uid, address in taken.items():
            self.hold(uid, address)

    def take(self, uid: str) -> str:
        """Return the pod's address, the same each time. Raises NetworkNotReady, or RuntimeFailure when none is left."""
        if uid in self._taken:
            return self._taken[uid]
        if self._range is None or self.refusal:
            raise NetworkNotReady(self.refusal or "the node has no range of pod addresses yet")
        used = set(self._taken.values())
        last = min(self._range.num_addresses, COUNT_MAX) - 2
        for _ in range(FIRST, last + 1):
            address = str(self._range[self._next])
            self._next = FIRST if self._next >= last else self._next + 1
            if address not in used:
                self._taken[uid] = address
                return address
        raise RuntimeFailure(f"no pod address is left in {self.cidr}")

    def hold(self, uid: str, address: str) -> None:
        """Note that a pod has an address already; one outside of the range is not ours to note."""
        if self._range is None or ipaddress.ip_address(address) in self._range:
            self._taken[uid] = address

    def free(self, uid: str) -> None:
        self._taken.pop(uid, None)
