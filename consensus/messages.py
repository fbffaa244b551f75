"""What replicas say to each other: typed MessagePack, validated on arrival, in frames of bounded length."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

import msgspec

FRAME_BYTES_MAX = 32 << 20
"""No frame is longer: an append holds at most its window of entries, a snapshot piece far less."""
LENGTH = Struct("<I")


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What all messages have in common: the sender's term."""

    term: int


class Append(Message, tag=1, array_like=True, frozen=True, gc=False):
    """Entries behind `previous_index`; none is a heartbeat. `round` numbers the leader's confirmation rounds."""

    previous_index: int
    previous_term: int
    commit: int
    round: int
    entries: list[tuple[int, bytes]] = []
    """(term, data), at consecutive indexes."""


class AppendReply(Message, tag=2, array_like=True, frozen=True, gc=False):
    """If `matched`, the log equals the leader's up to `index` and is on disk up to there.

    Else the append at `previous_index` found a conflict and `index` is where to try next.
    """

    matched: bool
    index: int
    previous_index: int
    round: int


def append_reply(term: int, append: Append, *, matched: bool, index: int) -> AppendReply:
    """Return the answer to `append`."""
    return AppendReply(term, matched, index, append.previous_index, append.round)


class VoteRequest(Message, tag=3, array_like=True, frozen=True, gc=False):
    """`term` is the one to be elected in. `trial` asks how a vote would go and changes nothing (pre-vote).

    `transfer` says that the leader itself has asked for this election.
    """

    last_index: int
    last_term: int
    trial: bool
    transfer: bool = False


class VoteReply(Message, tag=4, array_like=True, frozen=True, gc=False):
    granted: bool
    trial: bool


class SnapshotPiece(Message, tag=5, array_like=True, frozen=True, gc=False):
    """Bytes of a snapshot file at `offset`; `last` closes it."""

    index: int
    index_term: int
    offset: int
    data: bytes
    last: bool


class SnapshotReply(Message, tag=6, array_like=True, frozen=True, gc=False):
    """`offset` is wanted next, -1 says that the follower's log covers `index` now, verified and on disk."""

    index: int
    offset: int


class TimeoutNow(Message, tag=7, array_like=True, frozen=True, gc=False):
    """The leader asks the receiver, which has the whole log, to stand at once and take over."""


class Inquiry(Message, tag=8, array_like=True, frozen=True, gc=False):
    """A member whose folder is new asks where the others stand; `nonce` marks the answer.

    With `takes` it asks the receiver also to give it, the folder `instance`, its seat.
    """

    nonce: int
    instance: str = ""
    takes: bool = False


class Standing(Message, tag=9, array_like=True, frozen=True, gc=False):
    """The answer to an Inquiry, true when sent and on disk. `blank`: has never voted nor stored anything.

    `instance` is the sender's folder, "" in releases that know none, and `newcomer` says that it is new itself; `seats`
    says who has had which seat for all it knows, the last one has it.
    """

    nonce: int
    last_index: int
    blank: bool
    leads: bool
    instance: str = ""
    newcomer: bool = False
    seats: dict[str, tuple[str, ...]] = {}


RaftMessage = (
    Append | AppendReply | VoteRequest | VoteReply | SnapshotPiece | SnapshotReply | TimeoutNow | Inquiry | Standing
)


class Hello(msgspec.Struct, frozen=True):
    """The first frame of a connection, from the dialler.

    `instance` is its folder, and `newcomer` says that this one is new; `seat` is the instance that has the receiver's
    seat for all it knows. All three are empty in releases that know no instances.
    """

    protocol: str
    cluster: str
    sender: str
    receiver: str
    instance: str = ""
    seat: str = ""
    newcomer: bool = False


PROTOCOL = "oarlock-raft/1"
_encoder = msgspec.msgpack.Encoder()
_messages = msgspec.msgpack.Decoder(list[RaftMessage])
_hello = msgspec.msgpack.Decoder(Hello)


_MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that aren't the type: beside its own errors for bad UTF-8 and for deep nesting."""


class MalformedFrame(Exception):
    """The peer sent something that is no frame of ours."""


def frame(content: list[RaftMessage] | Hello) -> bytes:
    """Return messages as one frame."""
    body = _encoder.encode(content)
    assert len(body) <= FRAME_BYTES_MAX, "the replication window bounds frames"
    return LENGTH.pack(len(body)) + body


def decode_messages(body: bytes) -> list[RaftMessage]:
    try:
        return _messages.decode(body)
    except _MALFORMED as error:
        raise MalformedFrame(str(error)) from error


def decode_hello(body: bytes) -> Hello:
    try:
        return _hello.decode(body)
    except _MALFORMED as error:
        raise MalformedFrame(str(error)) from error


class FrameReader:
    """Cuts a byte stream into frame bodies."""

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the frame bodies that `data` completes; raises MalformedFrame for one that is too long."""
        buffer = self._buffer
        buffer += data
        position = 0
        try:
            while len(buffer) - position >= LENGTH.size:
                (size,) = LENGTH.unpack_from(buffer, position)
                if size > self.bytes_max:
                    raise MalformedFrame(f"a frame of {size} bytes, at most {self.bytes_max} are allowed")
                end = position + LENGTH.size + size
                if len(buffer) < end:
                    return
                body = bytes(buffer[position + LENGTH.size : end])
                position = end
                yield body
        finally:
            del buffer[:position]
