"""SPDY/3.1 frames: what is written is read again, however it is cut, and what is hostile is refused cheaply."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.kubelet.streaming import spdy
from oarlock.cluster.kubelet.streaming.spdy import Data, Decoder, Encoder, Frame, ProtocolError

NUMBERS = st.integers(1, 0x7FFFFFFF)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20)
HEADERS = st.dictionaries(NAMES, st.text(max_size=40), max_size=6)
FRAMES = st.one_of(
    st.builds(spdy.SynStream, NUMBERS, HEADERS, st.booleans(), st.booleans(), NUMBERS, st.integers(0, 7)),
    st.builds(spdy.SynReply, NUMBERS, HEADERS, st.booleans()),
    st.builds(spdy.Headers, NUMBERS, HEADERS, st.booleans()),
    st.builds(spdy.Reset, NUMBERS, NUMBERS),
    st.builds(spdy.Settings, st.lists(st.tuples(NUMBERS, NUMBERS), max_size=4).map(tuple)),
    st.builds(spdy.Ping, NUMBERS),
    st.builds(spdy.GoAway, NUMBERS, NUMBERS),
    st.builds(spdy.WindowUpdate, NUMBERS, NUMBERS),
    st.builds(Data, NUMBERS, st.binary(max_size=300), st.booleans()),
)


def joined(frames: list[Frame]) -> list[Frame]:
    """Put data that arrived in pieces together again."""
    whole: list[Frame] = []
    for frame in frames:
        last = whole[-1] if whole else None
        if isinstance(frame, Data) and isinstance(last, Data) and last.stream == frame.stream and not last.fin:
            whole[-1] = Data(frame.stream, last.data + frame.data, frame.fin)
        else:
            whole.append(frame)
    return whole


def control(kind: int, content: bytes, flags: int = 0, version: int = 3) -> bytes:
    return struct.pack(">II", 1 << 31 | version << 16 | kind, flags << 24 | len(content)) + content


def block(text: bytes) -> bytes:
    deflate = zlib.compressobj(zdict=spdy.DICTIONARY)
    return deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)


def pairs(*texts: bytes) -> bytes:
    return struct.pack(">I", len(texts) // 2) + b"".join(struct.pack(">I", len(text)) + text for text in texts)


def test_the_dictionary_is_the_protocols_own() -> None:
    assert len(spdy.DICTIONARY) == 1423
    assert zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2, "the dictionary's checksum in every SPDY/3 stream"


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(1, 40), min_size=1, max_size=10))
def test_frames_survive_any_cuts(frames: list[Frame], cuts: list[int]) -> None:
    encoder, decoder = Encoder(), Decoder()
    sent = b"".join(encoder.encode(frame) for frame in frames)
    received: list[Frame] = []
    position, turn = 0, 0
    while position < len(sent):
        size = cuts[turn % len(cuts)]
        received += decoder.feed(sent[position : position + size])
        position, turn = position + size, turn + 1
    assert joined(received) == joined(frames)


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_refused(data: bytes) -> None:
    try:
        frames = Decoder().feed(data)
    except ProtocolError:
        return
    assert sum(len(frame.data) for frame in frames if isinstance(frame, Data)) <= len(data)


def test_a_frame_of_an_unknown_type_is_ignored() -> None:
    decoder = Decoder()
    assert decoder.feed(control(77, b"whatever") + Encoder().encode(spdy.Ping(5))) == [spdy.Ping(5)]


def test_data_is_handed_on_before_its_frame_is_whole() -> None:
    decoder = Decoder()
    sent = Encoder().encode(Data(1, b"x" * 1000, fin=True))
    assert decoder.feed(sent[:508]) == [Data(1, b"x" * 500)]
    assert decoder.feed(sent[508:]) == [Data(1, b"x" * 500, fin=True)]


BOMB = block(b"\0" * (2 << 20))


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (control(6, b"\0\0\0\1", version=2), "version 2"),
        (struct.pack(">II", 1 << 31 | 3 << 16 | 6, 1 << 20), "control frame of 1048576 bytes"),
        (control(6, b"\0"), "too short"),
        (control(1, b"\0\0\0\1"), "too short"),
        (control(4, struct.pack(">I", 5)), "wrong length"),
        (control(2, b"\0\0\0\1" + b"no zlib"), "can't be inflated"),
        (control(2, b"\0\0\0\1" + BOMB), "bytes of headers"),
        (control(2, b"\0\0\0\1" + block(struct.pack(">I", 1 << 30))), "headers"),
        (control(2, b"\0\0\0\1" + block(struct.pack(">II", 1, 99) + b"short")), "longer than the headers"),
        (control(2, b"\0\0\0\1" + block(pairs(b"a", b"1", b"a", b"2"))), "twice"),
        (control(2, b"\0\0\0\1" + block(pairs(b"", b"1"))), "without a name"),
        (control(2, b"\0\0\0\1" + block(pairs(b"\xff", b"1"))), "UTF-8"),
    ],
)
def test_what_is_no_proper_frame_is_refused(sent: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        Decoder().feed(sent)


def test_headers_share_one_compressor_in_each_direction() -> None:
    encoder, decoder = Encoder(), Decoder()
    headers = {"streamtype": "stdout", "requestid": "0"}
    first, second = (encoder.encode(spdy.SynStream(number, headers)) for number in (1, 3))
    assert len(second) < len(first), "what was said before is referred to"
    assert [frame for sent in (first, second) for frame in decoder.feed(sent)] == [
        spdy.SynStream(1, headers),
        spdy.SynStream(3, headers),
    ]
