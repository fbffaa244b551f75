"""How watches are read for a benchmark."""

from __future__ import annotations

import ssl
from typing import cast

import pytest

from bench.http_client import Unexpected
from bench.readers import WRITTEN, Reader


class Connection:
    """Gives what is expected of a TLS connection that isn't waited for."""

    def __init__(self, *pieces: bytes | None) -> None:
        self._pieces = list(pieces)

    def recv_into(self, buffer: memoryview) -> int:
        piece = self._pieces.pop(0)
        if piece is None:
            raise ssl.SSLWantReadError
        buffer[: len(piece)] = piece
        return len(piece)


def test_an_event_that_comes_in_two_pieces_counts_once_it_is_whole() -> None:
    event = b'20\r\n{"data":{"at":"1764430000.25"}}\n\r\n'
    cut = event.index(b"1764430000") + 3
    reader = Reader(cast(ssl.SSLSocket, Connection(event + event[:cut], None, event[cut:], b"")))
    buffer = memoryview(bytearray(1024))
    taken = [reader.take(buffer) for _ in range(3)]
    assert [WRITTEN.findall(lines) for lines in taken] == [[b"1764430000.25"], [], [b"1764430000.25"]]
    assert b"".join(taken) == event + event
    with pytest.raises(Unexpected):
        reader.take(buffer)
