"""DaemonSets: one pod on every node that fits, and for a while two where an update surges.

Source: kubernetes.io "DaemonSet"; upstream's daemon_controller.go and daemon/update.go for order and wording.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from oarlock.actors.controllers import daemon_pods, history, pods, rollout
from oarlock.actors.controllers.actions import Action, Burst, Create, Delete, RecordEvent, Requeue, UpdateStatus
from oarlock.actors.controllers.daemon_pods import REVISION_LABEL
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.ownership import STATUS_SETTLE_S, claim, keys_for, selector_of
from oarlock.actors.controllers.revisions import template_hash
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]

BURST_MAX = 250
"""Pods made in one reconcile at most."""
_GENERATION = "deprecated.daemonset.template.generation"
_BACKOFF_S, _BACKOFF_MAX_S = 1.0, 900.0


@dataclass
class State:
    """One reconcile's picture: the nodes that should run a pod, those where one may stay, and the pods by node."""

    view: View
    owner: Object
    update: str
    generation: str
    held: Mapping[str, Sequence[Object]]
    nodes: Sequence[Object]
    wanted: set[str] = field(default_factory=set)
    allowed: set[str] = field(default_factory=set)
    made: list[str] = field(default_factory=list)
    gone: list[Object] = field(default_factory=list)
    events: list[Action] = field(default_factory=list)

    def __post_init__(self) -> None:
        for node in self.nodes:
            runs, stays = daemon_pods.fits(self.owner, node)
            self.wanted |= {node["metadata"]["name"]} if runs else set()
            self.allowed |= {node["metadata"]["name"]} if stays else set()

    @property
    def rolling(self) -> Mapping[str, Any] | None:
        """How an update rolls, None when pods are replaced only as they are deleted."""
        strategy = self.owner["spec"].get("updateStrategy") or {}
        return (
            (strategy.get("rollingUpdate") or {}) if strategy.get("type", "RollingUpdate") == "RollingUpdate" else None
        )

    def share(self, name: str, default: int) -> int:
        """Return an update's limit as a number of nodes."""
        return rollout.scaled((self.rolling or {}).get(name, default), len(self.wanted), up=True)

    @property
    def surge(self) -> int:
        """How many nodes may run two pods."""
        return self.share("maxSurge", 0)

    @property
    def unavailable(self) -> int:
        """How many nodes may be without a pod that is available."""
        most = self.share("maxUnavailable", 1)
        return 1 if most == 0 and self.surge == 0 else most

    def is_available(self, pod: Object) -> bool:
        """Whether a pod has been ready for long enough."""
        return pods.available_in_s(pod, self.owner["spec"].get("minReadySeconds", 0), self.view.now) == 0

    def is_new(self, pod: Object) -> bool:
        """Whether a pod is of the present template."""
        return (pod["metadata"].get("labels") or {}).get(REVISION_LABEL) == self.update


@dataclass
class Backoff:
    """Holds failed pods back from being replaced at once, longer each time; keyed by DaemonSet, template and node."""

    until: dict[tuple[str, str, str], tuple[datetime, float]] = field(default_factory=dict)

    def wait_s(self, key: tuple[str, str, str], now: datetime) -> float:
        """Return how long to wait; when that is 0 the next failure waits longer."""
        at, delay_s = self.until.get(key, (now, 0.0))
        if now < at:
            return (at - now).total_seconds()
        calm = now - at > timedelta(seconds=2 * _BACKOFF_MAX_S)
        delay_s = _BACKOFF_S if calm or not delay_s else min(2 * delay_s, _BACKOFF_MAX_S)
        self.until[key] = (now + timedelta(seconds=delay_s), delay_s)
        return 0.0


@dataclass
class DaemonSets:
    """Reconciles DaemonSets; remembers nothing but the waits after failures."""

    backoff: Backoff = field(default_factory=Backoff)

    def reconcile(self, key: str, view: View) -> list[Action]:
        """Return what brings a DaemonSet one step further."""
        owner = view.get("daemonsets", key)
        if owner is None or owner["metadata"].get("deletionTimestamp"):
            return []
        selector = selector_of(owner)
        if selector.everything:
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            return [RecordEvent(owner, "SelectingAll", message, "Warning")]
        found = claim(view, "pods", owner, selector)
        if found.patches:
            return found.patches
        annotations = owner["metadata"].get("annotations") or {}
        generation = annotations.get(_GENERATION, str(owner["metadata"].get("generation", 1)))
        past = history.recall(view, owner, REVISION_LABEL, template_hash, {_GENERATION: generation})
        if past.actions:
            return list(past.actions)
        update = past.update["metadata"]["labels"][REVISION_LABEL]
        state = State(view, owner, update, generation, daemon_pods.by_node(found.owned), view.list("nodes"))
        self._manage(state)
        if not state.made and not state.gone:
            _roll(state)
        step = [*state.events, *_writes(state)]
        in_use = {past.update["metadata"]["name"], *(_revision(owner, pod) for pod in found.owned)}
        status = [] if state.made or state.gone else _status(state)
        return [*step, *status, *history.truncate(owner, past.all, in_use)]

    def _manage(self, state: State) -> None:
        """Find the missing pods, and those that are too many, have ended or don't belong."""
        present = {node["metadata"]["name"] for node in state.nodes}
        for name in sorted(present | state.held.keys()):
            held = state.held.get(name, ())
            living = [pod for pod in held if not pod["metadata"].get("deletionTimestamp")]
            if name not in present:
                # Bound ones are the pod collector's.
                state.gone += [pod for pod in living if not pod["spec"].get("nodeName")]
            elif name in state.wanted and not held:
                state.made.append(name)
            elif name in state.allowed:
                running = [pod for pod in living if not self._ended(state, name, pod)]
                _prune(state, name, running)
            else:
                state.gone += living

    def _ended(self, state: State, node: str, pod: Object) -> bool:
        """Whether a pod has ended; it is then to be deleted, a failed one not too often."""
        if not pods.is_ended(pod):
            return False
        where = f"{pod['metadata']['namespace']}/{pod['metadata']['name']} on node {node}"
        if pods.phase(pod) == "Failed":
            key = (state.owner["metadata"]["uid"], state.update, node)
            if (wait_s := self.backoff.wait_s(key, state.view.now)) > 0:
                state.events.append(Requeue(wait_s))
                return True
            message = f"Found failed daemon pod {where}, will try to kill it"
            state.events.append(RecordEvent(state.owner, "FailedDaemonPod", message, "Warning"))
        else:
            message = f"Found succeeded daemon pod {where}, will try to delete it"
            state.events.append(RecordEvent(state.owner, "SucceededDaemonPod", message))
        state.gone.append(pod)
        return True


def _prune(state: State, node: str, running: Sequence[Object]) -> None:
    """Keep the oldest pod of a node; where an update surges, the oldest of each template while both are needed."""
    if state.surge == 0:
        state.gone += running[1:]
        return
    if not running and node in state.wanted:
        state.made.append(node)
    new, old = _split(state, running)
    state.gone += [*new[1:], *old[1:]]
    if new and old and (not pods.is_ready(old[0]) or state.is_available(new[0])):
        state.gone.append(old[0])


def _split(state: State, running: Iterable[Object]) -> tuple[list[Object], list[Object]]:
    new: list[Object] = []
    old: list[Object] = []
    for pod in running:
        (new if state.is_new(pod) else old).append(pod)
    return new, old


def _roll(state: State) -> None:
    """Replace old pods: those that are unavailable at once, others as far as the limits allow."""
    if state.rolling is None:
        return
    ill: list[Object] = []
    well: list[Object] = []
    busy = 0
    for node in sorted(state.wanted):
        living = [pod for pod in state.held.get(node, ()) if not pod["metadata"].get("deletionTimestamp")]
        new, old = _split(state, living)
        if not new and old:
            (well if state.is_available(old[0]) else ill).append(old[0])
        elif state.surge == 0:
            busy += not (new and state.is_available(new[0]))
        else:
            busy += bool(old) and not state.is_available(new[0])
    if state.surge == 0:
        state.gone += [*ill, *well[: max(0, state.unavailable - busy)]]
    else:
        state.made += [daemon_pods.target(pod) for pod in [*ill, *well[: max(0, state.surge - busy)]]]


def _writes(state: State) -> list[Action]:
    owner = state.owner
    created = RecordEvent(owner, "SuccessfulCreate", "Created pod: {name}")
    failed = RecordEvent(owner, "FailedCreate", "Error creating: {error}", "Warning")
    deleted = RecordEvent(owner, "SuccessfulDelete", "Deleted pod: {name}")
    kept = RecordEvent(owner, "FailedDelete", "Error deleting: {error}", "Warning")
    actions: list[Action] = []
    if state.made:
        fresh = [
            daemon_pods.make(state.view, owner, node, state.update, state.generation) for node in state.made[:BURST_MAX]
        ]
        actions.append(Burst([Create(pod, created, failed) for pod in fresh]))
    if state.gone:
        actions.append(Burst([Delete(pod, done=deleted, failed=kept) for pod in state.gone]))
    return actions


def _status(state: State) -> list[Action]:
    names = ("desiredNumberScheduled", "currentNumberScheduled", "numberMisscheduled", "numberReady")
    optional = ("numberAvailable", "updatedNumberScheduled", "numberUnavailable")
    counts = dict.fromkeys([*names, *optional], 0)
    waits = []
    for node in state.nodes:
        pod = next(iter(state.held.get(node["metadata"]["name"], ())), None)
        if node["metadata"]["name"] not in state.wanted:
            counts["numberMisscheduled"] += pod is not None
            continue
        counts["desiredNumberScheduled"] += 1
        if pod is None:
            continue
        counts["currentNumberScheduled"] += 1
        wait_s = pods.available_in_s(pod, state.owner["spec"].get("minReadySeconds", 0), state.view.now)
        counts["numberReady"] += wait_s is not None
        counts["numberAvailable"] += wait_s == 0
        waits += [wait_s] if wait_s else []
        counts["updatedNumberScheduled"] += state.is_new(pod)
    counts["numberUnavailable"] = counts["desiredNumberScheduled"] - counts["numberAvailable"]
    old = state.owner.get("status") or {}
    new: Object = {name: count for name, count in counts.items() if count or name not in optional}
    new["observedGeneration"] = state.owner["metadata"].get("generation", 0)
    new.update({name: old[name] for name in ("collisionCount", "conditions") if name in old})
    actions: list[Action] = [UpdateStatus({**state.owner, "status": new}, stands=True)] if new != old else []
    return [*actions, Requeue(min(waits))] if waits else actions


def _revision(owner: Object, pod: Object) -> str:
    return f"{owner['metadata']['name']}-{(pod['metadata'].get('labels') or {}).get(REVISION_LABEL, '')}"


_OWN_KEYS = keys_for("DaemonSet", "daemonsets", STATUS_SETTLE_S)


def _keys(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    if plural != "nodes":
        return _OWN_KEYS(plural, old, new, view)
    if old is not None and new is not None and _placing(old) == _placing(new):
        return []
    return [Due(key_of(one)) for one in view.list("daemonsets")]


def _placing(node: Object) -> tuple[object, ...]:
    return (node["metadata"].get("labels"), node["spec"].get("taints"), node["spec"].get("unschedulable"))


def daemon_sets() -> Controller:
    """Return the controller, with a memory of its own."""
    return Controller(
        name="daemonset",
        source="daemonset-controller",
        reads=("daemonsets", "pods", "nodes", "controllerrevisions"),
        keys=_keys,
        reconcile=DaemonSets().reconcile,
        workers=4,
    )
