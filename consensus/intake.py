"""Taking in a leader's snapshot, piece by piece; it counts once it is verified, on disk and loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable

from oarlock.consensus.core import Core
from oarlock.consensus.following import Following
from oarlock.consensus.messages import SnapshotPiece, SnapshotReply
from oarlock.consensus.snapshot import Snapshot, SnapshotFolder, SnapshotReceiver
from oarlock.consensus.storage import StorageFault

log = logging.getLogger(__name__)


class SnapshotIntake:
    """The one snapshot that is being received, if any. `adopt` makes a verified one the state."""

    def __init__(
        self, core: Core, following: Following, snapshots: SnapshotFolder, adopt: Callable[[Snapshot], None]
    ) -> None:
        self._core = core
        self._following = following
        self._snapshots = snapshots
        self._adopt = adopt
        self._receiver: SnapshotReceiver | None = None

    def take(self, peer: str, piece: SnapshotPiece) -> None:
        """Take in a piece and say which one is wanted next; repeated and late ones do no harm."""
        core = self._core
        if not self._following.heard_leader(peer, piece.term):
            core.disk.send(peer, SnapshotReply(core.term, piece.index, 0))
            return
        if piece.index <= core.commit_index:
            self.drop()
            core.disk.send(peer, SnapshotReply(core.term, piece.index, -1))
            return
        receiver = self._receiver
        if receiver is None or (receiver.index, receiver.term) != (piece.index, piece.index_term):
            self.drop()
            receiver = self._receiver = self._snapshots.receive(piece.index, piece.index_term)
        fits = piece.offset == receiver.offset
        try:
            receiver.write(piece.offset, piece.data)
            wanted = self._install(receiver) if piece.last and fits else receiver.offset
        except OSError as error:  # no room, perhaps: the leader tries again from the start
            log.error("snapshot can't be received index=%d error=%s", piece.index, error)
            self._receiver = None
            receiver.abandon()
            return
        core.disk.send(peer, SnapshotReply(core.term, piece.index, wanted))

    def _install(self, receiver: SnapshotReceiver) -> int:
        """Verify and load a received snapshot; return -1 for done, 0 to have it sent again."""
        self._receiver = None
        try:
            snapshot = receiver.finish()
        except StorageFault as fault:
            log.error("received snapshot refused error=%s", fault)
            receiver.abandon()
            return 0
        self._adopt(snapshot)
        return -1

    def drop(self) -> None:
        """Give up what is half received."""
        if self._receiver is not None:
            self._receiver.abandon()
            self._receiver = None
