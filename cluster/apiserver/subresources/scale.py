"""The scale subresource: replicas of a workload, whatever its kind."""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver import bodies, patching, views
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.options import write_options
from oarlock.cluster.apiserver.writing import Writer
from oarlock.cluster.objects import scale
from oarlock.cluster.objects.resources import Resource

Obj = dict[str, Any]
_KIND = ("autoscaling", "v1", "Scale")
RESOURCE = Resource(*_KIND, "scales", "scale", namespaced=True)
"""What a Scale is printed as; it is served below other resources only."""


def shown(call: Call, entry: Entry) -> Obj:
    """Return the object's Scale."""
    return scale.to_scale(call.resource, views.parsed(call.resource, entry))


async def update(call: Call, writer: Writer) -> Obj:
    """Replace the Scale by the body's. Raises ApiError 400, 404, 409, 422."""
    wanted = write_options("UpdateOptions", call.request.query)
    given = await bodies.read_kind(call, wanted, *_KIND)

    def compute(current: Obj, _: Entry) -> Obj:
        return scale.from_scale(call.resource, current, given)

    # The rewrite is one of the whole object, in which only the replicas differ.
    written = await writer.rewrite(call, compute, wanted, subresource="")
    return shown(call, written.entry)


async def patch(call: Call, writer: Writer) -> Obj:
    """Patch the Scale."""
    wanted = write_options("PatchOptions", call.request.query)
    change = patching.Patch(call, wanted, await call.request.read())

    def compute(current: Obj, _: Entry) -> Obj:
        return scale.from_scale(call.resource, current, change.apply(scale.to_scale(call.resource, current), *_KIND))

    written = await writer.rewrite(call, compute, wanted, subresource="")
    change.warn()
    return shown(call, written.entry)
