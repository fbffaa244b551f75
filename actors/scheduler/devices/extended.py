"""Extended resources that classes of devices stand for: on nodes without the resource, a claim of the pod's own.

Source: KEP-5004; kube-scheduler's `extendeddynamicresources.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oarlock.actors.scheduler.devices.claimed import Claim, request_of
from oarlock.actors.scheduler.devices.state import IMPLICIT, Devices
from oarlock.cluster.objects import quantity

Object = dict[str, Any]
UNMADE = "<extended-resources>"
"""Names the claim before it is made: no claim's real name."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What one container asks for, whole amounts by resource name; `passing` ones end before the others begin."""

    name: str
    passing: bool
    requests: tuple[tuple[str, int], ...]

    def of(self, resource: str) -> int:
        return dict(self.requests).get(resource, 0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the claim of a node is to hold, and which container gets what of it."""

    claim: Claim
    requests: tuple[Object, ...]
    mappings: tuple[Object, ...]


def is_extended(resource: str) -> bool:
    """Whether the resource is somebody's own, or names a class. Source: upstream's IsDRAExtendedResourceName."""
    if resource.startswith(IMPLICIT):
        return True
    return "/" in resource and "kubernetes.io/" not in resource and not resource.startswith("requests.")


def needs_of(spec: Mapping[str, Any]) -> tuple[Needs, ...]:
    """Read a pod's containers, those that initialize it first; nothing if none asks for an extended resource."""
    if not _has_prefixed(spec):
        return ()
    kinds = ((kind, one) for kind in ("initContainers", "containers") for one in spec.get(kind) or ())
    found = [(kind, one, (one.get("resources") or {}).get("requests") or {}) for kind, one in kinds]
    if not any(is_extended(name) for _, _, requests in found for name in requests):
        return ()
    return tuple(
        Needs(
            one.get("name") or "",
            kind == "initContainers" and one.get("restartPolicy") != "Always",
            tuple((name, quantity.whole(requests[name])) for name in sorted(requests)),
        )
        for kind, one, requests in found
    )


def _has_prefixed(spec: Mapping[str, Any]) -> bool:
    """Whether a name is more than one of Kubernetes' own plain ones: so it is with few pods, and all are asked."""
    for kind in ("initContainers", "containers"):
        for one in spec.get(kind) or ():
            for name in (one.get("resources") or {}).get("requests") or ():
                if "/" in name:
                    return True
    return False


def by_devices(needs: Iterable[Needs], devices: Devices) -> list[str]:
    """Return the resources that a class stands for, sorted."""
    names = {name for one in needs for name, amount in one.requests if amount and is_extended(name)}
    return sorted(name for name in names if devices.class_for(name) is not None)


def wanted(pod_key: str, uid: str, needs: Sequence[Needs], resources: Iterable[str], devices: Devices) -> Wanted | None:
    """Return the claim for a node that has none of `resources` itself; None if there are none."""
    requests: list[Object] = []
    mappings: list[Object] = []
    for resource in resources:
        found = devices.class_for(resource)
        if found is not None:
            some, mapped = _of_resource(needs, resource, found.name)
            requests.extend(some)
            mappings.extend(mapped)
    if not requests:
        return None
    requests.sort(key=lambda one: str(one["name"]))
    read = tuple(map(request_of, requests))
    key = f"{pod_key.partition('/')[0]}/{UNMADE}/{uid}"
    claim = Claim(key, f"{UNMADE}/{uid}", read, owner_uid=uid, extended=True)
    return Wanted(claim, tuple(requests), tuple(mappings))


def _of_resource(needs: Sequence[Needs], resource: str, class_name: str) -> tuple[list[Object], list[Object]]:
    """Lasting containers have devices of their own; passing ones use those of later ones, and what they lack beyond."""
    lasting = [None if one.passing else _request(index, one, resource, class_name) for index, one in enumerate(needs)]
    requests = [one for one in lasting if one is not None]
    mappings = [_mapping(needs[index], resource, one) for index, one in enumerate(lasting) if one is not None]
    extra: list[Object] = []
    passing: list[Object] = []
    for index, one in enumerate(needs):
        if one.passing and one.of(resource):
            passing.extend(_of_passing(index, one, resource, class_name, lasting[index:], extra))
    if extra:
        largest = max(extra, key=lambda one: int(one["exactly"]["count"]))
        names = {one["name"] for one in extra}
        passing = [{**one, "requestName": largest["name"]} if one["requestName"] in names else one for one in passing]
        requests.insert(0, largest)
    return requests, mappings + passing


def _of_passing(
    index: int,
    container: Needs,
    resource: str,
    class_name: str,
    reusable: Iterable[Object | None],
    extra: list[Object],
) -> Iterator[Object]:
    missing = container.of(resource)
    for one in reusable:
        if one is not None and missing > 0:
            missing -= one["exactly"]["count"]
            yield _mapping(container, resource, one)
    if missing > 0:
        made = _request(index, container, resource, class_name)
        assert made is not None, "the container asks for the resource"
        made["exactly"]["count"] = missing
        extra.append(made)
        yield _mapping(container, resource, made)


def _request(index: int, container: Needs, resource: str, class_name: str) -> Object | None:
    count = container.of(resource)
    if not count:
        return None
    place = [name for name, _ in container.requests].index(resource)
    exactly = {"deviceClassName": class_name, "allocationMode": "ExactCount", "count": count}
    return {"name": f"container-{index}-request-{place}", "exactly": exactly}


def _mapping(container: Needs, resource: str, request: Object) -> Object:
    return {"containerName": container.name, "resourceName": resource, "requestName": request["name"]}
