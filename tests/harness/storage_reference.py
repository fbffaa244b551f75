"""What the filters of storage are to decide, from API objects, as plainly as it can be written.

Each function returns the reasons against one node, none if it will do. Raises Hopeless where no node ever will.
Source of the behaviour: kube-scheduler v1.36's volume plugins, component-helpers' volume matching, and the API docs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]

CLASS, SELECTED = "volume.beta.kubernetes.io/storage-class", "volume.kubernetes.io/selected-node"
BOUND = "pv.kubernetes.io/bind-completed"
ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
OLD_ZONE, OLD_REGION = "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region"
NO_DISK = "node(s) had no available disk"
ONE_POD = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
FULL = "node(s) exceed max volume count"
WRONG_NODE = "node(s) didn't match PersistentVolume's node affinity"
NO_VOLUME = "node(s) didn't find available persistent volumes to bind"
NO_SPACE = "node(s) did not have enough free storage"
GONE = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
NO_ZONE = "node(s) had no available volume zone"


class Hopeless(Exception):
    """The pod can run nowhere."""


@dataclass
class World:
    """All there is, as API objects; `pods` have nodes."""

    nodes: list[Object] = field(default_factory=list)
    pods: list[Object] = field(default_factory=list)
    claims: list[Object] = field(default_factory=list)
    volumes: list[Object] = field(default_factory=list)
    classes: list[Object] = field(default_factory=list)
    csi_nodes: list[Object] = field(default_factory=list)
    drivers: list[Object] = field(default_factory=list)
    capacities: list[Object] = field(default_factory=list)
    attachments: list[Object] = field(default_factory=list)


def volume_restrictions(pod: Object, node: Object, world: World) -> list[str]:
    claims = [_claim(world, name) for name in _plain_claims(pod)]
    single = [one["metadata"]["name"] for one in claims if "ReadWriteOncePod" in one["spec"]["accessModes"]]
    for other in _pods_on(node, world):
        for theirs in other["spec"].get("volumes", []):
            for mine in pod["spec"].get("volumes", []):
                if _one_disk(mine, theirs):
                    return [NO_DISK]
    if any(name in _plain_claims(other) for other in world.pods for name in single):
        return [ONE_POD]
    return []


def _one_disk(mine: Object, theirs: Object) -> bool:
    for kind in ("gcePersistentDisk", "awsElasticBlockStore", "iscsi", "rbd"):
        if kind not in mine or kind not in theirs:
            continue
        one, other = mine[kind], theirs[kind]
        both_read = bool(one.get("readOnly")) and bool(other.get("readOnly"))
        if kind == "awsElasticBlockStore":
            return bool(one["volumeID"] == other["volumeID"])
        if kind == "gcePersistentDisk":
            return one["pdName"] == other["pdName"] and not both_read
        if kind == "iscsi":
            return one["iqn"] == other["iqn"] and not both_read
        same_image = (one["pool"], one["image"]) == (other["pool"], other["image"])
        shared = any(monitor in other["monitors"] for monitor in one["monitors"])
        return same_image and shared and not both_read
    return False


def node_volume_limits(pod: Object, node: Object, world: World) -> list[str]:
    limits: dict[str, int] = {}
    for csi_node in world.csi_nodes:
        if csi_node["metadata"]["name"] == node["metadata"]["name"]:
            for driver in csi_node["spec"]["drivers"]:
                if "count" in driver.get("allocatable", {}):
                    limits[driver["name"]] = driver["allocatable"]["count"]
    present = []
    for other in _pods_on(node, world):
        present += _attachable(other, world)
    for attachment in world.attachments:
        if attachment["spec"]["nodeName"] == node["metadata"]["name"]:
            volume = _volume(world, attachment["spec"]["source"]["persistentVolumeName"])
            if volume is not None and "csi" in volume["spec"]:
                present.append((volume["spec"]["csi"]["driver"], volume["spec"]["csi"]["volumeHandle"]))
    for driver, limit in limits.items():
        here = {handle for one, handle in present if one == driver}
        new = {handle for one, handle in _attachable(pod, world) if one == driver} - here
        if new and len(here) + len(new) > limit:
            return [FULL]
    return []


def _attachable(pod: Object, world: World) -> list[tuple[str, str]]:
    found = []
    for name, _ in _all_claims(pod):
        claim = next((one for one in world.claims if one["metadata"]["name"] == name), None)
        if claim is None:
            continue
        volume = _volume(world, claim["spec"].get("volumeName", ""))
        kind = _class(world, _class_name(claim))
        if volume is not None:
            if "csi" in volume["spec"]:
                found.append((volume["spec"]["csi"]["driver"], volume["spec"]["csi"]["volumeHandle"]))
        elif kind is not None:
            found.append((kind["provisioner"], f"to be made for {name}"))
    return found


def volume_binding(pod: Object, node: Object, world: World) -> list[str]:
    bound, delayed = [], []
    for claim in [_usable(pod, name, own, world) for name, own in _all_claims(pod)]:
        if claim["spec"].get("volumeName") and BOUND in _annotations(claim):
            bound.append(claim)
            continue
        kind = _class(world, _class_name(claim))
        if kind is None or kind["volumeBindingMode"] != "WaitForFirstConsumer" or claim["spec"].get("volumeName"):
            raise Hopeless("pod has unbound immediate PersistentVolumeClaims")
        delayed.append(claim)
    reasons = set()
    for claim in bound:
        volume = _volume(world, claim["spec"]["volumeName"])
        if volume is None:
            reasons.add(GONE)
            break
        if not _reaches(volume, node):
            reasons.add(WRONG_NODE)
            break
    to_make = [claim for claim in delayed if SELECTED in _annotations(claim)]
    if any(_annotations(claim)[SELECTED] != node["metadata"]["name"] for claim in to_make):
        return sorted({*reasons, NO_VOLUME})
    chosen: list[str] = []
    for claim in sorted((one for one in delayed if SELECTED not in _annotations(one)), key=_size):
        volume = _match(claim, node, world, chosen)
        if volume is None:
            to_make.append(claim)
        else:
            chosen.append(volume["metadata"]["name"])
    for claim in to_make:
        problem = _unmakeable(claim, node, world)
        if problem:
            reasons.add(problem)
            break
    return sorted(reasons)


def _match(claim: Object, node: Object, world: World, chosen: list[str]) -> Object | None:
    fitting = []
    for volume in world.volumes:
        spec, name = volume["spec"], volume["metadata"]["name"]
        alike = (
            spec["storageClassName"] == _class_name(claim)
            and spec.get("volumeMode", "Filesystem") == claim["spec"].get("volumeMode", "Filesystem")
            and spec.get("volumeAttributesClassName") == claim["spec"].get("volumeAttributesClassName")
            and _gibibytes(spec["capacity"]["storage"]) >= _size(claim)
            and "deletionTimestamp" not in volume["metadata"]
        )
        if name in chosen or not alike:
            continue
        kept_for = spec.get("claimRef")
        if kept_for is not None:
            own = kept_for["name"] == claim["metadata"]["name"]
            if own and kept_for.get("uid", claim["metadata"]["uid"]) == claim["metadata"]["uid"]:
                return volume if _reaches(volume, node) else None
            continue
        free = volume["status"]["phase"] == "Available"
        asked = claim["spec"].get("selector", {}).get("matchLabels", {})
        labelled = all(volume["metadata"]["labels"].get(key) == value for key, value in asked.items())
        modes = all(mode in spec["accessModes"] for mode in claim["spec"]["accessModes"])
        if free and labelled and modes and _reaches(volume, node):
            fitting.append(volume)
    return min(fitting, key=lambda one: _gibibytes(one["spec"]["capacity"]["storage"]), default=None)


def _unmakeable(claim: Object, node: Object, world: World) -> str:
    kind = _class(world, _class_name(claim))
    if kind is None or kind["provisioner"] == "kubernetes.io/no-provisioner":
        return NO_VOLUME
    terms = kind.get("allowedTopologies")
    labels = node["metadata"]["labels"]
    if terms and not any(
        all(labels.get(one["key"]) in one["values"] for one in term["matchLabelExpressions"]) for term in terms
    ):
        return NO_VOLUME
    counted = any(
        driver["metadata"]["name"] == kind["provisioner"] and driver["spec"].get("storageCapacity")
        for driver in world.drivers
    )
    if not counted:
        return ""
    for capacity in world.capacities:
        topology = capacity.get("nodeTopology")
        limit = capacity.get("maximumVolumeSize", capacity.get("capacity"))
        here = topology is not None and all(labels.get(key) == value for key, value in topology["matchLabels"].items())
        enough = limit is not None and _gibibytes(limit) >= _size(claim)
        if capacity["storageClassName"] == kind["metadata"]["name"] and here and enough:
            return ""
    return NO_SPACE


def _usable(pod: Object, name: str, own: bool, world: World) -> Object:
    if own and not any(one["metadata"]["name"] == name for one in world.claims):
        raise Hopeless(f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"')
    claim = _claim(world, name)
    if claim["status"]["phase"] == "Lost":
        gone = claim["spec"].get("volumeName", "")
        raise Hopeless(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{gone}"')
    if "deletionTimestamp" in claim["metadata"]:
        raise Hopeless(f'persistentvolumeclaim "{name}" is being deleted')
    owners = [one["uid"] for one in claim["metadata"].get("ownerReferences", []) if one["controller"]]
    if own and owners != [pod["metadata"]["uid"]]:
        raise Hopeless(
            f"PVC default/{name} was not created for pod default/{pod['metadata']['name']} (pod is not owner)"
        )
    return claim


def volume_zone(pod: Object, node: Object, world: World) -> list[str]:
    wanted = []
    for name in _plain_claims(pod):
        claim = _claim(world, name)
        volume_name = claim["spec"].get("volumeName", "")
        if not volume_name:
            kind = _class(world, _class_name(claim))
            if not _class_name(claim):
                raise Hopeless("PersistentVolumeClaim had no pv name and storageClass name")
            if kind is None:
                raise Hopeless(f'storageclass.storage.k8s.io "{_class_name(claim)}" not found')
            if kind["volumeBindingMode"] != "WaitForFirstConsumer":
                raise Hopeless("PersistentVolume had no name")
            continue
        volume = _volume(world, volume_name)
        if volume is None:
            raise Hopeless(f'persistentvolume "{volume_name}" not found')
        for label in (OLD_ZONE, OLD_REGION, ZONE, REGION):
            zones = [zone.strip() for zone in volume["metadata"]["labels"].get(label, "").split("__")]
            # A list with an empty name in it says nothing.
            if "" not in zones:
                wanted.append((label, zones))
    labels = node["metadata"]["labels"]
    if not any(label in labels for label in (OLD_ZONE, OLD_REGION, ZONE, REGION)):
        return []
    newer = {OLD_ZONE: ZONE, OLD_REGION: REGION}
    for label, zones in wanted:
        here = labels[label] if label in labels else labels.get(newer.get(label, label))
        if here not in zones:
            return [NO_ZONE]
    return []


FILTERS: dict[str, Callable[[Object, Object, World], list[str]]] = {
    "VolumeRestrictions": volume_restrictions,
    "NodeVolumeLimits": node_volume_limits,
    "VolumeBinding": volume_binding,
    "VolumeZone": volume_zone,
}


def _plain_claims(pod: Object) -> list[str]:
    volumes = pod["spec"].get("volumes", [])
    return [one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one]


def _all_claims(pod: Object) -> Iterator[tuple[str, bool]]:
    """Yield the names of claims, and whether each is made along with the pod."""
    for one in pod["spec"].get("volumes", []):
        if "persistentVolumeClaim" in one:
            yield one["persistentVolumeClaim"]["claimName"], False
        elif "ephemeral" in one:
            yield f"{pod['metadata']['name']}-{one['name']}", True


def _pods_on(node: Object, world: World) -> list[Object]:
    return [pod for pod in world.pods if pod["spec"]["nodeName"] == node["metadata"]["name"]]


def _claim(world: World, name: str) -> Object:
    for claim in world.claims:
        if claim["metadata"]["name"] == name:
            return claim
    raise Hopeless(f'persistentvolumeclaim "{name}" not found')


def _volume(world: World, name: str) -> Object | None:
    return next((one for one in world.volumes if one["metadata"]["name"] == name), None)


def _class(world: World, name: str) -> Object | None:
    return next((one for one in world.classes if one["metadata"]["name"] == name), None)


def _class_name(claim: Object) -> str:
    return str(_annotations(claim).get(CLASS) or claim["spec"].get("storageClassName") or "")


def _annotations(claim: Object) -> dict[str, str]:
    found: dict[str, str] = claim["metadata"].get("annotations", {})
    return found


def _reaches(volume: Object, node: Object) -> bool:
    affinity = volume["spec"].get("nodeAffinity")
    if affinity is None:
        return True
    labels = node["metadata"]["labels"]
    return any(
        all((labels.get(one["key"]) in one["values"]) == (one["operator"] == "In") for one in term["matchExpressions"])
        for term in affinity["required"]["nodeSelectorTerms"]
    )


def _size(claim: Object) -> int:
    return _gibibytes(claim["spec"]["resources"]["requests"]["storage"])


def _gibibytes(text: str) -> int:
    return int(text.removesuffix("Gi"))
