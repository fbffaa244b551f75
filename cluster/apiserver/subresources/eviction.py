"""pods/eviction: a deletion that disruption budgets may refuse.

Source: upstream's pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from oarlock.cluster.apiserver import bodies, clock
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.deleting import Deleter
from oarlock.cluster.apiserver.listing import Reader
from oarlock.cluster.apiserver.options import DeleteOptions, WriteOptions, write_options
from oarlock.cluster.apiserver.requests import RequestInfo
from oarlock.cluster.apiserver.writing import Writer
from oarlock.cluster.objects import resources, selectors, status
from oarlock.cluster.objects.resources import Resource

Obj = dict[str, Any]
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


async def evict(call: Call, reader: Reader, writer: Writer, deleter: Deleter, now: clock.Clock) -> Obj:
    """Delete the pod if every disruption budget over it allows. Raises ApiError 404, 409, 429, 500."""
    wanted = write_options("CreateOptions", call.request.query)
    eviction = await bodies.read_kind(call, wanted, "policy", "v1", "Eviction")
    name = eviction["metadata"].get("name")
    if name and name != call.info.name:
        raise status.bad_request("name in URL does not match name in Eviction object")
    given = eviction.get("deleteOptions") or {}
    preconditions = given.get("preconditions") or {}
    options = DeleteOptions(
        dry_run=wanted.dry_run or "All" in (given.get("dryRun") or ()),
        propagation=given.get("propagationPolicy") or "",
        grace_s=given.get("gracePeriodSeconds"),
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
    )
    pod = (await reader.get(call)).object()
    if not _unbudgeted(pod):
        await _spend(call, writer, pod, replace(wanted, dry_run=options.dry_run), clock.text(now()))
    await deleter.delete_object(call, call.key, call.info.name, options)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _unbudgeted(pod: Obj) -> bool:
    phase = pod.get("status", {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


async def _spend(call: Call, writer: Writer, pod: Obj, wanted: WriteOptions, time: str) -> None:
    resource = resources.lookup("policy", "v1", "poddisruptionbudgets")
    assert resource is not None
    prefix = resource.key_prefix + call.namespace.encode() + b"/"
    collection = writer.storage.cache.collection(resource.key_prefix)
    labels = pod["metadata"].get("labels")
    budgets = [entry.object() for entry in collection.between(prefix, prefix[:-1] + b"0")]
    covering = [one for one in budgets if selectors.from_object(one.get("spec", {}).get("selector")).matches(labels)]
    if len(covering) > 1:
        raise status.internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    for budget in covering:
        if not _healthy(pod) and budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
            continue
        name = budget["metadata"]["name"]
        info = _status_of(resource, call.namespace, name)
        target = Call(call.request, info, resource, call.user)
        await writer.rewrite(target, lambda current, _: _spent(current, pod["metadata"]["name"], time), wanted)


def _status_of(resource: Resource, namespace: str, name: str) -> RequestInfo:
    return RequestInfo(
        verb="update",
        path="",
        is_resource=True,
        group=resource.group,
        version=resource.version,
        namespace=namespace,
        resource=resource.plural,
        name=name,
        subresource="status",
    )


def _healthy(pod: Obj) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _spent(budget: Obj, pod_name: str, time: str) -> Obj:
    state = budget.setdefault("status", {})
    name = budget["metadata"]["name"]
    if state.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise status.too_many_requests(
            f"{_REFUSED} The disruption budget {name} is still being processed by the server.", 10
        )
    if state.get("disruptionsAllowed", 0) <= 0:
        error = status.too_many_requests(_REFUSED, 0)
        text = (
            f"The disruption budget {name} needs {state.get('desiredHealthy', 0)} healthy pods and has "
            f"{state.get('currentHealthy', 0)} currently"
        )
        error.details = {"causes": [{"reason": "DisruptionBudget", "message": text}]}
        raise error
    state["disruptionsAllowed"] -= 1
    state.setdefault("disruptedPods", {})[pod_name] = time
    return budget
