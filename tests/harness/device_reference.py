"""The allocation of devices in its plainest form: every way of giving devices to requests, tried one after the other.

Works on objects as the API server has them, for tiny worlds: all slices on one node, complete and of one generation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

from oarlock.cluster.objects.quantity import parse

Object = Mapping[str, Any]
Choice = tuple[tuple[str, str], ...]
"""(Name of the request, or of its alternative; name of the device) for each device that a claim gets."""


def first_way(claims: Sequence[Object], slices: Sequence[Object], taken: Sequence[str]) -> list[Choice] | None:
    """Return what each claim gets in the first way that serves all; None if there is none."""
    devices = {one["name"]: one for given in slices for one in given["spec"].get("devices") or ()}
    counters = {one["name"]: one["counters"] for given in slices for one in given["spec"].get("sharedCounters") or ()}
    ways = [list(_ways(claim, devices)) for claim in claims]
    for way in product(*ways):
        if _is_possible(claims, way, devices, counters, taken):
            return list(way)
    return None


def points(claims: Sequence[Object], way: Sequence[Choice]) -> int:
    """Return how much the claims like a way of being served: a request's first alternative is worth 8, the next 7, …"""
    found = 0
    for claim, choice in zip(claims, way, strict=True):
        given = {name for name, _ in choice}
        for one in claim["spec"]["devices"]["requests"]:
            for place, alternative in enumerate(one.get("firstAvailable") or ()):
                found += 8 - place if f"{one['name']}/{alternative['name']}" in given else 0
    return found


def grades(claims: Sequence[Object], ways: Mapping[str, Sequence[Choice]]) -> dict[str, int]:
    """Return the grade of each node by the way in which it serves the claims; the best has 100."""
    found = {node: points(claims, way) for node, way in ways.items()}
    most = max(found.values(), default=0)
    return {node: 100 * one // most if most else 0 for node, one in found.items()}


def _ways(claim: Object, devices: Mapping[str, Object]) -> Iterator[Choice]:
    """A request's alternatives come in their order, each with all its sets; later requests change first."""
    options = [
        [some for name, asked in _alternatives(one) for some in _sets(name, asked, devices)]
        for one in claim["spec"]["devices"]["requests"]
    ]
    for some in product(*options):
        yield tuple(one for part in some for one in part)


def _alternatives(request: Object) -> Iterator[tuple[str, Object]]:
    if "exactly" in request:
        yield request["name"], request["exactly"]
    for one in request.get("firstAvailable") or ():
        yield f"{request['name']}/{one['name']}", one


def _sets(name: str, asked: Object, devices: Mapping[str, Object]) -> Iterator[Choice]:
    fitting = [one for one, device in devices.items() if _is_wanted(asked, device)]
    if asked["allocationMode"] == "All":
        if fitting:
            yield tuple((name, one) for one in fitting)
        return
    for some in combinations(fitting, asked["count"]):
        yield tuple((name, one) for one in some)


def _is_wanted(asked: Object, device: Object) -> bool:
    """The only expressions of tiny worlds compare the model."""
    model = (device.get("attributes") or {}).get("model", {}).get("string")
    return all(f'"{model}"' in one["cel"]["expression"] for one in asked.get("selectors") or ())


def _is_possible(
    claims: Sequence[Object],
    way: Sequence[Choice],
    devices: Mapping[str, Object],
    counters: Mapping[str, Any],
    taken: Sequence[str],
) -> bool:
    given = [device for choice in way for _, device in choice]
    if len(set(given)) < len(given) or not set(given).isdisjoint(taken):
        return False
    if any(len(choice) > 32 for choice in way) or not _are_tolerated(claims, way, devices):
        return False
    used: dict[tuple[str, str], int] = {}
    for name in (*given, *taken):
        for part in devices[name].get("consumesCounters") or ():
            for counter, amount in part["counters"].items():
                place = (part["counterSet"], counter)
                used[place] = used.get(place, 0) + parse(amount["value"]).nano
    # What was given before may have used up more than there is; that concerns only those who want of it, too.
    wanted = {
        (part["counterSet"], counter)
        for name in given
        for part in devices[name].get("consumesCounters") or ()
        for counter in part["counters"]
    }
    if any(used[name, counter] > parse(counters[name][counter]["value"]).nano for name, counter in wanted):
        return False
    return all(_meets(claim, choice, devices) for claim, choice in zip(claims, way, strict=True))


def _are_tolerated(claims: Sequence[Object], way: Sequence[Choice], devices: Mapping[str, Object]) -> bool:
    asked = [
        dict(pair for one in claim["spec"]["devices"]["requests"] for pair in _alternatives(one)) for claim in claims
    ]
    return all(
        not devices[device].get("taints") or bool(asked[index][name].get("tolerations"))
        for index, choice in enumerate(way)
        for name, device in choice
    )


def _meets(claim: Object, choice: Choice, devices: Mapping[str, Object]) -> bool:
    for one in claim["spec"]["devices"].get("constraints") or ():
        named = one.get("requests") or ()
        about = [device for name, device in choice if not named or {name, name.partition("/")[0]} & set(named)]
        values = [(devices[device].get("attributes") or {}).get("model", {}).get("string") for device in about]
        if None in values:
            return False
        if "distinctAttribute" in one and len(set(values)) < len(values):
            return False
        if "matchAttribute" in one and len(set(values)) > 1:
            return False
    return True
