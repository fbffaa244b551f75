"""PodDisruptionBudgets: how many of the pods they cover may be evicted now.

A budget's status is what the eviction subresource spends from; whatever keeps it from being known sets it to none.
Source: kubernetes.io "Disruptions"; upstream's disruption.go for counts, conditions and wording.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from oarlock.actors.controllers import conditions, pods, scales
from oarlock.actors.controllers.actions import Action, RecordEvent, Requeue, UpdateStatus
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.rollout import scaled
from oarlock.actors.controllers.view import View, controller_of, parse_time
from oarlock.cluster.client.cache import key_of
from oarlock.cluster.objects import selectors

Object = dict[str, Any]

DELETION_TIMEOUT_S = 120
"""How long an evicted pod is believed to be going before its deletion was seen."""
_KNOWN = {
    ("apps", "ReplicaSet"): "replicasets",
    ("apps", "StatefulSet"): "statefulsets",
    ("", "ReplicationController"): "replicationcontrollers",
}
_ALLOWED = "DisruptionAllowed"
_SUFFICIENT = "SufficientPods"


def reconcile(key: str, view: View) -> list[Action]:
    """Return what brings a budget's status up to date."""
    budget = view.get("poddisruptionbudgets", key)
    if budget is None:
        return []
    covered = _covered(view, budget)
    actions: list[Action] = _overlaps(view, budget, covered)
    if not covered:
        actions.append(RecordEvent(budget, "NoPods", "No matching pods found"))
    spec = budget["spec"]
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if most is None and not isinstance(least, str):
        # An absolute number needs no owners to be counted.
        expected = len(covered) if least is not None else 0
        return [*actions, *_status(view, budget, covered, least or 0, expected)]
    known, foreign, unmanaged = _owners(view, covered)
    if unmanaged:
        actions.append(RecordEvent(budget, "UnmanagedPods", _unmanaged(budget), "Warning"))

    def counted(expected: int) -> list[Action]:
        if most is not None:
            desired = max(0, expected - scaled(most, expected, up=True))
        else:
            desired = scaled(least, expected, up=True)
        return _status(view, budget, covered, desired, expected)

    if not foreign:
        return [*actions, *counted(sum(known.values()))]
    names = list(foreign)

    def found(answers: list[scales.Scale]) -> Iterable[Action]:
        total = sum(known.values())
        for uid, answer in zip(names, answers, strict=True):
            if answer.error:
                message = answer.error if not _is_gone(answer) else f'found no controllers for pod "{foreign[uid][1]}"'
                return _failed(view, budget, message)
            if answer.body["metadata"].get("uid") != uid:
                return _failed(view, budget, f'found no controllers for pod "{foreign[uid][1]}"')
            total += int((answer.body.get("spec") or {}).get("replicas", 0))
        return counted(total)

    return [*actions, scales.ask([foreign[uid][0] for uid in names], found)]


def _is_gone(answer: scales.Scale) -> bool:
    return answer.refusal is not None and answer.refusal.reason == "NotFound"


def _covered(view: View, budget: Object) -> list[Object]:
    return view.chosen("pods", budget["metadata"]["namespace"], selectors.from_object(budget["spec"].get("selector")))


def _overlaps(view: View, budget: Object, covered: Iterable[Object]) -> list[Action]:
    """Tell of pods that other budgets cover too: no such pod can be evicted."""
    name, namespace = budget["metadata"]["name"], budget["metadata"]["namespace"]
    others = [
        selectors.from_object(one["spec"].get("selector"))
        for one in view.list("poddisruptionbudgets", namespace)
        if one["metadata"]["name"] != name
    ]
    found: list[Action] = []
    for pod in covered if others else ():
        if any(one.matches(pod["metadata"].get("labels") or {}) for one in others):
            message = (
                f'Pod "{namespace}"/"{pod["metadata"]["name"]}" matches multiple PodDisruptionBudgets.  '
                f'Chose "{name}" arbitrarily.'
            )
            found.append(RecordEvent(pod, "MultiplePodDisruptionBudgets", message, "Warning"))
    return found


def _owners(
    view: View, covered: Iterable[Object]
) -> tuple[dict[str, int], dict[str, tuple[scales.Target, str]], list[str]]:
    """Return the replicas of known owners by uid, those to be asked for with a pod's name, and pods without one."""
    known: dict[str, int] = {}
    foreign: dict[str, tuple[scales.Target, str]] = {}
    unmanaged: list[str] = []
    for pod in covered:
        metadata = pod["metadata"]
        reference = controller_of(pod)
        if reference is None:
            unmanaged.append(metadata["name"])
            continue
        owner = _known(view, metadata["namespace"], reference)
        if owner is not None:
            known[owner["metadata"]["uid"]] = int(owner["spec"].get("replicas", 1))
        else:
            target = scales.Target(reference["apiVersion"], reference["kind"], metadata["namespace"], reference["name"])
            foreign.setdefault(reference["uid"], (target, metadata["name"]))
    return known, foreign, unmanaged


def _known(view: View, namespace: str, reference: Mapping[str, Any]) -> Object | None:
    """Return the workload that asks for the pods: of a Deployment's ReplicaSet that is the Deployment."""
    group = reference["apiVersion"].rpartition("/")[0]
    plural = _KNOWN.get((group, reference["kind"]))
    owner = view.get(plural, f"{namespace}/{reference['name']}") if plural else None
    if owner is None or owner["metadata"]["uid"] != reference["uid"]:
        return None
    above = controller_of(owner)
    if above is None or above["kind"] != "Deployment":
        return owner
    deployment = view.get("deployments", f"{namespace}/{above['name']}")
    return deployment if deployment is not None and deployment["metadata"]["uid"] == above["uid"] else None


def _status(view: View, budget: Object, covered: Sequence[Object], desired: int, expected: int) -> list[Action]:
    leaving, actions = _leaving(view, budget, covered)
    healthy = sum(
        1
        for pod in covered
        if not pod["metadata"].get("deletionTimestamp")
        and pod["metadata"]["name"] not in leaving
        and pods.is_ready(pod)
    )
    allowed = max(0, healthy - desired) if expected > 0 else 0
    generation = budget["metadata"].get("generation", 0)
    reason = _SUFFICIENT if allowed > 0 else "InsufficientPods"
    old = budget.get("status") or {}
    new: Object = {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": expected,
        "observedGeneration": generation,
        "conditions": _conditioned(view, old, reason, "", generation),
    }
    if leaving:
        new["disruptedPods"] = leaving
    return [*actions, UpdateStatus({**budget, "status": new})] if new != old else actions


def _leaving(view: View, budget: Object, covered: Iterable[Object]) -> tuple[dict[str, str], list[Action]]:
    """Return the evicted pods that are still to be deleted, and a look at the budget when one's time is over."""
    held: dict[str, str] = (budget.get("status") or {}).get("disruptedPods") or {}
    leaving: dict[str, str] = {}
    actions: list[Action] = []
    waits = []
    for pod in covered if held else ():
        since = held.get(pod["metadata"]["name"])
        if since is None or pod["metadata"].get("deletionTimestamp"):
            continue
        left_s = (parse_time(since) + timedelta(seconds=DELETION_TIMEOUT_S) - view.now).total_seconds()
        if left_s < 0:
            namespace = budget["metadata"]["namespace"]
            message = f"Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't"
            actions.append(RecordEvent(pod, "NotDeleted", message, "Warning"))
        else:
            leaving[pod["metadata"]["name"]] = since
            waits.append(left_s + 0.1)
    return leaving, [*actions, Requeue(min(waits))] if waits else actions


def _conditioned(view: View, old: Object, reason: str, message: str, generation: int) -> list[Object]:
    held = list(old.get("conditions") or ())
    before = conditions.find(held, _ALLOWED)
    status = "True" if reason == _SUFFICIENT else "False"
    since = before["lastTransitionTime"] if before is not None and before["status"] == status else view.stamp
    made = {
        "type": _ALLOWED,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": since,
    }
    return [made if one["type"] == _ALLOWED else one for one in held] if before is not None else [*held, made]


def _failed(view: View, budget: Object, message: str) -> list[Action]:
    """What can't be counted allows nothing, and says why."""
    text = f"Failed to calculate the number of expected pods: {message}"
    event = RecordEvent(budget, "CalculateExpectedPodCountFailed", text, "Warning")
    old = budget.get("status") or {}
    generation = old.get("observedGeneration", 0)
    new = {**old, "disruptionsAllowed": 0}
    new["conditions"] = _conditioned(view, old, "SyncFailed", message, generation)
    return [event, UpdateStatus({**budget, "status": new})] if new != old else [event]


def _unmanaged(budget: Object) -> str:
    return (
        f"Pods selected by this PodDisruptionBudget (selector: {_as_go(budget['spec'].get('selector'))}) were found to "
        "be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in "
        'undefined behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an '
        "integer value."
    )


def _as_go(selector: Mapping[str, Any] | None) -> str:
    """Return a selector as upstream prints it."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{one['key']},Operator:{one['operator']},"
        f"Values:[{' '.join(one.get('values') or ())}],}},"
        for one in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )


def _keys(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    present = new if new is not None else old
    assert present is not None
    if plural == "poddisruptionbudgets":
        return [Due(key_of(present))] if new is not None else []
    labels = [one["metadata"].get("labels") or {} for one in (old, new) if one is not None]
    found = []
    for budget in view.list("poddisruptionbudgets", present["metadata"]["namespace"]):
        chosen = selectors.from_object(budget["spec"].get("selector"))
        if any(chosen.matches(one) for one in labels):
            found.append(Due(key_of(budget)))
    return found


DISRUPTION = Controller(
    name="disruption",
    source="controllermanager",
    reads=("poddisruptionbudgets", "pods"),
    keys=_keys,
    reconcile=reconcile,
    looks_at=(*_KNOWN.values(), "deployments"),
    workers=2,
)
