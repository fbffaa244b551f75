"""What a write takes, gives back or relies on beside its object, in the object's own transaction.

A claim names a key, the revision that the key must be at, and what the write makes of it. All claims of a write hold or
nothing of it happens; so what is unique (an address, a port) or bounded (a quota) is never taken without the object
that takes it, and never kept without it. Source: decision 0017.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oarlock.consensus.model import OPERATIONS_MAX, Delete, KeyValue, Put

CLAIMS_MAX = OPERATIONS_MAX - 8
"""Claims of one write: a transaction has room for so many beside the object and its fences."""


@dataclass(frozen=True, slots=True)
class Claim:
    """`key` is at `revision` (its mod revision, 0: it does not exist), and becomes what `change` makes of it."""

    key: bytes
    revision: int
    change: Put | Delete | None = None


Claims = tuple[Claim, ...]


def take(key: bytes, value: bytes) -> Claim:
    """Claim a key that nobody has."""
    return Claim(key, 0, Put(key, value))


def replace(key: bytes, revision: int, value: bytes) -> Claim:
    """Claim a key as it was read, and change it: a counter, a quota."""
    return Claim(key, revision, Put(key, value))


def release(key: bytes, revision: int) -> Claim:
    """Give a key back, if it still is what was read."""
    return Claim(key, revision, Delete(key))


def require(key: bytes, revision: int) -> Claim:
    """Rely on a key being what was read (revision 0: on its absence), without a change of it."""
    return Claim(key, revision)


class Unmet(Exception):
    """Claims that did not hold: nothing was written.

    `found` is what the store holds under each of their keys (None: nothing), as of `revision`.
    """

    def __init__(self, found: Mapping[bytes, KeyValue | None], revision: int) -> None:
        super().__init__("what the write relied on has changed")
        self.found = found
        self.revision = revision
