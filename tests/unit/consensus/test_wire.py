"""Frames and encodings: what goes in comes out; what was never sent is refused."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.consensus.commands import Command, Compact, Grant, Outcome, Revoke
from oarlock.consensus.encoding import (
    decode_command,
    decode_error,
    decode_outcome,
    decoder,
    encode,
    encode_command,
    encode_error,
    encode_outcome,
)
from oarlock.consensus.log import NotLeader
from oarlock.consensus.model import (
    Compacted,
    Compare,
    Delete,
    DeleteResult,
    Event,
    EventKind,
    InvalidRequest,
    KeyValue,
    LeaseStatus,
    Put,
    PutResult,
    Range,
    RangeResult,
    StoreError,
    Transaction,
    TransactionResult,
    UnknownOutcome,
    WatchBatch,
)
from oarlock.consensus.wire import FRAME_BYTES_MAX, PIECE_BYTES, Frame, FrameReader, Joiner, Kind, frame

BYTES = st.binary(max_size=20)
NATURAL = st.integers(0, (1 << 63) - 1)
KVS = st.builds(KeyValue, BYTES, BYTES, NATURAL, NATURAL, NATURAL, NATURAL)
RANGES = st.builds(Range, BYTES, BYTES, NATURAL, NATURAL, st.booleans(), st.booleans())
OPERATIONS = st.lists(
    st.one_of(
        RANGES,
        st.builds(Put, BYTES, BYTES, NATURAL, st.booleans()),
        st.builds(Delete, BYTES, BYTES, st.booleans()),
    ),
    max_size=4,
).map(tuple)
COMPARES = st.builds(
    Compare,
    BYTES,
    st.sampled_from(["value", "version", "create", "mod", "lease"]),
    st.sampled_from(["==", "!=", "<", ">"]),
    st.one_of(NATURAL, BYTES),
)
ACTIONS = st.one_of(
    st.builds(Transaction, st.lists(COMPARES, max_size=3).map(tuple), OPERATIONS, OPERATIONS),
    st.builds(Grant, NATURAL, NATURAL),
    st.builds(Revoke, NATURAL),
    st.builds(Compact, NATURAL),
)
RESULTS = st.one_of(
    st.builds(RangeResult, NATURAL, st.lists(KVS, max_size=3).map(tuple), NATURAL, st.booleans()),
    st.builds(PutResult, NATURAL, st.none() | KVS),
    st.builds(DeleteResult, NATURAL, NATURAL, st.lists(KVS, max_size=3).map(tuple)),
)


@given(st.builds(Command, ACTIONS, NATURAL, NATURAL, NATURAL))
def test_a_command_survives_its_encoding(command: Command) -> None:
    decoded = decode_command(encode_command(command))
    assert decoded == command
    assert type(decoded.action) is type(command.action)
    if isinstance(command.action, Transaction) and isinstance(decoded.action, Transaction):
        assert [type(one) for one in decoded.action.success] == [type(one) for one in command.action.success]


@given(st.builds(TransactionResult, st.booleans(), NATURAL, st.lists(RESULTS, max_size=4).map(tuple)))
def test_a_result_survives_its_encoding(result: TransactionResult) -> None:
    decoded = decode_outcome(Transaction(), encode_outcome(result))
    assert decoded == result
    assert isinstance(decoded, TransactionResult)
    assert [type(one) for one in decoded.responses] == [type(one) for one in result.responses]


def test_other_outcomes_and_errors_survive() -> None:
    outcomes: list[tuple[Grant | Revoke, Outcome]] = [(Grant(1, 2), LeaseStatus(1, 2, 2)), (Revoke(1), 7)]
    for action, outcome in outcomes:
        assert decode_outcome(action, encode_outcome(outcome)) == outcome
    errors: list[StoreError] = [Compacted(9), NotLeader("b"), UnknownOutcome("lost"), InvalidRequest("no")]
    for error in errors:
        decoded = decode_error(encode_error(error))
        assert type(decoded) is type(error)
        assert str(decoded) == str(error)
        assert vars(decoded) == vars(error)


def test_a_batch_survives() -> None:
    kv = KeyValue(b"a", b"1", 2, 3, 2)
    batch = WatchBatch(4, (Event(EventKind.PUT, kv, None), Event(EventKind.DELETE, KeyValue(b"a", b"", 0, 4, 0), kv)))
    decoded = decoder(WatchBatch).decode(encode(batch))
    assert decoded == batch
    assert decoded.events[1].kind is EventKind.DELETE


@given(st.binary(max_size=80))
def test_no_bytes_crash_the_command_decoder(data: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(decode_command(data), Command)


def test_numbers_out_of_range_are_refused() -> None:
    head = encode_command(Command(Transaction()))[:25]
    for operation in ((1, b"k", b"v", -1, False), (1, b"k", b"v", 1 << 63, False), (0, b"k", b"", 0, 0, 1, False)):
        with pytest.raises(InvalidRequest):
            decode_command(head + msgspec.msgpack.encode(((), (operation,), ())))


@given(
    st.lists(st.tuples(st.sampled_from(list(Kind)), NATURAL, st.binary(max_size=50)), max_size=8),
    st.integers(1, 40),
)
def test_frames_are_cut_the_same_however_they_arrive(frames: list[tuple[Kind, int, bytes]], step: int) -> None:
    stream = b"".join(frame(*one) for one in frames)
    reader = FrameReader()
    got: list[Frame] = []
    for at in range(0, len(stream), step):
        got += reader.feed(stream[at : at + step])
    assert got == [Frame(*one) for one in frames]


@pytest.mark.parametrize("size", [PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES + 5])
def test_a_long_body_travels_in_pieces_beside_others(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    joiner = Joiner()
    messages = []
    for piece in FrameReader().feed(frame(Kind.RESULT, 5, body)):
        assert joiner.join(Frame(Kind.RESULT, 6, b"short")) == Frame(Kind.RESULT, 6, b"short")
        messages.append(joiner.join(piece))
    assert messages[-1] == Frame(Kind.RESULT, 5, body)
    assert set(messages[:-1]) <= {None}


@pytest.mark.parametrize("length", [0, 8, FRAME_BYTES_MAX + 1, 0xFFFFFFFF])
def test_impossible_lengths_are_refused_at_once(length: int) -> None:
    with pytest.raises(InvalidRequest, match="malformed frame"):
        list(FrameReader().feed(length.to_bytes(4, "big") + bytes(9)))
