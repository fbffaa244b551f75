"""What an object of a kind has before anybody wrote it: the structs and lists that upstream always writes.

A creation is compared with this, so that nobody owns a container that is simply always there.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from oarlock.cluster.objects import defaulting, schemas
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.schemas import Schema

#: Structs that are written even when they are empty, below those that `defaulting` lists.
_STRUCTS: Final = frozenset({"PodTemplateSpec", "PodSpec", "ObjectMeta", "JobTemplateSpec", "JobSpec"})


def of(resource: Resource) -> dict[str, Any]:
    """Return the empty object of a kind. Shared: not to be changed."""
    return {"metadata": {}} if resource.custom is not None else _built_in(resource)


@cache
def _built_in(resource: Resource) -> dict[str, Any]:
    schema = schemas.schema_for(resource)
    made: dict[str, Any] = {"metadata": {}, **_required(schema)}
    for path in defaulting.always_written(resource):
        holder, known = made, schema
        for step in path.split("."):
            below = known.field(step)
            assert below is not None
            if not isinstance(holder.get(step), dict):
                holder[step] = _required(below)
            holder, known = holder[step], below
    return made


def _required(schema: Schema) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, field in schema.fields.items():
        if field.kind == "object" and field.type_name.rpartition(".")[2] in _STRUCTS:
            made[name] = _required(field)
        elif name in schema.required and name not in ("apiVersion", "kind"):
            made[name] = None
    return made
