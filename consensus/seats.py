"""Which folder each member's seat belongs to, so that one that was replaced is refused when it comes back.

Every folder has an *instance*, drawn at random at its first start. A newcomer takes a seat by having every other member
write down its instance; from then on they let in nobody else under that name, but a newer newcomer. A member that
hears this of itself has been replaced: whatever its folder holds is older than what its successor may have promised.
Source: decision 0040.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import msgspec
from prometheus_client import Counter

from oarlock.consensus.messages import Hello
from oarlock.consensus.storage import SeatLost

if TYPE_CHECKING:
    from oarlock.consensus.core import Core

log = logging.getLogger(__name__)

INSTANCE_BITS = 64
TAKEN = Counter("oarlock_store_seats_taken", "Times that a new folder took the seat of another member.")
_REFUSAL = re.compile(r" \[seat=(\w+) by=(\w+)\]$")


class Seats:
    """What one member knows of all seats; its journal keeps it."""

    def __init__(self, core: Core) -> None:
        """Draw this folder's instance if it has none; it is on disk on return."""
        self._core = core
        self._journal = core.journal
        if not self._journal.holder(core.name):
            self._journal.set_seat(core.name, f"{core.rng.getrandbits(INSTANCE_BITS):016x}")
            self._journal.sync()
        self.instance = self._journal.holder(core.name)
        self._refusing: set[str] = set()
        """Members that let another folder in, in the place of this one."""

    # What members know of each other.

    def holder(self, member: str) -> str:
        """Return the instance that has a member's seat, "" while none is known."""
        return self._journal.holder(member)

    def take(self, member: str, instance: str) -> bool:
        """Give a seat to a new folder, which counts once it is on disk; False if that folder has lost it already."""
        if not instance or self._was_replaced(member, instance):
            return False
        before = self.holder(member)
        if instance != before:
            self._journal.set_seat(member, instance)
            if before:
                log.warning("seat goes to a new folder member=%s from=%s to=%s", member, before, instance)
                TAKEN.inc()
        return True

    def learn(self, member: str, instance: str) -> None:
        """Take over who has a seat from the member itself; one of a release before this knows of no instance."""
        if instance and not self._was_replaced(member, instance) and instance != self.holder(member):
            self._journal.set_seat(member, instance)

    def _was_replaced(self, member: str, instance: str) -> bool:
        return instance in self._journal.seats.get(member, ())[:-1]

    # Connections.

    def introduce(self, hello: Hello) -> Hello:
        """Return the hello with what it says of both seats."""
        return msgspec.structs.replace(
            hello, instance=self.instance, seat=self.holder(hello.receiver), newcomer=self._journal.newcomer
        )

    def refusal(self, hello: Hello, present: str | None) -> str:
        """Return why a member that dials is refused, "" if it is welcome. `present` is connected under its name now.

        Raises SeatLost if it knows that this member's own seat is another's.
        """
        member, holder = hello.sender, self.holder(hello.sender)
        new = hello.newcomer and not self._was_replaced(member, hello.instance)
        if holder and hello.instance != holder and not new:
            return f"the seat of member {member} belongs to another folder [seat={holder} by={self.instance}]"
        if hello.newcomer and present not in {None, hello.instance}:
            return f"member {member} is connected from another folder, and a new one can't take its seat meanwhile"
        if hello.newcomer or self._journal.newcomer:  # of whom one knows nothing for sure
            return ""
        if hello.seat not in {"", self.instance}:
            raise self._lost(member)
        self.learn(member, hello.instance)
        return ""

    def heard(self, peer: str, reason: str) -> None:
        """Take note of why `peer` refuses this member; raises SeatLost if its seat is another's.

        Not on the word of one folder that was itself replaced, or may have been: its knowledge may be older than ours.
        But when so many say so that the rest is too few for a majority, there is nothing left to take part in.
        """
        told = _REFUSAL.search(reason)
        if told is None or told[1] == self.instance or self._was_replaced(peer, told[2]):
            return
        self._refusing.add(peer)
        too_few = len(self._refusing) > sum(1 for _ in self._core.peers()) + 1 - self._core.quorum
        if too_few or self.holder(peer) in {"", told[2]}:
            raise self._lost(peer)

    def _lost(self, peer: str) -> SeatLost:
        name, folder = self._core.name, self._journal.folder.parent
        return SeatLost(
            f"member {peer} says that the seat of member {name} belongs to a newer folder than {folder}, which was "
            f"replaced while this member was away. It takes no part any more, and nothing in it was changed. Leave it "
            f"off, or move the folder away; if this machine is to be member {name} again, stop the one that has the "
            "seat, and start here with an empty folder while all other members run"
        )
