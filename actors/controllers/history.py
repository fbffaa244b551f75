"""ControllerRevisions: the templates that a StatefulSet or DaemonSet had, numbered.

Source: upstream's pkg/controller/history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from oarlock.actors.controllers.actions import Action, Create, Delete, Patch
from oarlock.actors.controllers.ownership import claim, controller_reference, selector_of
from oarlock.actors.controllers.revisions import safely_spelt
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]

_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193
#: Go's JSON keeps these out of HTML.
_GO_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


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
    hash_of: Callable[[Object, int], str],
    annotations: Mapping[str, str] | None = None,
) -> History:
    """Return the owner's revisions; `actions` make or renumber the present one where needed.

    `label` is the label that carries the hash, `hash_of(template, collisions)` makes it.
    """
    found = claim(view, "controllerrevisions", owner, selector_of(owner))
    collisions = (owner.get("status") or {}).get("collisionCount") or 0
    held = sorted(found.owned, key=lambda one: (one["revision"], one["metadata"]["name"]))
    template = owner["spec"]["template"]
    newest = held[-1]["revision"] if held else 0
    same = [one for one in held if template_of(one) == template]
    if not same:
        made = _revision(owner, label, hash_of(template, collisions), newest + 1, annotations)
        # Another template may have the same hash: the next one is tried.
        while view.get("controllerrevisions", key_of(made)) is not None:
            collisions += 1
            made = _revision(owner, label, hash_of(template, collisions), newest + 1, annotations)
        return History([*held, made], made, [*found.patches, Create(made)])
    present = same[-1]
    if present["revision"] < newest:
        raised = {**present, "revision": newest + 1}
        others = [one for one in held if one is not present]
        return History([*others, raised], raised, [*found.patches, Patch(present, {"revision": newest + 1})])
    return History(held, present, found.patches)


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


def data_hash(template: Object, collisions: int) -> str:
    """Return the hash that upstream gives to a revision of the template: FNV-1 over its data as Go writes them.

    Source: upstream's history.HashControllerRevision.
    """
    text = orjson.dumps(_data(template), option=orjson.OPT_SORT_KEYS)
    for plain, escaped in _GO_ESCAPES:
        text = text.replace(plain, escaped)
    number = _FNV_OFFSET
    for byte in text + str(collisions).encode():
        number = (number * _FNV_PRIME & 0xFFFFFFFF) ^ byte
    return safely_spelt(number)


def _data(template: Object) -> Object:
    return {"spec": {"template": {"metadata": {}, **template, "$patch": "replace"}}}


def _revision(
    owner: Object,
    label: str,
    mark: str,
    number: int,
    annotations: Mapping[str, str] | None,
) -> Object:
    template = owner["spec"]["template"]
    labels = {**((template.get("metadata") or {}).get("labels") or {}), label: mark}
    metadata: Object = {
        "name": f"{owner['metadata']['name']}-{mark}",
        "namespace": owner["metadata"]["namespace"],
        "labels": labels,
        "ownerReferences": [controller_reference(owner)],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    kind = {"apiVersion": "apps/v1", "kind": "ControllerRevision"}
    return {**kind, "metadata": metadata, "data": _data(template), "revision": number}
