"""The headers of gRPC requests, encoded once for each path. Source: RFC 7541 (HPACK), gRPC "PROTOCOL-HTTP2"."""

from __future__ import annotations


class HeaderBlocks:
    """Header blocks of requests; after a field's first use the peer has it in its table, and an index stands for it.

    Blocks must be sent in the order in which they were asked for.
    """

    # A literal's first bytes, up to its name: 0x40 plus the name's index in the static table, or 0x40 and the name.
    _AUTHORITY, _PATH, _CONTENT_TYPE, _TE = b"\x41", b"\x44", b"\x5f", b"\x40\x02te"
    _POST_HTTPS = b"\x83\x87"

    def __init__(self, authority: str) -> None:
        self._authority = authority.encode()
        self._table: dict[tuple[bytes, bytes], int] = {}
        self._blocks: dict[bytes, bytes] = {}

    def block(self, path: bytes) -> bytes:
        """Return the block of a POST to `path`."""
        found = self._blocks.get(path)
        if found is None:
            entries = len(self._table)
            found = self._encode(path)
            if len(self._table) == entries:
                self._blocks[path] = found
            else:
                self._blocks.clear()  # new entries have moved the older ones' indexes
        return found

    def _encode(self, path: bytes) -> bytes:
        fields = [
            (self._PATH, path),
            (self._AUTHORITY, self._authority),
            (self._CONTENT_TYPE, b"application/grpc"),
            (self._TE, b"trailers"),
        ]
        return self._POST_HTTPS + b"".join(self._field(field) for field in fields)

    def _field(self, field: tuple[bytes, bytes]) -> bytes:
        position = self._table.get(field)
        if position is not None:
            return bytes((0x80 | (61 + len(self._table) - position),))  # the newest entry has index 62
        self._table[field] = len(self._table)
        prefix, value = field
        return prefix + bytes((len(value),)) + value
