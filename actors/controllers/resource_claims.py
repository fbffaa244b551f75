"""Claims of devices for pods: made from templates, freed of pods that are gone, given back and deleted when unused.

Source: upstream's pkg/controller/resourceclaim. Two controllers: one looks at pods, the other at claims.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from oarlock.actors.controllers.actions import (
    Action,
    Answer,
    Ask,
    Create,
    Delete,
    Patch,
    Question,
    RecordEvent,
    Update,
    UpdateStatus,
)
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.ownership import controller_reference, is_controlled_by
from oarlock.actors.controllers.view import View, controller_of
from oarlock.cluster.client.cache import key_of
from oarlock.cluster.client.http import STRATEGIC_PATCH
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]
FINALIZER = "resource.kubernetes.io/delete-protection"
MADE_FOR = "resource.kubernetes.io/pod-claim-name"
"""Annotation: which of its owner's claims a generated claim is."""
_BASE_MAX = 57
"""What leaves space for a hyphen and five random characters."""
_CONSUMERS_MAX = 256
_ENDED = frozenset(("Succeeded", "Failed"))
_NOT_FOUND = 404


def reconcile_pod(key: str, view: View) -> Iterable[Action]:
    """Return the claims that the pod still lacks, what its status says of them, and reservations it has to have."""
    pod = view.get("pods", key)
    if pod is None or pod["metadata"].get("deletionTimestamp"):
        return
    made: list[Object] = []
    for wanted in pod["spec"].get("resourceClaims") or ():
        name = wanted.get("resourceClaimTemplateName")
        if name is None or _has(pod, wanted, view):
            continue
        claim = _orphan(pod, wanted["name"], view)
        if claim is None:
            template = view.get("resourceclaimtemplates", f"{pod['metadata']['namespace']}/{name}")
            if template is None:
                yield _failed(pod, wanted["name"], _missing(name))
                break
            claim = _generated(pod, wanted["name"], template, view)
            yield Create(claim, failed=_failed(pod, wanted["name"], "create ResourceClaim : {error}"))
        made.append({"name": wanted["name"], "resourceClaimName": claim["metadata"]["name"]})
    if made:
        change = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"resourceClaimStatuses": made}}
        yield Patch(pod, change, STRATEGIC_PATCH, "status")
    if pod["spec"].get("nodeName") and (pod.get("status") or {}).get("phase") not in _ENDED:
        yield from _reservations(pod, view)


def _missing(template: str) -> str:
    return f'resource claim template "{template}": resourceclaimtemplate.resource.k8s.io "{template}" not found'


def _failed(pod: Object, name: str, why: str) -> RecordEvent:
    return RecordEvent(pod, "FailedResourceClaimCreation", f"PodResourceClaim {name}: {why}", "Warning")


def claim_names(pod: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of a pod's claims by what the pod calls them; those that aren't made yet are left out."""
    status = pod.get("status") or {}
    made = {one["name"]: one.get("resourceClaimName") or "" for one in status.get("resourceClaimStatuses") or ()}
    found = {
        one["name"]: one.get("resourceClaimName") or made.get(one["name"], "")
        for one in pod["spec"].get("resourceClaims") or ()
    }
    found[""] = (status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName") or ""
    return {name: claim for name, claim in found.items() if claim}


def _has(pod: Object, wanted: Object, view: View) -> bool:
    """Whether the claim is there and the pod's own, or was left out on purpose."""
    for one in (pod.get("status") or {}).get("resourceClaimStatuses") or ():
        if one["name"] == wanted["name"]:
            if not one.get("resourceClaimName"):
                return True
            claim = view.get("resourceclaims", f"{pod['metadata']['namespace']}/{one['resourceClaimName']}")
            return claim is not None and is_controlled_by(claim, pod)
    return False


def _orphan(pod: Object, name: str, view: View) -> Object | None:
    """Return the claim that was made already, if only the pod's status doesn't say so."""
    for claim in view.controlled("resourceclaims", pod):
        if (claim["metadata"].get("annotations") or {}).get(MADE_FOR) == name:
            return claim
    return None


def _generated(pod: Object, name: str, template: Object, view: View) -> Object:
    spec, base = template["spec"], _base(pod["metadata"]["name"], name)
    held = spec.get("metadata") or {}
    metadata: Object = {
        "name": f"{base}{view.suffix()}",
        "generateName": base,
        "namespace": pod["metadata"]["namespace"],
        "annotations": {**(held.get("annotations") or {}), MADE_FOR: name},
        "ownerReferences": [controller_reference(pod)],
    }
    if held.get("labels"):
        metadata["labels"] = dict(held["labels"])
    kind = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim"}
    return {**kind, "metadata": metadata, "spec": copy.deepcopy(spec["spec"])}


def _base(pod: str, claim: str) -> str:
    """Both names in front of the random end, each cut in proportion if they are too long together."""
    base = f"{pod}-{claim}-"
    if len(base) <= _BASE_MAX:
        return base
    return f"{pod[: len(pod) * _BASE_MAX // len(base)]}-{claim[: len(claim) * _BASE_MAX // len(base)]}"


def _reservations(pod: Object, view: View) -> Iterator[Action]:
    """A pod that came to its node without the scheduler uses its claims all the same."""
    metadata = pod["metadata"]
    mine = {"resource": "pods", "name": metadata["name"], "uid": metadata["uid"]}
    for name in claim_names(pod).values():
        claim = view.get("resourceclaims", f"{metadata['namespace']}/{name}")
        status = (claim or {}).get("status") or {}
        reserved = status.get("reservedFor") or []
        if claim is None or status.get("allocation") is None or len(reserved) >= _CONSUMERS_MAX:
            continue
        if all(one["uid"] != metadata["uid"] for one in reserved):
            yield UpdateStatus({**claim, "status": {**status, "reservedFor": [*reserved, mine]}})


def reconcile_claim(key: str, view: View) -> Iterable[Action]:
    """Return what becomes of a claim once pods that used it are gone."""
    claim = view.get("resourceclaims", key)
    if claim is None:
        return ()
    namespace = claim["metadata"]["namespace"]
    reserved = (claim.get("status") or {}).get("reservedFor") or ()
    pods = {one["uid"]: view.get("pods", f"{namespace}/{one['name']}") for one in reserved if _is_pod(one)}
    unseen = [one for one in reserved if _is_pod(one) and pods[one["uid"]] is None]
    if not unseen:
        return _decided(claim, pods, view)

    def then(answers: Sequence[Answer]) -> Iterable[Action]:
        for one, answer in zip(unseen, answers, strict=True):
            if isinstance(answer, ApiError):
                if answer.code != _NOT_FOUND:
                    raise answer
            else:
                pods[one["uid"]] = answer
        return _decided(claim, pods, view)

    # The scheduler may have seen a pod that this cache hasn't yet.
    return [Ask([Question(f"/api/v1/namespaces/{namespace}/pods/{one['name']}") for one in unseen], then)]


def _is_pod(consumer: Object) -> bool:
    return not consumer.get("apiGroup") and consumer.get("resource") == "pods"


def _uses(consumer: Object, pods: Mapping[str, Object | None]) -> bool:
    if not _is_pod(consumer):
        return True
    pod = pods[consumer["uid"]]
    return pod is not None and pod["metadata"]["uid"] == consumer["uid"] and not is_done(pod)


def is_done(pod: Object) -> bool:
    """Whether none of the pod's containers runs, or ever will."""
    if (pod.get("status") or {}).get("phase") in _ENDED:
        return True
    return bool(pod["metadata"].get("deletionTimestamp")) and not pod["spec"].get("nodeName")


def _decided(claim: Object, pods: Mapping[str, Object | None], view: View) -> Iterator[Action]:
    metadata, status = claim["metadata"], claim.get("status") or {}
    reserved = status.get("reservedFor") or ()
    valid = [one for one in reserved if _uses(one, pods)]
    protected = FINALIZER in (metadata.get("finalizers") or ())
    if len(valid) < len(reserved):
        kept = _without_devices(status) if protected and not valid else {**status, "reservedFor": valid}
        yield UpdateStatus({**claim, "status": kept})
        if protected and not valid:
            yield _unprotect(claim)
    elif protected and metadata.get("deletionTimestamp") and not valid:
        if status.get("allocation") is not None:
            yield UpdateStatus({**claim, "status": _without_devices(status)})
        yield _unprotect(claim)
    if not valid and not metadata.get("deletionTimestamp") and _is_abandoned(claim, view):
        yield Delete(claim)


def _without_devices(status: Object) -> Object:
    return {name: value for name, value in status.items() if name not in ("allocation", "devices", "reservedFor")}


def _unprotect(claim: Object) -> Ask:
    """Take the finalizer off, unless the claim has got devices again meanwhile."""
    metadata = claim["metadata"]
    path = f"/apis/resource.k8s.io/v1/namespaces/{metadata['namespace']}/resourceclaims/{metadata['name']}"

    def then(answers: Sequence[Answer]) -> Iterable[Action]:
        (found,) = answers
        if isinstance(found, ApiError):
            if found.code != _NOT_FOUND:
                raise found
            return []
        kept = [one for one in found["metadata"].get("finalizers") or () if one != FINALIZER]
        is_idle = (found.get("status") or {}).get("allocation") is None
        if not is_idle or found["metadata"]["uid"] != metadata["uid"]:
            return []
        kind = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim"}
        return [Update({**found, **kind, "metadata": {**found["metadata"], "finalizers": kept}})]

    return Ask([Question(path)], then)


def _is_abandoned(claim: Object, view: View) -> bool:
    """Whether the pod that it was made for is another by now, or done; one that isn't known may yet be seen."""
    owner = controller_of(claim)
    if owner is None or (owner.get("apiVersion"), owner.get("kind")) != ("v1", "Pod"):
        return False
    pod = view.get("pods", f"{claim['metadata']['namespace']}/{owner['name']}")
    return pod is not None and (pod["metadata"]["uid"] != owner["uid"] or is_done(pod))


def _pod_keys(plural: str, old: Object | None, new: Object | None, view: View, /) -> Iterable[Due]:
    if plural == "pods":
        return [Due(key_of(new))] if new is not None and new["spec"].get("resourceClaims") else []
    if plural == "resourceclaimtemplates":
        return _waiting(new, view) if new is not None and old is None else []
    claim = new or old or {}
    owner = controller_of(claim)
    users = [one["name"] for one in (claim.get("status") or {}).get("reservedFor") or () if _is_pod(one)]
    if owner is not None and owner.get("kind") == "Pod":
        users.append(owner["name"])
    namespace = claim["metadata"]["namespace"]
    return [Due(f"{namespace}/{name}") for name in dict.fromkeys(users)]


def _waiting(template: Object, view: View) -> Iterator[Due]:
    """Pods that were there before their template."""
    metadata = template["metadata"]
    for pod in view.list("pods", metadata["namespace"]):
        for one in pod["spec"].get("resourceClaims") or ():
            if one.get("resourceClaimTemplateName") == metadata["name"]:
                yield Due(key_of(pod))


def _claim_keys(plural: str, old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    if plural == "resourceclaims":
        return [Due(key_of(new))] if new is not None else []
    if new is not None and not is_done(new) and (old is None or old["metadata"]["uid"] == new["metadata"]["uid"]):
        return []
    pods = [one for one in (old, new) if one is not None]
    names = {(one["metadata"]["namespace"], name) for one in pods for name in claim_names(one).values()}
    return [Due(f"{namespace}/{name}") for namespace, name in sorted(names)]


POD_CLAIMS = Controller(
    name="resourceclaim",
    source="resource_claim",
    reads=("pods", "resourceclaims", "resourceclaimtemplates"),
    keys=_pod_keys,
    reconcile=reconcile_pod,
)
CLAIM_USERS = Controller(
    name="resourceclaim-users",
    source="resource_claim",
    reads=("resourceclaims", "pods"),
    keys=_claim_keys,
    reconcile=reconcile_claim,
)
