"""StatefulSets: pods with a name and claims of their own, made, updated and removed in order.

Source: kubernetes.io "StatefulSets"; upstream's stateful_set_control.go for order, labels and wording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from oarlock.actors.controllers import claims, history, pods
from oarlock.actors.controllers.actions import Action, Create, Delete, Patch, RecordEvent, Requeue, UpdateStatus
from oarlock.actors.controllers.loop import Controller
from oarlock.actors.controllers.ownership import STATUS_SETTLE_S, claim, keys_for, selector_of
from oarlock.actors.controllers.rollout import scaled
from oarlock.actors.controllers.view import View

Object = dict[str, Any]

REVISION_LABEL = "controller-revision-hash"
_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
_INDEX_LABEL = "apps.kubernetes.io/pod-index"
_HASH_LABEL = "controller.kubernetes.io/hash"


@dataclass
class State:
    """One reconcile's picture: pods by ordinal, the revision to make low ordinals of, and the one to reach."""

    owner: Object
    pods: dict[int, Object]
    current: Object
    update: Object
    waits: list[float] = field(default_factory=list)

    @property
    def start(self) -> int:
        """The first ordinal."""
        return int((self.owner["spec"].get("ordinals") or {}).get("start", 0))

    @property
    def replicas(self) -> int:
        """How many pods are asked for."""
        return int(self.owner["spec"].get("replicas", 1))

    @property
    def ordered(self) -> bool:
        """Whether one pod must be available before the next is touched."""
        return bool(self.owner["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady")


def reconcile(key: str, view: View) -> list[Action]:
    """Return what brings a StatefulSet one step further."""
    owner = view.get("statefulsets", key)
    if owner is None:
        return []
    found = claim(view, "pods", owner, selector_of(owner), lambda pod: _ordinal(owner, pod) is not None)
    if found.patches:
        return found.patches
    past = history.recall(view, owner, _HASH_LABEL, history.data_hash)
    deleting = bool(owner["metadata"].get("deletionTimestamp"))
    if past.actions:
        return [] if deleting else list(past.actions)
    named = {one["metadata"]["name"]: one for one in past.all}
    current = named.get((owner.get("status") or {}).get("currentRevision", ""), past.update)
    owned = {number: pod for pod in found.owned if (number := _ordinal(owner, pod)) is not None}
    state = State(owner, owned, current, past.update)
    step = [] if deleting else list(_step(view, state))
    in_use = {current["metadata"]["name"], past.update["metadata"]["name"], *map(_revision, owned.values())}
    wake = [Requeue(min(state.waits))] if state.waits else []
    status = [] if any(isinstance(one, Create | Delete) for one in step) else _status(view, state)
    return [*step, *status, *history.truncate(owner, past.all, in_use), *wake]


def _step(view: View, state: State) -> Iterator[Action]:
    """Yield the next writes; in order, that is one pod's at most."""
    for number in range(state.start, state.start + state.replicas):
        pod = state.pods.get(number)
        if pod is None:
            if claims.is_stale(view, state.owner, number):
                # The pod before it is still being collected, and its claim with it.
                if state.ordered:
                    return
                continue
            yield from _create(view, state, number)
        elif pods.is_ended(pod):
            if not pod["metadata"].get("deletionTimestamp"):
                yield _delete(state, pod)
        else:
            if pods.phase(pod) == "Pending":
                yield from claims.missing(view, state.owner, number)
                yield from claims.owners(view, state.owner, pod, number)
            if _available(view, state, pod):
                yield from _identity(state, pod, number)
                yield from claims.owners(view, state.owner, pod, number)
                continue
        if state.ordered:
            return
    yield from _condemn(view, state)


def _condemn(view: View, state: State) -> Iterator[Action]:
    """Remove the pods outside the range, the highest first; then go on with the update."""
    condemned = sorted((n for n in state.pods if not state.start <= n < state.start + state.replicas), reverse=True)
    for number in condemned:
        yield from claims.owners(view, state.owner, state.pods[number], number)
    first_ill = next((n for n in reversed(condemned) if not _available(view, state, state.pods[n])), None)
    for number in condemned:
        pod = state.pods[number]
        if pod["metadata"].get("deletionTimestamp"):
            if state.ordered:
                return
            continue
        if state.ordered and number != first_ill and not _available(view, state, pod):
            return
        yield _delete(state, pod)
        if state.ordered:
            return
    yield from _roll(view, state)


def _roll(view: View, state: State) -> Iterator[Action]:
    """Replace the highest pods that are of an old revision, as far as what is unavailable above them allows."""
    strategy = state.owner["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return
    rolling = strategy.get("rollingUpdate") or {}
    lowest = state.start + int(rolling.get("partition", 0))
    budget = max(1, scaled(rolling.get("maxUnavailable", 1), state.replicas, up=False))
    for number in range(state.start + state.replicas - 1, lowest - 1, -1):
        pod = state.pods.get(number)
        deleting = pod is None or bool(pod["metadata"].get("deletionTimestamp"))
        if pod is not None and not deleting and _revision(pod) != state.update["metadata"]["name"]:
            yield _delete(state, pod)
        elif pod is not None and not deleting and _available(view, state, pod):
            continue
        budget -= 1
        if budget == 0:
            return


def _identity(state: State, pod: Object, number: int) -> Iterator[Action]:
    """Yield the patch that gives a pod back the labels by which it is known."""
    wanted = _labels(state, number)
    held = pod["metadata"].get("labels") or {}
    lost = {key: value for key, value in wanted.items() if held.get(key) != value}
    if lost:
        name, owner_name = pod["metadata"]["name"], state.owner["metadata"]["name"]
        message = f"Update Pod {name} in StatefulSet {owner_name} successful"
        yield Patch(pod, {"metadata": {"labels": lost}}, done=RecordEvent(state.owner, "SuccessfulUpdate", message))


def _labels(state: State, number: int) -> dict[str, str]:
    return {_NAME_LABEL: f"{state.owner['metadata']['name']}-{number}", _INDEX_LABEL: str(number)}


def _available(view: View, state: State, pod: Object) -> bool:
    """Whether a pod is well and for long enough; notes when it will be."""
    if pod["metadata"].get("deletionTimestamp") or pods.phase(pod) != "Running":
        return False
    wait_s = pods.available_in_s(pod, state.owner["spec"].get("minReadySeconds", 0), view.now)
    if wait_s:
        state.waits.append(wait_s)
    return wait_s == 0


def _create(view: View, state: State, number: int) -> Iterator[Action]:
    owner = state.owner
    name, owner_name = f"{owner['metadata']['name']}-{number}", owner["metadata"]["name"]
    revision = state.current if _keeps_current(state, number) else state.update
    pod = pods.from_template(view, history.template_of(revision), owner)
    metadata, spec = pod["metadata"], pod["spec"]
    metadata["name"] = name
    del metadata["generateName"]
    labels = {**_labels(state, number), REVISION_LABEL: revision["metadata"]["name"]}
    metadata["labels"] = {**metadata.get("labels", {}), **labels}
    spec["hostname"] = name
    if owner["spec"].get("serviceName"):
        spec["subdomain"] = owner["spec"]["serviceName"]
    claims.mount(owner, number, spec)
    yield from claims.missing(view, owner, number)
    done = f"Create Pod {name} in StatefulSet {owner_name} successful"
    failed = f"Create Pod {name} in StatefulSet {owner_name} failed error: {{error}}"
    yield Create(
        pod, RecordEvent(owner, "SuccessfulCreate", done), RecordEvent(owner, "FailedCreate", failed, "Warning")
    )


def _keeps_current(state: State, number: int) -> bool:
    """Whether a pod that must be made anew is still of the revision before."""
    strategy = state.owner["spec"].get("updateStrategy") or {}
    partition = (strategy.get("rollingUpdate") or {}).get("partition")
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return False
    if partition is None:
        return number < state.start + int((state.owner.get("status") or {}).get("currentReplicas", 0))
    return number < state.start + int(partition)


def _delete(state: State, pod: Object) -> Delete:
    message = f"Delete Pod {pod['metadata']['name']} in StatefulSet {state.owner['metadata']['name']} successful"
    return Delete(pod, done=RecordEvent(state.owner, "SuccessfulDelete", message))


def _status(view: View, state: State) -> list[Action]:
    current, update = state.current["metadata"]["name"], state.update["metadata"]["name"]
    present = list(state.pods.values())
    living = [pod for pod in present if not pod["metadata"].get("deletionTimestamp")]
    ready = [pod for pod in present if pods.phase(pod) == "Running" and pods.is_ready(pod)]
    min_ready_s = state.owner["spec"].get("minReadySeconds", 0)
    updated = sum(1 for pod in living if _revision(pod) == update)
    held = sum(1 for pod in living if _revision(pod) == current)
    if updated == state.replicas == len(ready) == len(present):
        current, held = update, updated
    counts = {"readyReplicas": len(ready), "currentReplicas": held, "updatedReplicas": updated}
    old = state.owner.get("status") or {}
    new: Object = {
        "observedGeneration": state.owner["metadata"].get("generation", 0),
        "replicas": len(present),
        "availableReplicas": sum(1 for pod in ready if pods.available_in_s(pod, min_ready_s, view.now) == 0),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": old.get("collisionCount") or 0,
        **{name: count for name, count in counts.items() if count},
    }
    if old.get("conditions"):
        new["conditions"] = old["conditions"]
    return [UpdateStatus({**state.owner, "status": new}, stands=True)] if new != old else []


def _revision(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))


def _ordinal(owner: Object, pod: Object) -> int | None:
    """Return the number in a pod's name, None when the name isn't one of the owner's."""
    name, _, number = pod["metadata"]["name"].rpartition("-")
    return int(number) if name == owner["metadata"]["name"] and number.isdigit() else None


STATEFULSET = Controller(
    name="statefulset",
    source="statefulset-controller",
    reads=("statefulsets", "pods", "controllerrevisions", "persistentvolumeclaims"),
    keys=keys_for("StatefulSet", "statefulsets", STATUS_SETTLE_S),
    reconcile=reconcile,
    workers=4,
)
