"""A few members of an object, read from its JSON without making the rest of it.

To parse a pod whole takes four times as long, and as long again to throw it away.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import orjson

Path = tuple[str, ...]


class Glimpse:
    """Reads the members at `paths`, each at least one name long."""

    def __init__(self, paths: Iterable[Path]) -> None:
        tree: dict[str, Any] = {}
        for path in paths:
            here = tree
            for step in path[:-1]:
                here = here.setdefault(step, {})
                if here is _WHOLE:
                    break
            if here is not _WHOLE:
                here[path[-1]] = _WHOLE
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_shape(tree))

    def of(self, wire: bytes) -> dict[str, Any]:
        """Return an object that has all that `wire`, a JSON object, has at the paths; of the rest, any or nothing."""
        try:
            seen: dict[str, Any] = msgspec.to_builtins(self._decoder.decode(wire))
        except (msgspec.ValidationError, RecursionError):
            # Something on the way to a member is no object, so that there is no such member; or the rest is nested more
            # deeply than can be passed over.
            seen = orjson.loads(wire)
        return seen


_WHOLE: dict[str, Any] = {}
"""What is wanted with everything in it."""


def _shape(tree: dict[str, Any]) -> Any:
    members = []
    for number, (name, below) in enumerate(tree.items()):
        kind = Any if below is _WHOLE else _shape(below) | None | msgspec.UnsetType
        # Names of members needn't be Python's.
        members.append((f"member_{number}", kind, msgspec.field(name=name, default=msgspec.UNSET)))
    return msgspec.defstruct("Shape", members, gc=False)
