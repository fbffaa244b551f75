"""The order in which a merged list is written: the patch's items as the patch has them, the others in their places.

Source: the order that Kubernetes' strategic merge patch produces, which clients see and diff.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Identity = Callable[[Any], Any]


def interleave(merged: Sequence[Any], patch: Sequence[Any], original: Sequence[Any], identity: Identity) -> list[Any]:
    """Order `merged`: items that `patch` names follow `patch`; the rest follow `original`, and go before a patch item
    only where `original` has both and has them so.
    """
    wanted = [identity(item) for item in patch]
    before = [identity(item) for item in original]
    named = sorted((item for item in merged if identity(item) in wanted), key=lambda item: wanted.index(identity(item)))
    rest = sorted(
        (item for item in merged if identity(item) not in wanted), key=lambda item: _rank(before, item, identity)
    )
    result: list[Any] = []
    while named and rest:
        first = rest if _precedes(before, identity(rest[0]), identity(named[0])) else named
        result.append(first.pop(0))
    return [*result, *rest, *named]


def position(items: Sequence[Any], name: object, identity: Identity) -> int | None:
    """Where the first item with that identity stands."""
    for index, item in enumerate(items):
        if identity(item) == name:
            return index
    return None


def _rank(order: Sequence[Any], item: object, identity: Identity) -> int:
    name = identity(item)
    return order.index(name) if name in order else len(order)


def _precedes(order: Sequence[Any], one: object, other: object) -> bool:
    return one in order and other in order and order.index(one) < order.index(other)
