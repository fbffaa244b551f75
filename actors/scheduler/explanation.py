"""Why a pod went where it did, or goes nowhere: every filter's verdict and every score, node by node. Pure.

Made from API objects by the same `decide`, so whoever can read the cluster can ask, and nothing need be recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from oarlock.actors.scheduler.cluster_view import WORKLOADS
from oarlock.actors.scheduler.decision import Placement, Search, Unschedulable, decide, feasible
from oarlock.actors.scheduler.devices.view import GROUP, DevicesView
from oarlock.actors.scheduler.devices.view import KINDS as DEVICE_KINDS
from oarlock.actors.scheduler.disruption import budget
from oarlock.actors.scheduler.examination import Examination
from oarlock.actors.scheduler.facts import PodFacts, node_facts, pod_facts
from oarlock.actors.scheduler.framework import Impossible
from oarlock.actors.scheduler.profile import Profile
from oarlock.actors.scheduler.snapshot import Snapshot
from oarlock.actors.scheduler.storage_view import StorageView

Object = Mapping[str, Any]
KINDS: tuple[tuple[str, str], ...] = (
    ("", "nodes"),
    ("", "pods"),
    ("", "namespaces"),
    ("policy", "poddisruptionbudgets"),
    ("", "persistentvolumes"),
    ("", "persistentvolumeclaims"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "csistoragecapacities"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "volumeattachments"),
    *((GROUP, plural) for plural in DEVICE_KINDS),
    *WORKLOADS,
)
"""What a decision looks at, as (group, plural), all of version v1; volumes before what refers to them."""
_FINISHED = frozenset(("Succeeded", "Failed"))


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node: each filter's reasons (None: it lets the pod pass), each score as (grade, weight)."""

    name: str
    verdicts: tuple[tuple[str, tuple[str, ...] | None], ...]
    scores: tuple[tuple[str, int, int], ...]

    @property
    def total(self) -> int:
        return sum(grade * weight for _, grade, weight in self.scores)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision, and what led to it; without nodes if a filter found that the pod can run nowhere."""

    decision: Placement | Unschedulable
    nodes: tuple[NodeReport, ...]


def explain(pod: PodFacts, snapshot: Snapshot, profile: Profile) -> Explanation:
    """Decide, and tell all. Nodes come in the order in which they are looked at."""
    decision = decide(pod, snapshot, profile=profile)
    try:
        examination = Examination(pod, snapshot, profile.filters)
    except Impossible:
        return Explanation(decision, ())
    fitting = feasible(pod, snapshot, Search(), profile)
    scores: dict[str, list[tuple[str, int, int]]] = {node.name: [] for node in fitting}
    for score, weight in profile.scores if fitting else ():
        for name, grade in (score.grade(pod, snapshot, fitting) or {}).items():
            scores[name].append((score.name, grade, weight))
    reports = [
        NodeReport(
            node.name,
            tuple((name, None if one is None else one.reasons) for name, one in examination.verdicts(node)),
            tuple(scores.get(node.name, ())),
        )
        for node in snapshot.ordered()
    ]
    return Explanation(decision, tuple(reports))


def snapshot_of(objects: Mapping[tuple[str, str], Iterable[Object]], without: str = "") -> Snapshot:
    """Build the cluster from lists of its objects, by kind as in KINDS, leaving out the pod of that key."""
    snapshot = Snapshot()
    storage = StorageView(snapshot.storage, lambda _: None)
    devices = DevicesView(snapshot.devices, lambda _: None, lambda *_: None)
    for kind in KINDS:
        for obj in objects.get(kind, ()):
            metadata = obj["metadata"]
            key = f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else metadata["name"]
            match kind[1]:
                case "nodes":
                    snapshot.put_node(node_facts(obj))
                case "namespaces":
                    snapshot.namespace_labels[key] = metadata.get("labels") or {}
                case "poddisruptionbudgets":
                    snapshot.budgets[key] = budget(obj)
                case "pods":
                    if key != without:
                        _put_pod(snapshot, obj)
                case plural if kind[0] == GROUP:
                    devices.put(plural, key, dict(obj))
                case _ if kind in WORKLOADS:
                    snapshot.workloads.put(WORKLOADS[kind], key, obj)
                case _:
                    storage.put(kind, key, dict(obj))
    return snapshot


def incoming(pod: Object) -> PodFacts:
    """Return the pod as it was before it had a node."""
    return replace(pod_facts(pod), node_name="", nominated_node="")


def with_claims(pod: Object, templates: Iterable[Object]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the pod as it would be once its claims of devices were made from templates, and those claims.

    A template that isn't there leaves the pod without that claim.
    """
    known = {one["metadata"]["name"]: one for one in templates}
    metadata, made, told = pod["metadata"], [], []
    owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata.get("uid") or ""}
    for wanted in pod["spec"].get("resourceClaims") or ():
        template = known.get(wanted.get("resourceClaimTemplateName") or "")
        if template is None:
            continue
        name = f"{metadata['name']}-{wanted['name']}"
        about = {"name": name, "namespace": metadata["namespace"], "uid": name}
        about["ownerReferences"] = [{**owner, "controller": True}]
        made.append({"metadata": about, "spec": template["spec"]["spec"], "status": {}})
        told.append({"name": wanted["name"], "resourceClaimName": name})
    status = {**(pod.get("status") or {}), "resourceClaimStatuses": told}
    return {**pod, "status": status}, made


def _put_pod(snapshot: Snapshot, obj: Object) -> None:
    if (obj.get("status") or {}).get("phase") in _FINISHED:
        return
    pod = pod_facts(obj)
    if pod.node_name:
        snapshot.put_pod(pod, pod.node_name)
    elif pod.nominated_node and not pod.terminating:
        snapshot.nominate(pod, pod.nominated_node)
