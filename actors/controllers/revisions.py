"""A Deployment's revisions: which ReplicaSet is the new one, its name, and the annotations that number them.

Source: upstream's deployment/util/deployment_util.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from oarlock.actors.controllers.ownership import controller_reference
from oarlock.actors.controllers.rollout import DESIRED, MAX, Bounds
from oarlock.actors.controllers.view import NAME_ALPHABET

Object = dict[str, Any]

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
TEMPLATE_HASH = "pod-template-hash"
_HISTORY_CHARS_MAX = 2000
_OWN_ANNOTATIONS = {
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
}


def template_hash(template: Mapping[str, Any], collisions: int = 0) -> str:
    """Return what stands for a pod template in names, the same for all templates that count as the same one.

    `collisions` gives another hash to the same template. The form is upstream's, the function ours: a number of 32 bits
    as `safely_spelt` spells it.
    """
    plain = unhashed(template)
    text = orjson.dumps([plain, collisions] if collisions else plain, option=orjson.OPT_SORT_KEYS)
    return safely_spelt(int.from_bytes(hashlib.sha256(text).digest()[:4], "big"))


def safely_spelt(number: int) -> str:
    """Return a number's digits spelt so that they make no bad words. Source: apimachinery's SafeEncodeString."""
    return "".join(NAME_ALPHABET[ord(digit) % len(NAME_ALPHABET)] for digit in str(number))


def same_template(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two pod templates differ in nothing but the hash label."""
    return unhashed(one) == unhashed(other)


def unhashed(template: Mapping[str, Any]) -> Object:
    """Return a pod template without what a Deployment's ReplicaSet adds to it, and without what is empty."""
    metadata = dict(template.get("metadata") or {})
    metadata.pop("creationTimestamp", None)
    metadata["labels"] = {
        name: value for name, value in (metadata.get("labels") or {}).items() if name != TEMPLATE_HASH
    }
    return {**template, "metadata": {name: value for name, value in metadata.items() if value}}


def revision_of(obj: Mapping[str, Any]) -> int:
    """Return the revision that an object's annotation names, 0 when it has none."""
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def by_age(sets: Iterable[Object]) -> list[Object]:
    """Return ReplicaSets oldest first."""
    return sorted(sets, key=lambda one: (one["metadata"].get("creationTimestamp") or "", one["metadata"]["name"]))


def find_new(deployment: Mapping[str, Any], sets: Iterable[Object]) -> Object | None:
    """Return the oldest ReplicaSet whose template is the Deployment's, or None."""
    template = deployment["spec"]["template"]
    return next((one for one in by_age(sets) if same_template(one["spec"]["template"], template)), None)


def next_revision(old: Sequence[Object]) -> int:
    """Return the revision after all of the old ReplicaSets'."""
    return max((revision_of(one) for one in old), default=0) + 1


def new_replica_set(deployment: Object, revision: int, limit: Bounds, size: int) -> Object:
    """Return the ReplicaSet that is to run the Deployment's present template."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    template = spec["template"]
    mark = template_hash(template, (deployment.get("status") or {}).get("collisionCount", 0))
    labels = {**((template.get("metadata") or {}).get("labels") or {}), TEMPLATE_HASH: mark}
    selector = spec["selector"]
    made: Object = {
        "replicas": size,
        "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), TEMPLATE_HASH: mark}},
        "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
    }
    if spec.get("minReadySeconds"):
        made["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name']}-{mark}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": {**_inherited(deployment), REVISION: str(revision), **size_annotations(limit)},
            "ownerReferences": [controller_reference(deployment)],
        },
        "spec": made,
    }


def size_annotations(limit: Bounds) -> dict[str, str]:
    """Return the annotations that tell a later scaling for which Deployment size a ReplicaSet was sized."""
    return {DESIRED: str(limit.replicas), MAX: str(limit.most)}


def annotations_for(deployment: Object, replica_set: Object, revision: int) -> dict[str, str]:
    """Return the annotations of the new ReplicaSet: the Deployment's own, and its revision raised to `revision`.

    A revision that it had before goes to its history, as after a rollback.
    """
    held: dict[str, str] = replica_set["metadata"].get("annotations") or {}
    new = {**held, **_inherited(deployment)}
    before = held.get(REVISION, "")
    if revision_of(replica_set) >= revision:
        return new
    new[REVISION] = str(revision)
    if before:
        history = [one for one in (held.get(HISTORY) or "").split(",") if one]
        history.append(before)
        while len(",".join(history)) > _HISTORY_CHARS_MAX:
            history.pop(0)
        new[HISTORY] = ",".join(history)
    return new


def _inherited(deployment: Object) -> dict[str, str]:
    annotations = deployment["metadata"].get("annotations") or {}
    return {name: value for name, value in annotations.items() if name not in _OWN_ANNOTATIONS}
