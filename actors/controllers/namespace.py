"""Empty a namespace that is being deleted, then let it go.

Pods go first, and nothing else before the last of them is gone: what they use must outlive them. Events go last, so
that a user can read why it takes long. Source: upstream's namespaced_resources_deleter.go and
status_condition_utils.go for order, conditions and wording; KEP-5080.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from oarlock.actors.controllers import conditions
from oarlock.actors.controllers.kinds import Kinds, discover
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]

FINALIZER = "kubernetes"
_WAIT_S = 0.5
_GONE = (404, 405)
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_PODS, _EVENTS = "pods", "events"
_log = logging.getLogger(__name__)

_KINDS = (
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
)


@dataclass
class Found:
    """What a look through a namespace found: what is left, by `plural.group`, and what went wrong."""

    left: Counter[str] = field(default_factory=Counter)
    finalizers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    undiscovered: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the namespace may go."""
        return not (self.left or self.failures or self.undiscovered)


async def empty(client: ApiClient, namespace: Object) -> float | None:
    """Delete everything in a terminating namespace, then the namespace.

    Returns the seconds after which to look again, None when it is gone. Raises ApiError, Unreachable.
    """
    name = namespace["metadata"]["name"]
    if FINALIZER not in (namespace["spec"].get("finalizers") or ()):
        return None
    kinds = await discover(client)
    found = Found(undiscovered=kinds.stale)
    for step in order(kinds):
        for resource in step:
            await _clear(client, resource, name, found)
        if not found.is_empty:
            break
    await _tell(client, namespace, verdicts(found))
    if not found.is_empty:
        return _WAIT_S
    fresh = await client.get(f"/api/v1/namespaces/{name}")
    keep = [one for one in fresh["spec"].get("finalizers") or () if one != FINALIZER]
    await client.update(f"/api/v1/namespaces/{name}/finalize", {**fresh, "spec": {**fresh["spec"], "finalizers": keep}})
    return None


def is_due(namespace: Mapping[str, Any]) -> bool:
    """Whether a namespace is being deleted."""
    return bool(namespace["metadata"].get("deletionTimestamp"))


def order(kinds: Kinds) -> list[list[Resource]]:
    """Return what a namespace can hold, in the steps in which it is deleted."""
    content = [one for one in kinds if one.namespaced and {"list", "delete"} <= one.verbs]
    first, last = ([one for one in content if (one.group, one.plural) == ("", plural)] for plural in (_PODS, _EVENTS))
    return [first, [one for one in content if one not in (*first, *last)], last]


def verdicts(found: Found) -> list[Object]:
    """Return the conditions that tell a user what a namespace's deletion waits for (without times)."""
    said: dict[str, tuple[str, str]] = {}
    if found.undiscovered:
        words = ", ".join(f"{one}: stale GroupVersion discovery: {one}" for one in sorted(found.undiscovered))
        message = (
            f"Discovery failed for some groups, {len(found.undiscovered)} failing: "
            f"unable to retrieve the complete list of server APIs: {words}"
        )
        said["NamespaceDeletionDiscoveryFailure"] = ("DiscoveryFailed", message)
    if found.failures:
        words = ", ".join(sorted(found.failures))
        message = f"Failed to delete all resource types, {len(found.failures)} remaining: {words}"
        said["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", message)
    if found.left:
        words = _counted(found.left, "has {} resource instances")
        said["NamespaceContentRemaining"] = ("SomeResourcesRemain", f"Some resources are remaining: {words}")
    if found.finalizers:
        words = _counted(found.finalizers, "in {} resource instances")
        message = f"Some content in the namespace has finalizers remaining: {words}"
        said["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", message)
    made = []
    for kind, reason, message in _KINDS:
        status = "True" if kind in said else "False"
        reason, message = said.get(kind, (reason, message))
        made.append({"type": kind, "status": status, "reason": reason, "message": message})
    return made


def _counted(counts: Mapping[str, int], words: str) -> str:
    return ", ".join(sorted(f"{name} {words.format(count)}" for name, count in counts.items()))


async def _clear(client: ApiClient, resource: Resource, namespace: str, found: Found) -> None:
    """Delete a collection and note what is still there."""
    try:
        left = await _cleared(client, resource, namespace)
    except ApiError as error:
        if error.code not in _GONE:
            found.failures.append(error.message)
        return
    if not left:
        return
    found.left[f"{resource.plural}.{resource.group}"] = len(left)
    finalizers = Counter(one for obj in left for one in obj["metadata"].get("finalizers") or ())
    found.finalizers += finalizers
    if not finalizers and not any(obj["metadata"].get("deletionTimestamp") for obj in left):
        version = f"{resource.group}/{resource.version}, Resource={resource.plural}"
        found.failures.append(f"unexpected items still remain in namespace: {namespace} for gvr: {version}")


async def _cleared(client: ApiClient, resource: Resource, namespace: str) -> list[Object]:
    path = resource.path(namespace)
    found = await client.list(path, accept=_METADATA_LIST)
    if not found["items"]:
        return []
    if "deletecollection" in resource.verbs:
        await client.delete(path, {"propagationPolicy": "Background"})
    else:
        for obj in found["items"]:
            await _delete(client, f"{path}/{obj['metadata']['name']}")
    items: list[Object] = (await client.list(path, accept=_METADATA_LIST))["items"]
    return items


async def _delete(client: ApiClient, path: str) -> None:
    try:
        await client.delete(path, {"propagationPolicy": "Background"})
    except ApiError as error:
        if error.code not in _GONE:
            raise


async def _tell(client: ApiClient, namespace: Object, wanted: Sequence[Object]) -> None:
    """Write the conditions, when they differ from those written before."""
    path = f"/api/v1/namespaces/{namespace['metadata']['name']}"
    fresh = await client.get(path)
    held = list((fresh.get("status") or {}).get("conditions") or [])
    new: list[Object] = []
    for one in wanted:
        old = conditions.find(held, one["type"])
        changed = old is None or old["status"] != one["status"]
        stamp = _now() if changed or old is None else old["lastTransitionTime"]
        new.append({**one, "lastTransitionTime": stamp})
    if new != held:
        await client.update(f"{path}/status", {**fresh, "status": {**(fresh.get("status") or {}), "conditions": new}})


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
