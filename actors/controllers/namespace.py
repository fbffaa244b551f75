"""Empty a namespace that is being deleted, then let it go.

Source: upstream's namespaced_resources_deleter.go: order, conditions and wording.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from oarlock.actors.controllers import conditions
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.objects.resources import RESOURCES, Resource
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]

FINALIZER = "kubernetes"
_WAIT_S = 0.5
_GONE = (404, 405)
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_log = logging.getLogger(__name__)

#: What can be emptied: every namespaced collection stored under its own name, pods first so that they stop early.
CONTENTS: Sequence[Resource] = sorted(
    (
        one
        for one in RESOURCES
        if one.namespaced
        and {"list", "delete"} <= one.verbs
        and one.stored_as == (one.group, one.version)
        and not (one.group == "" and one.plural == "events")
    ),
    key=lambda one: (one.plural != "pods", one.group, one.plural),
)
EVENTS = next(one for one in RESOURCES if one.group == "" and one.plural == "events")

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


async def empty(client: ApiClient, namespace: Object) -> float | None:
    """Delete everything in a terminating namespace, then the namespace.

    Returns the seconds after which to look again, None when it is gone. Raises ApiError, Unreachable.
    """
    name = namespace["metadata"]["name"]
    if FINALIZER not in (namespace["spec"].get("finalizers") or ()):
        return None
    left: dict[str, int] = {}
    finalizers: dict[str, int] = {}
    failures: list[str] = []
    for resource in CONTENTS:
        try:
            remaining = await _clear(client, resource, name)
        except ApiError as error:
            failures.append(f"{resource.plural}: {error.message}")
            continue
        if remaining:
            left[resource.qualified] = len(remaining)
        for obj in remaining:
            for finalizer in obj["metadata"].get("finalizers") or ():
                finalizers[finalizer] = finalizers.get(finalizer, 0) + 1
    if left or failures:
        await _tell(client, namespace, verdicts(left, finalizers, failures))
        return _WAIT_S
    await client.delete(EVENTS.path(name))
    fresh = await client.get(f"/api/v1/namespaces/{name}")
    keep = [one for one in fresh["spec"].get("finalizers") or () if one != FINALIZER]
    await client.update(f"/api/v1/namespaces/{name}/finalize", {**fresh, "spec": {**fresh["spec"], "finalizers": keep}})
    return None


def verdicts(left: Mapping[str, int], finalizers: Mapping[str, int], failures: Sequence[str]) -> list[Object]:
    """Return the conditions that tell a user what a namespace's deletion waits for (without times)."""
    said: dict[str, tuple[str, str]] = {}
    if failures:
        message = f"Failed to delete all resource types, {len(failures)} remaining: {', '.join(sorted(failures))}"
        said["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", message)
    if left:
        words = ", ".join(f"{plural} has {count} resource instances" for plural, count in sorted(left.items()))
        said["NamespaceContentRemaining"] = ("SomeResourcesRemain", f"Some resources are remaining: {words}")
    if finalizers:
        words = ", ".join(f"{one} in {count} resource instances" for one, count in sorted(finalizers.items()))
        message = f"Some content in the namespace has finalizers remaining: {words}"
        said["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", message)
    made = []
    for kind, reason, message in _KINDS:
        status = "True" if kind in said else "False"
        reason, message = said.get(kind, (reason, message))
        made.append({"type": kind, "status": status, "reason": reason, "message": message})
    return made


async def _clear(client: ApiClient, resource: Resource, namespace: str) -> list[Object]:
    """Delete a collection and return what is still there."""
    path = resource.path(namespace)
    try:
        found = await client.list(path, accept=_METADATA_LIST)
        if not found["items"]:
            return []
        if "deletecollection" in resource.verbs:
            await client.delete(path, {"propagationPolicy": "Background"})
        else:
            for obj in found["items"]:
                await client.delete(f"{path}/{obj['metadata']['name']}")
        items: list[Object] = (await client.list(path, accept=_METADATA_LIST))["items"]
    except ApiError as error:
        if error.code in _GONE:
            return []
        raise
    return items


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
