"""ControllerRevisions: the templates that a StatefulSet or DaemonSet had, numbered.

Source: upstream's pkg/controller/history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oarlock.actors.controllers.actions import Action, Create, Delete, Patch
from oarlock.actors.controllers.ownership import controller_reference
from oarlock.actors.controllers.revisions import template_hash
from oarlock.actors.controllers.view import View

Object = dict[str, Any]


@dataclass(frozen=True)
class History:
    """The revisions of one workload, oldest first; `update` is the one of its present template."""

    all: Sequence[Object]
    update: Object
    actions: Sequence[Action]


def recall(
    view: View,
    owner: Object,
    label: str,
    annotations: Mapping[str, str] | None = None,
) -> History:
    """Return the owner's revisions; `actions` make or renumber the present one where needed.

    `label` is the label that carries the hash.
    """
    held = sorted(
        view.controlled("controllerrevisions", owner), key=lambda one: (one["revision"], one["metadata"]["name"])
    )
    template = owner["spec"]["template"]
    newest = held[-1]["revision"] if held else 0
    found = next((one for one in held if template_of(one) == template), None)
    if found is None:
        made = _revision(owner, label, newest + 1, annotations)
        return History([*held, made], made, [Create(made)])
    if found["revision"] < newest:
        raised = {**found, "revision": newest + 1}
        others = [one for one in held if one is not found]
        return History([*others, raised], raised, [Patch(found, {"revision": newest + 1})])
    return History(held, found, [])


def template_of(revision: Object) -> Object:
    """Return the pod template that a revision keeps."""
    template = dict(((revision.get("data") or {}).get("spec") or {}).get("template") or {})
    template.pop("$patch", None)
    return template


def truncate(owner: Object, revisions: Sequence[Object], in_use: set[str]) -> list[Action]:
    """Return the deletion of the oldest unused revisions beyond the history limit."""
    idle = [one for one in revisions if one["metadata"]["name"] not in in_use and "uid" in one["metadata"]]
    limit = owner["spec"].get("revisionHistoryLimit", 10)
    return [Delete(one) for one in idle[: max(0, len(idle) - limit)]]


def _revision(owner: Object, label: str, number: int, annotations: Mapping[str, str] | None) -> Object:
    template = owner["spec"]["template"]
    mark = template_hash(template, (owner.get("status") or {}).get("collisionCount") or 0)
    labels = {**((template.get("metadata") or {}).get("labels") or {}), label: mark}
    metadata: Object = {
        "name": f"{owner['metadata']['name']}-{mark}",
        "namespace": owner["metadata"]["namespace"],
        "labels": labels,
        "ownerReferences": [controller_reference(owner)],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    data = {"spec": {"template": {**template, "$patch": "replace"}}}
    kind = {"apiVersion": "apps/v1", "kind": "ControllerRevision"}
    return {**kind, "metadata": metadata, "data": data, "revision": number}
