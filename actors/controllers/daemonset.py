"""DaemonSets: one pod on every node that fits.

Source: kubernetes.io "DaemonSet"; upstream's daemon_controller.go for labels, tolerations and wording.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oarlock.actors.controllers import history, pods, rollout
from oarlock.actors.controllers.actions import Action, Burst, Create, Delete, RecordEvent, Requeue, UpdateStatus
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.ownership import claim, keys_for, selector_of
from oarlock.actors.controllers.revisions import template_hash
from oarlock.actors.controllers.taints import tolerates
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of
from oarlock.cluster.objects import selectors

Object = dict[str, Any]

REVISION_LABEL = "controller-revision-hash"
_GENERATION_LABEL = "pod-template-generation"
_GENERATION = "deprecated.daemonset.template.generation"
_SETTLE_S = 0.02
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


def reconcile(key: str, view: View) -> list[Action]:
    """Return what brings a DaemonSet one step further."""
    owner = view.get("daemonsets", key)
    if owner is None or owner["metadata"].get("deletionTimestamp"):
        return []
    found = claim(view, "pods", owner, selector_of(owner), lambda _: False)
    if found.patches:
        return found.patches
    generation = (owner["metadata"].get("annotations") or {}).get(
        _GENERATION, str(owner["metadata"].get("generation", 1))
    )
    past = history.recall(view, owner, REVISION_LABEL, template_hash, {_GENERATION: generation})
    if past.actions:
        return list(past.actions)
    update = past.update["metadata"]["labels"][REVISION_LABEL]
    by_node: dict[str, list[Object]] = {}
    for pod in found.owned:
        by_node.setdefault(_target(pod), []).append(pod)
    nodes = view.list("nodes")
    step = [*_manage(view, owner, nodes, by_node, update, generation)]
    if not step:
        step = [*_roll(view, owner, nodes, by_node, update)]
    in_use = {past.update["metadata"]["name"]}
    in_use |= {f"{owner['metadata']['name']}-{_hash(pod)}" for pod in found.owned}
    status = [] if step else _status(view, owner, nodes, by_node, update)
    return [*step, *status, *history.truncate(owner, past.all, in_use)]


def _manage(
    view: View,
    owner: Object,
    nodes: Iterable[Object],
    by_node: Mapping[str, list[Object]],
    update: str,
    generation: str,
) -> list[Action]:
    """Return the missing pods, and the deletion of those that are too many, have failed or don't belong."""
    made, gone = [], []
    present = set()
    for node in nodes:
        name = node["metadata"]["name"]
        present.add(name)
        held = by_node.get(name, [])
        living = [pod for pod in held if not pod["metadata"].get("deletionTimestamp")]
        runs, stays = _fits(owner, node)
        if runs and not held:
            made.append(_pod(view, owner, name, update, generation))
        elif not stays:
            gone += living
        else:
            gone += [pod for pod in living if pods.is_ended(pod)]
            running = sorted(
                (pod for pod in living if not pods.is_ended(pod)),
                key=lambda pod: str(pod["metadata"]["creationTimestamp"]),
            )
            gone += running[1:]
    gone += [
        pod for name, held in by_node.items() if name and name not in present for pod in held if pods.is_active(pod)
    ]
    created = RecordEvent(owner, "SuccessfulCreate", "Created pod: {name}")
    failed = RecordEvent(owner, "FailedCreate", "Error creating: {error}", "Warning")
    actions: list[Action] = []
    if made:
        actions.append(Burst([Create(pod, created, failed) for pod in made]))
    return [*actions, *_deletions(owner, gone)]


def _deletions(owner: Object, gone: Iterable[Object]) -> list[Action]:
    done = RecordEvent(owner, "SuccessfulDelete", "Deleted pod: {name}")
    deletions = [Delete(pod, done=done) for pod in gone]
    return [Burst(deletions)] if deletions else []


def _roll(
    view: View, owner: Object, nodes: Iterable[Object], by_node: Mapping[str, list[Object]], update: str
) -> list[Action]:
    """Return the deletion of as many old pods as may be unavailable."""
    strategy = owner["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return []
    names = [node["metadata"]["name"] for node in nodes if _fits(owner, node)[0]]
    limit = rollout.scaled((strategy.get("rollingUpdate") or {}).get("maxUnavailable", 1), len(names), up=True)
    old_well: list[Object] = []
    old_ill: list[Object] = []
    unavailable = 0
    for name in names:
        pod = next(iter(by_node.get(name, [])), None)
        well = pod is not None and _is_available(view, owner, pod) and pods.is_active(pod)
        unavailable += not well
        if pod is not None and _hash(pod) != update and not pod["metadata"].get("deletionTimestamp"):
            (old_well if well else old_ill).append(pod)
    return _deletions(owner, [*old_ill, *old_well[: max(0, limit - unavailable)]])


def _status(
    view: View, owner: Object, nodes: Iterable[Object], by_node: Mapping[str, list[Object]], update: str
) -> list[Action]:
    counts = dict.fromkeys(
        (
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "numberMisscheduled",
            "numberReady",
            "numberAvailable",
            "updatedNumberScheduled",
            "numberUnavailable",
        ),
        0,
    )
    waits = []
    for node in nodes:
        pod = next(iter(sorted(by_node.get(node["metadata"]["name"], []), key=_age)), None)
        if not _fits(owner, node)[0]:
            counts["numberMisscheduled"] += pod is not None
            continue
        counts["desiredNumberScheduled"] += 1
        if pod is None:
            continue
        counts["currentNumberScheduled"] += 1
        wait_s = pods.available_in_s(pod, owner["spec"].get("minReadySeconds", 0), view.now)
        counts["numberReady"] += wait_s is not None
        counts["numberAvailable"] += wait_s == 0
        waits += [wait_s] if wait_s else []
        updated = _hash(pod) == update and not pod["metadata"].get("deletionTimestamp")
        counts["updatedNumberScheduled"] += updated
    counts["numberUnavailable"] = counts["desiredNumberScheduled"] - counts["numberAvailable"]
    optional = ("numberAvailable", "updatedNumberScheduled", "numberUnavailable")
    old = owner.get("status") or {}
    new: Object = {name: count for name, count in counts.items() if count or name not in optional}
    new["observedGeneration"] = owner["metadata"].get("generation", 0)
    new.update({name: old[name] for name in ("collisionCount", "conditions") if name in old})
    actions: list[Action] = [UpdateStatus({**owner, "status": new})] if new != old else []
    return [*actions, Requeue(min(waits))] if waits else actions


def _pod(view: View, owner: Object, node: str, update: str, generation: str) -> Object:
    pod = pods.from_template(view, owner["spec"]["template"], owner)
    labels = {REVISION_LABEL: update, _GENERATION_LABEL: generation}
    pod["metadata"]["labels"] = {**pod["metadata"].get("labels", {}), **labels}
    spec = pod["spec"]
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    affinity = dict(spec.get("affinity") or {})
    node_affinity = dict(affinity.get("nodeAffinity") or {})
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = [{**term, "matchFields": [field]} for term in required.get("nodeSelectorTerms") or [{}]]
    node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    spec["affinity"] = {**affinity, "nodeAffinity": node_affinity}
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *_own_tolerations()]
    return pod


def _own_tolerations() -> list[Object]:
    return [{"key": key, "operator": "Exists", "effect": effect} for key, effect in _TOLERATED]


def _target(pod: Object) -> str:
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


def _fits(owner: Object, node: Object) -> tuple[bool, bool]:
    """Return whether a pod should be made for a node, and whether one that is there may stay."""
    spec = owner["spec"]["template"]["spec"]
    labels = node["metadata"].get("labels") or {}
    if not (spec.get("nodeSelector") or {}).items() <= labels.items():
        return False, False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is not None and not any(_matches(term, labels) for term in required["nodeSelectorTerms"]):
        return False, False
    tolerations = [*(spec.get("tolerations") or ()), *_own_tolerations()]
    hard = [one for one in node["spec"].get("taints") or () if one["effect"] in ("NoSchedule", "NoExecute")]
    untolerated = {one["effect"] for one in hard if not any(tolerates(tol, one) for tol in tolerations)}
    return not untolerated, "NoExecute" not in untolerated


def _matches(term: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    expressions = term.get("matchExpressions") or []
    return bool(expressions) and selectors.from_object({"matchExpressions": expressions}).matches(labels)


def _is_available(view: View, owner: Object, pod: Object) -> bool:
    return pods.available_in_s(pod, owner["spec"].get("minReadySeconds", 0), view.now) == 0


def _hash(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))


def _age(pod: Object) -> str:
    return str(pod["metadata"].get("creationTimestamp"))


_OWN_KEYS = keys_for("DaemonSet", "daemonsets", _SETTLE_S)


def _keys(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    if plural != "nodes":
        return _OWN_KEYS(plural, old, new, view)
    if old is not None and new is not None and _placing(old) == _placing(new):
        return []
    return [Due(key_of(one)) for one in view.list("daemonsets")]


def _placing(node: Object) -> tuple[object, ...]:
    return (node["metadata"].get("labels"), node["spec"].get("taints"), node["spec"].get("unschedulable"))


DAEMONSET = Controller(
    name="daemonset",
    source="daemonset-controller",
    reads=("daemonsets", "pods", "nodes", "controllerrevisions"),
    keys=_keys,
    reconcile=reconcile,
    workers=4,
)
