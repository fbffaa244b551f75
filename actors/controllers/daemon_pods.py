"""A DaemonSet's pods: which nodes they fit, how one is made for a node, and which node it is meant for.

Source: kubernetes.io "DaemonSet"; upstream's daemon_controller.go and daemon/util for labels and tolerations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oarlock.actors.controllers import pods
from oarlock.actors.controllers.taints import tolerates
from oarlock.actors.controllers.view import View
from oarlock.cluster.objects.selectors import Operator, Requirement

Object = dict[str, Any]

REVISION_LABEL = "controller-revision-hash"
_GENERATION_LABEL = "pod-template-generation"
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_ON_HOST_NETWORK = (("node.kubernetes.io/network-unavailable", "NoSchedule"),)
_OPERATORS = {
    "In": Operator.IN,
    "NotIn": Operator.NOT_IN,
    "Exists": Operator.EXISTS,
    "DoesNotExist": Operator.DOES_NOT_EXIST,
    "Gt": Operator.GREATER_THAN,
    "Lt": Operator.LESS_THAN,
}


def make(view: View, owner: Object, node: str, update: str, generation: str) -> Object:
    """Return a new pod of the present template that only `node` may run."""
    pod = pods.from_template(view, owner["spec"]["template"], owner)
    labels = {REVISION_LABEL: update, _GENERATION_LABEL: generation}
    pod["metadata"]["labels"] = {**pod["metadata"].get("labels", {}), **labels}
    spec = pod["spec"]
    only = {"key": "metadata.name", "operator": "In", "values": [node]}
    affinity = dict(spec.get("affinity") or {})
    node_affinity = dict(affinity.get("nodeAffinity") or {})
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = [{**term, "matchFields": [only]} for term in required.get("nodeSelectorTerms") or [{}]]
    node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    spec["affinity"] = {**affinity, "nodeAffinity": node_affinity}
    spec["tolerations"] = _tolerations(spec)
    return pod


def target(pod: Object) -> str:
    """Return the node that a pod is bound to or meant for."""
    if pod["spec"].get("nodeName"):
        return str(pod["spec"]["nodeName"])
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for one in term.get("matchFields") or ():
            if one["key"] == "metadata.name" and one["operator"] == "In":
                return str(one["values"][0])
    return ""


def by_node(owned: Iterable[Object]) -> dict[str, list[Object]]:
    """Return pods by node, bound ones and old ones first; those that only wait to vanish are left out."""
    found: dict[str, list[Object]] = {}
    for pod in sorted(owned, key=_age):
        if not (pod["metadata"].get("deletionTimestamp") and pods.is_ended(pod)):
            found.setdefault(target(pod), []).append(pod)
    return found


def _age(pod: Object) -> tuple[bool, str, str]:
    metadata = pod["metadata"]
    return not pod["spec"].get("nodeName"), str(metadata.get("creationTimestamp")), metadata["name"]


def fits(owner: Object, node: Object) -> tuple[bool, bool]:
    """Return whether a pod should be made for a node, and whether one that is there may stay."""
    spec = owner["spec"]["template"]["spec"]
    name, labels = node["metadata"]["name"], node["metadata"].get("labels") or {}
    if spec.get("nodeName", name) != name or not (spec.get("nodeSelector") or {}).items() <= labels.items():
        return False, False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is not None and not any(_matches(term, name, labels) for term in required["nodeSelectorTerms"]):
        return False, False
    hard = [one for one in node["spec"].get("taints") or () if one["effect"] in ("NoSchedule", "NoExecute")]
    tolerations = _tolerations(spec) if hard else []
    untolerated = {one["effect"] for one in hard if not any(tolerates(held, one) for held in tolerations)}
    return not untolerated, "NoExecute" not in untolerated


def _matches(term: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> bool:
    """An empty term matches no node."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    own = {"metadata.name": name}
    return all(_requirement(one).matches(labels) for one in expressions) and all(
        _requirement(one).matches(own) for one in fields
    )


def _requirement(expression: Mapping[str, Any]) -> Requirement:
    values = frozenset(expression.get("values") or ())
    return Requirement(expression["key"], _OPERATORS[expression["operator"]], values)


def _tolerations(spec: Mapping[str, Any]) -> list[Object]:
    """Return a template's tolerations with those that every daemon has."""
    extra = _TOLERATED + (_ON_HOST_NETWORK if spec.get("hostNetwork") else ())
    added = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in extra]
    return [*(one for one in spec.get("tolerations") or () if one not in added), *added]
