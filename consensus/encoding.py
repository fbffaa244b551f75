"""The store's values as bytes: msgpack, decoded with every type and bound checked.

A command's bytes are `COMMAND` (client, sequence, acknowledged, action's tag) and the action in msgpack. They are the
same in a client's frame and in the replicated log, so a leader decodes a request to check it and logs what it got.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any, TypeVar

import msgspec

from oarlock.consensus.commands import Action, Command, Compact, Grant, Outcome, Revoke
from oarlock.consensus.log import NotLeader, Overloaded
from oarlock.consensus.model import (
    Compacted,
    Compare,
    Delete,
    DeleteResult,
    FutureRevision,
    InvalidRequest,
    KeyValue,
    LeaseExists,
    LeaseNotFound,
    LeaseStatus,
    Operation,
    OperationResult,
    Put,
    PutResult,
    Range,
    RangeResult,
    StoreError,
    Transaction,
    TransactionResult,
    Unavailable,
    UnknownOutcome,
)

COMMAND = struct.Struct(">QQQB")
Natural = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode


class _Operation(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An operation or its result with a tag in front: a bare array doesn't tell which it is."""


class _Range(_Operation, frozen=True, tag=0):
    key: bytes
    range_end: bytes
    limit: Natural
    revision: Natural
    keys_only: bool
    count_only: bool


class _Put(_Operation, frozen=True, tag=1):
    key: bytes
    value: bytes
    lease: Natural
    previous: bool


class _Delete(_Operation, frozen=True, tag=2):
    key: bytes
    range_end: bytes
    previous: bool


class _RangeResult(_Operation, frozen=True, tag=0):
    revision: int
    kvs: tuple[KeyValue, ...]
    count: int
    more: bool


class _PutResult(_Operation, frozen=True, tag=1):
    revision: int
    previous: KeyValue | None


class _DeleteResult(_Operation, frozen=True, tag=2):
    revision: int
    deleted: int
    previous: tuple[KeyValue, ...]


class _Transaction(msgspec.Struct, array_like=True, frozen=True):
    compares: tuple[Compare, ...]
    success: list[_Range | _Put | _Delete]
    failure: list[_Range | _Put | _Delete]


class _TransactionResult(msgspec.Struct, array_like=True, frozen=True):
    succeeded: bool
    revision: int
    responses: list[_RangeResult | _PutResult | _DeleteResult]


_TAGS: dict[type, int] = {Range: 0, Put: 1, Delete: 2, RangeResult: 0, PutResult: 1, DeleteResult: 2}
_MODELS: dict[type, Any] = {
    _Range: Range,
    _Put: Put,
    _Delete: Delete,
    _RangeResult: RangeResult,
    _PutResult: PutResult,
    _DeleteResult: DeleteResult,
}
_ACTION_TAGS: dict[type, int] = {Transaction: 1, Grant: 2, Revoke: 3, Compact: 4}
_ACTIONS: dict[int, Any] = {
    1: msgspec.msgpack.Decoder(_Transaction),
    2: msgspec.msgpack.Decoder(Grant),
    3: msgspec.msgpack.Decoder(Revoke),
    4: msgspec.msgpack.Decoder(Compact),
}
_OUTCOMES: dict[int, Any] = {
    1: msgspec.msgpack.Decoder(_TransactionResult),
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
    """Return the msgpack of a value whose type its reader knows."""
    return _encode(value)


def decoder(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    """Return a decoder to keep for one type."""
    return msgspec.msgpack.Decoder(kind)


def encode_command(command: Command) -> bytes:
    """Return a command as the log carries it."""
    action = command.action
    head = COMMAND.pack(command.client, command.sequence, command.acknowledged, _ACTION_TAGS[type(action)])
    if isinstance(action, Transaction):
        return head + _encode((action.compares, _tagged(action.success), _tagged(action.failure)))
    return head + _encode(action)


def decode_command(data: bytes) -> Command:
    """Return the command. Raises InvalidRequest if these bytes are none."""
    try:
        client, sequence, acknowledged, tag = COMMAND.unpack_from(data)
        action = _ACTIONS[tag].decode(memoryview(data)[COMMAND.size :])
    except (msgspec.MsgspecError, ValueError, LookupError, struct.error) as malformed:
        raise InvalidRequest(f"malformed command: {malformed}") from None
    if tag == 1:
        action = Transaction(action.compares, _untagged(action.success), _untagged(action.failure))
    return Command(action, client, sequence, acknowledged)


def encode_outcome(outcome: Outcome) -> bytes:
    """Return an outcome that is no error."""
    if isinstance(outcome, TransactionResult):
        return _encode((outcome.succeeded, outcome.revision, _tagged(outcome.responses)))
    return _encode(outcome)


def decode_outcome(action: Action, data: bytes | memoryview) -> Outcome:
    """Return the outcome that an action like this one had."""
    tag = _ACTION_TAGS[type(action)]
    outcome = _OUTCOMES[tag].decode(data)
    if tag == 1:
        return TransactionResult(outcome.succeeded, outcome.revision, _untagged(outcome.responses))
    return outcome  # type: ignore[no-any-return]


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


def _tagged(values: tuple[Operation, ...] | tuple[OperationResult, ...]) -> list[tuple[Any, ...]]:
    return [(_TAGS[type(value)], *value) for value in values]


def _untagged(structs: list[Any]) -> tuple[Any, ...]:
    return tuple([_MODELS[type(one)]._make(msgspec.structs.astuple(one)) for one in structs])


_error_decoder = msgspec.msgpack.Decoder(tuple[int, int | str])
