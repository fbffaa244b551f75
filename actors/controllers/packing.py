"""How endpoints are spread over slices of at most a hundred, so that few slices change.

Source: upstream's k8s.io/endpointslice reconciler.go, reconcileByPortMapping.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

Object = dict[str, Any]
Identity = Callable[[Mapping[str, Any]], Hashable]


def pack(
    held: Mapping[str, Sequence[Object]], wanted: Sequence[Object], identity: Identity, size_max: int
) -> tuple[dict[str, list[Object]], list[list[Object]]]:
    """Return what each held slice is to hold ({} of those to delete are empty lists), and the new slices.

    Endpoints stay where they are. New ones first fill slices that change anyway, the fullest first; the rest goes
    into the one unchanged slice that it fills best, or into new slices.
    """
    left = {identity(one): one for one in wanted}
    kept: dict[str, list[Object]] = {}
    for name, before in held.items():
        found = [left.pop(identity(one), None) for one in before]
        kept[name] = [one for one in found if one is not None]
    rest = list(left.values())
    changing = [name for name, before in held.items() if kept[name] and kept[name] != list(before)]
    for name in sorted(changing, key=lambda one: -len(kept[one])):
        room = size_max - len(kept[name])
        kept[name] += rest[:room]
        rest = rest[room:]
    if rest and len(rest) < size_max:
        fitting = [name for name, one in kept.items() if one and len(one) + len(rest) <= size_max]
        if fitting:
            kept[max(fitting, key=lambda one: len(kept[one]))] += rest
            rest = []
    return kept, [rest[start : start + size_max] for start in range(0, len(rest), size_max)]
