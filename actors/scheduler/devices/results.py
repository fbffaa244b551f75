"""An allocation as a claim's status holds it. Source: upstream's allocator, `createNodeSelector`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from oarlock.actors.scheduler.devices.allocator import Given
from oarlock.actors.scheduler.devices.claimed import Claim, DeviceClass

Object = dict[str, Any]
_SHARES = uuid.UUID("6f7a1c3e-6d0f-4d0b-9a53-2f0b6e6f8f4b")
"""What ids of shares are made from: the same decision on the same claim gives the same ids."""


def allocation(claim: Claim, given: Sequence[Given], classes: Mapping[str, DeviceClass], node: str) -> Object:
    """Return `status.allocation` of the claim for the node that was decided on."""
    results = [_result(claim, index, one) for index, one in enumerate(given)]
    config = [*_of_classes(claim, given, classes), *_of_claim(claim, given)]
    made: Object = {"devices": {"results": results, **({"config": config} if config else {})}}
    selector = _selector(given, node)
    return {**made, "nodeSelector": selector} if selector is not None else made


def _result(claim: Claim, index: int, given: Given) -> Object:
    device, ask = given.device, given.ask
    result: Object = {
        "request": ask.name,
        "driver": device.id.driver,
        "pool": device.id.pool,
        "device": device.id.name,
    }
    if ask.admin:
        result["adminAccess"] = True
    if ask.tolerations:
        result["tolerations"] = [dict(one) for one in ask.tolerations]
    for name in ("bindingConditions", "bindingFailureConditions"):
        if device.given.get(name):
            result[name] = list(device.given[name])
    if device.shared:
        result["shareID"] = str(uuid.uuid5(_SHARES, f"{claim.uid}/{claim.version}/{index}"))
    if given.taken:
        result["consumedCapacity"] = {name: str(amount) for name, amount in given.taken.items()}
    return result


def _picked(claim: Claim, given: Iterable[Given]) -> dict[str, str]:
    """Return the class by the name of each request, or of the alternative that it got."""
    got = {one.ask.name for one in given}
    return {ask.name: ask.class_name for one in claim.requests for ask in one.asks if ask.name in got}


def _of_classes(claim: Claim, given: Sequence[Given], classes: Mapping[str, DeviceClass]) -> Iterator[Object]:
    names: dict[str, list[str]] = {}
    for request, class_name in _picked(claim, given).items():
        names.setdefault(class_name, []).append(request)
    for class_name, requests in names.items():
        for one in classes[class_name].config:
            yield {"source": "FromClass", "requests": requests, **one}


def _of_claim(claim: Claim, given: Sequence[Given]) -> Iterator[Object]:
    picked = _picked(claim, given)
    known = {*picked, *(name.partition("/")[0] for name in picked)}
    for one in claim.config:
        named = one.get("requests") or ()
        if not named:
            yield {"source": "FromClaim", **one}
        # Once for every request that it is about, as upstream writes it.
        for _ in (name for name in named if name in known):
            yield {"source": "FromClaim", **one}


def _selector(given: Iterable[Given], node: str) -> Object | None:
    """Return what chooses the nodes that can use all of it; None if any can."""
    fields: list[Object] = []
    expressions: list[Object] = []
    for one in given:
        place = one.device.place
        if place.node or one.device.given.get("bindsToNode"):
            named = {"key": "metadata.name", "operator": "In", "values": [node]}
            return {"nodeSelectorTerms": [{"matchFields": [named]}]}
        for term in (place.selector or {}).get("nodeSelectorTerms") or ():
            _add(term.get("matchFields") or (), fields)
            _add(term.get("matchExpressions") or (), expressions)
    parts = (("matchExpressions", expressions), ("matchFields", fields))
    term = {name: some for name, some in parts if some}
    return {"nodeSelectorTerms": [term]} if term else None


def _add(requirements: Iterable[Object], to: list[Object]) -> None:
    for one in requirements:
        if not any(_same(one, other) for other in to):
            to.append(dict(one))


def _same(one: Object, other: Object) -> bool:
    alike = (one["key"], one["operator"]) == (other["key"], other["operator"])
    return alike and set(one.get("values") or ()) == set(other.get("values") or ())
