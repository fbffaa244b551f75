"""Which controllers a copy hosts, and which keys are its own when several share a controller's work.

A group of controllers has a lease of its own; a group in shards has one lease for each shard. Every key belongs to
exactly one shard, so that no two active copies ever decide about the same object.
"""

from __future__ import annotations

import zlib
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

NAMESPACE, UID = "namespace", "uid"
EVERYTHING = "*"


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of the keys, numbered from 1: by their namespace, or by the uid of their object."""

    number: int = 1
    count: int = 1
    by: str = NAMESPACE

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count or self.by not in (NAMESPACE, UID):
            raise ValueError(f"no shard {self.number} of {self.count} by {self.by!r}")

    def owns(self, key: str, obj: Object | None) -> bool:
        """Whether a key is this shard's; `obj` is the key's own object where there is one.

        Cluster-scoped keys go by their name. A key whose object is gone goes by itself.
        """
        if self.count == 1:
            return True
        namespace, _, _ = key.partition("/")
        text = namespace
        if self.by == UID:
            text = obj["metadata"]["uid"] if obj is not None else key
        return zlib.crc32(text.encode()) % self.count == self.number - 1


WHOLE = Shard()


def hosted(wanted: Iterable[str], names: Sequence[str], asleep: Container[str] = ()) -> list[str]:
    """Return the controllers that a copy hosts: `*` is all, `-NAME` takes one out. Unknown names raise ValueError.

    Those `asleep` are hosted only where they are named.
    Source: the form of upstream's --controllers.
    """
    wanted = list(wanted)
    unknown = sorted({one.removeprefix("-") for one in wanted} - {*names, EVERYTHING})
    if unknown:
        raise ValueError(f"unknown controllers: {', '.join(unknown)}")
    every = EVERYTHING in wanted
    return [one for one in names if f"-{one}" not in wanted and (one in wanted or (every and one not in asleep))]
