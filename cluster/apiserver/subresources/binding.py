"""pods/binding, and bindings, which names the pod in the body: the scheduler's decision, taken once.

Source: upstream's pkg/registry/core/pod/storage (assignPod, LegacyBindingREST).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from oarlock.cluster.apiserver import bodies, clock
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.options import write_options
from oarlock.cluster.apiserver.writing import Writer
from oarlock.cluster.objects import resources, status
from oarlock.cluster.objects.status import Cause

Obj = dict[str, Any]


async def bind(call: Call, writer: Writer, now: clock.Clock) -> Obj:
    """Put the pod on the node that the body names. Raises ApiError 400, 404, 409 (bound, deleted), 422."""
    wanted = write_options("CreateOptions", call.request.query)
    binding = await bodies.read_kind(call, wanted, "", "v1", "Binding")
    metadata = binding["metadata"]
    if call.resource.kind == "Binding":
        call = _of_pod(call, metadata.get("name") or "")
    elif metadata.get("name") and metadata["name"] != call.info.name:
        raise status.bad_request("name in URL does not match name in Binding object")
    bodies.check_scope(call, binding)
    target = binding.get("target") or {}
    node = target.get("name") or ""
    _check_target(metadata.get("name", ""), target)

    def compute(pod: Obj, _: Entry) -> Obj:
        _check_pod(metadata, pod)
        pod["spec"]["nodeName"] = node
        annotations = metadata.get("annotations")
        if annotations:
            pod["metadata"].setdefault("annotations", {}).update(annotations)
        told = pod.setdefault("status", {})
        told["conditions"] = _scheduled(told.get("conditions") or (), clock.text(now()))
        # What was hoped for has come to pass, or not. Source: ClearingNominatedNodeNameAfterBinding, on since v1.35.
        told.pop("nominatedNodeName", None)
        return pod

    await writer.rewrite(call, compute, wanted, subresource="binding")
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _of_pod(call: Call, name: str) -> Call:
    """Return the call as if it had been made to the named pod's own binding."""
    pods = resources.lookup("", "v1", "pods")
    assert pods is not None
    info = replace(call.info, resource=pods.plural, name=name, subresource="binding")
    return Call(call.request, info, pods, call.user)


def _check_target(name: str, target: Obj) -> None:
    causes = []
    if target.get("kind") not in (None, "", "Node"):
        quoted = f'Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"'
        causes.append(Cause("FieldValueNotSupported", quoted, "target.kind"))
    if not target.get("name"):
        causes.append(Cause("FieldValueRequired", "Required value", "target.name"))
    if causes:
        raise status.invalid("Binding", "", name, causes)


def _check_pod(metadata: Obj, pod: Obj) -> None:
    name = pod["metadata"]["name"]
    for key in ("uid", "resourceVersion"):
        if metadata.get(key) and metadata[key] != pod["metadata"].get(key):
            raise status.conflict("pods/binding", name, f"Precondition failed: {key} does not match")
    if pod["metadata"].get("deletionTimestamp"):
        raise status.conflict("pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    bound = pod["spec"].get("nodeName")
    if bound:
        raise status.conflict("pods/binding", name, f'pod {name} is already assigned to node "{bound}"')
    if pod["spec"].get("schedulingGates"):
        raise status.conflict("pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")


def _scheduled(conditions: Sequence[Obj], time: str) -> list[Obj]:
    """Return the conditions with PodScheduled true, where it stood before if it did."""
    condition: Obj = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": time}
    if not any(one.get("type") == "PodScheduled" for one in conditions):
        return [*conditions, condition]
    return [condition if one.get("type") == "PodScheduled" else one for one in conditions]
