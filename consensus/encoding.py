"""The store's values as bytes: msgpack, decoded with every type and bound checked.

A command's bytes are `COMMAND` (client, sequence, acknowledged, action's tag) and the action in msgpack. They are the
same in a client's frame and in the replicated log, so a leader decodes a request to check it and logs what it got.
"""

from __future__ import annotations

import struct
from typing import Any, TypeVar

import msgspec

from oarlock.consensus.commands import Action, Command, Compact, Grant, Outcome, Revoke
from oarlock.consensus.log import NotLeader, Overloaded
from oarlock.consensus.model import (
    Compacted,
    FutureRevision,
    InvalidRequest,
    LeaseExists,
    LeaseNotFound,
    LeaseStatus,
    StoreError,
    Transaction,
    TransactionResult,
    Unavailable,
    UnknownOutcome,
)

COMMAND = struct.Struct(">QQQB")
MALFORMED = (msgspec.MsgspecError, ValueError, RecursionError)
"""What a decoder raises for bytes that aren't its type: beside msgspec's errors for bad UTF-8 and for deep nesting."""
T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode


_ACTION_TAGS: dict[type, int] = {Transaction: 1, Grant: 2, Revoke: 3, Compact: 4}
_ACTIONS: dict[int, Any] = {
    1: msgspec.msgpack.Decoder(Transaction),
    2: msgspec.msgpack.Decoder(Grant),
    3: msgspec.msgpack.Decoder(Revoke),
    4: msgspec.msgpack.Decoder(Compact),
}
_OUTCOMES: dict[int, Any] = {
    1: msgspec.msgpack.Decoder(TransactionResult),
    2: msgspec.msgpack.Decoder(LeaseStatus),
    3: msgspec.msgpack.Decoder(int),
    4: msgspec.msgpack.Decoder(int),
}
_ERRORS: dict[int, type[StoreError]] = {
    1: StoreError,
    2: Compacted,
    3: FutureRevision,
    4: LeaseNotFound,
    5: LeaseExists,
    6: InvalidRequest,
    7: Unavailable,
    8: UnknownOutcome,
    9: NotLeader,
    10: Overloaded,
}
_ERROR_CODES = {kind: code for code, kind in _ERRORS.items()}


def encode(value: object) -> bytes:
    """Return the msgpack of a value whose type its reader knows. Raises InvalidRequest for a number beyond 64 bits."""
    try:
        return _encode(value)
    except OverflowError as error:
        raise InvalidRequest(f"a number is out of range: {error}") from None


def decoder(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    """Return a decoder to keep for one type."""
    return msgspec.msgpack.Decoder(kind)


def encode_command(command: Command) -> bytes:
    """Return a command as the log carries it."""
    action = command.action
    head = COMMAND.pack(command.client, command.sequence, command.acknowledged, _ACTION_TAGS[type(action)])
    return head + encode(action)


def decode_command(data: bytes) -> Command:
    """Return the command. Raises InvalidRequest if these bytes are none."""
    try:
        client, sequence, acknowledged, tag = COMMAND.unpack_from(data)
        return Command(_ACTIONS[tag].decode(memoryview(data)[COMMAND.size :]), client, sequence, acknowledged)
    except (*MALFORMED, LookupError, struct.error) as malformed:
        raise InvalidRequest(f"malformed command: {malformed}") from None


def encode_outcome(outcome: Outcome) -> bytes:
    """Return an outcome that is no error."""
    return _encode(outcome)


def decode_outcome(action: Action, data: bytes | memoryview) -> Outcome:
    """Return the outcome that an action like this one had."""
    return _OUTCOMES[_ACTION_TAGS[type(action)]].decode(data)  # type: ignore[no-any-return]


def encode_error(error: StoreError) -> bytes:
    """Return an error with what its constructor needs."""
    argument: object = str(error)
    if isinstance(error, Compacted):
        argument = error.compact_revision
    elif isinstance(error, NotLeader):
        argument = error.leader
    return _encode((_ERROR_CODES.get(type(error), 1), argument))


def decode_error(data: bytes | memoryview) -> StoreError:
    """Return the error to raise."""
    code, argument = _error_decoder.decode(data)
    return _ERRORS.get(code, StoreError)(argument)


_error_decoder = msgspec.msgpack.Decoder(tuple[int, int | str])
