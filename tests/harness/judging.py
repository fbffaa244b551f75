"""What the rules of a kind say of an object that a client sends: decoded, defaulted, prepared and validated."""

from __future__ import annotations

import copy
import json
from typing import Any

from oarlock.cluster.objects import defaulting, strategy, validation
from oarlock.cluster.objects.decoding import decode
from oarlock.cluster.objects.resources import Resource, lookup
from oarlock.cluster.objects.status import Cause

Obj = dict[str, Any]
Told = list[tuple[str, str]]
"""(field, message) of each cause."""


def resource(path: str) -> Resource:
    """The resource `group/version/plural`; core has no group: `v1/pods`."""
    group, _, rest = path.rpartition("/")[0].rpartition("/")
    found = lookup(group, rest, path.rpartition("/")[2])
    assert found is not None, path
    return found


def new(path: str, body: Obj) -> Obj:
    """The object that a create of `body` would store, named `x` unless it says otherwise."""
    kind = resource(path)
    obj = decode(kind, json.dumps({**body, "metadata": {"name": "x", **body.get("metadata", {})}}).encode()).object
    obj["metadata"]["uid"] = "01ae1207-1c7a-4272-be7a-9351224d55f6"
    if kind.namespaced:
        obj["metadata"].setdefault("namespace", "default")
    defaulting.default(kind, obj)
    strategy.prepare_create(kind, obj)
    return obj


def created(path: str, body: Obj) -> Told:
    """What is wrong with a new object."""
    return told(validation.validate_create(resource(path), new(path, body)))


def updated(path: str, before: Obj, after: Obj, subresource: str = "") -> Told:
    """What is wrong with `after` where `before` stands; both are bodies of whole objects."""
    kind, old, obj = resource(path), new(path, before), new(path, after)
    if subresource:
        for one, body in ((old, before), (obj, after)):
            one["status"] = copy.deepcopy(body.get("status", {}))
            defaulting.default(kind, one)
    strategy.prepare_update(kind, obj, old, subresource)
    return told(validation.validate_update(kind, obj, old, subresource))


def told(causes: list[Cause]) -> Told:
    """Causes as tables in tests have them."""
    return [(cause.field, cause.message) for cause in causes]


def changed(body: Obj, path: str, value: Any = None) -> Obj:
    """A copy of `body` with one place changed: `spec/rules/0/verbs`; a value of None takes the place out."""
    made = json.loads(json.dumps(body))  # parts that stand in two places are two parts from here on
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    holder: Any = made
    for step in steps:
        holder = holder[step]
    if value is None:
        del holder[last]
    else:
        holder[last] = value
    return made
