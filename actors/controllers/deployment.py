"""Deployments: ReplicaSets for each template, rolled over within surge and unavailable.

A reconcile works on a model of the ReplicaSets' sizes (`rollout.Set`) and then writes each ReplicaSet that differs
at most once, and the Deployment's annotation and status together in one write.
Source: kubernetes.io "Deployments"; upstream's deployment controller for names, order and wording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from oarlock.actors.controllers import deployment_status as status
from oarlock.actors.controllers import pods, revisions, rollback, rollout
from oarlock.actors.controllers.actions import Action, Create, Delete, RecordEvent, Update
from oarlock.actors.controllers.loop import Controller
from oarlock.actors.controllers.ownership import STATUS_SETTLE_S, claim, keys_for, selector_of
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]


@dataclass
class Rollout:
    """One reconcile's picture of a Deployment and its ReplicaSets."""

    deployment: Object
    limit: rollout.Bounds
    old: list[Object]
    new: Object | None
    created: bool = False
    sizes: dict[str, rollout.Set] = field(default_factory=dict)

    @property
    def all(self) -> list[Object]:
        """All ReplicaSets, the new one last."""
        return [*self.old, self.new] if self.new is not None else list(self.old)

    def size(self, one: Object) -> rollout.Set:
        """The model of one ReplicaSet."""
        return self.sizes[one["metadata"]["name"]]

    def old_sizes(self) -> list[rollout.Set]:
        """The models of the old ReplicaSets."""
        return [self.size(one) for one in self.old]


def reconcile(key: str, view: View) -> list[Action]:
    """Return what brings a Deployment one step further."""
    deployment = view.get("deployments", key)
    if deployment is None:
        return []
    selector = selector_of(deployment)
    if selector.everything:
        message = "This deployment is selecting all pods. A non-empty selector is required."
        return [RecordEvent(deployment, "SelectingAll", message, "Warning")]
    found = claim(view, "replicasets", deployment, selector)
    if found.patches:
        return found.patches
    new = revisions.find_new(deployment, found.owned)
    old = revisions.by_age(one for one in found.owned if one is not new)
    going = Rollout(deployment, rollout.bounds(deployment), old, new)
    going.sizes = {one["metadata"]["name"]: _model(one) for one in found.owned}
    if deployment["metadata"].get("deletionTimestamp"):
        return status.write(view, deployment, going.all, going.new, going.limit, tracked=False)
    return _advance(view, going)


def _advance(view: View, going: Rollout) -> list[Action]:
    paused = bool(going.deployment["spec"].get("paused"))
    if not paused and (back := rollback.roll_back(going.deployment, going.new, going.old)):
        return back
    if paused or _resized(going):
        _scale(going)
        step = _writes(going)
        cleanup = _cleanup(going) if paused and not step else []
        return [*step, *cleanup, *_status(view, going, tracked=False)]
    if (going.deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        _recreate(view, going)
    else:
        _roll(going)
    if going.created and _is_taken(view, going.new):
        # Another template has this hash, or somebody else this name: the next reconcile takes the next hash.
        return [status.collided(going.deployment)]
    step = _writes(going)
    if not (going.deployment.get("status") or {}).get("conditions") and not _is_counted(going.new):
        # Nothing was said of this Deployment yet: it is told once the ReplicaSet has its pods, in one write.
        return step
    complete = status.is_complete(going.deployment, going.deployment.get("status") or {})
    cleanup = _cleanup(going) if not step and complete else []
    return [*step, *cleanup, *_status(view, going, tracked=True)]


def _status(view: View, going: Rollout, *, tracked: bool) -> list[Action]:
    revision = revisions.revision_of(going.new) if going.new is not None else 0
    if going.new is not None and not going.created:
        revision = max(revision, revisions.next_revision(going.old))
    return status.write(
        view,
        going.deployment,
        going.all,
        going.new,
        going.limit,
        tracked=tracked,
        created=going.created,
        revision=revision,
    )


def _model(one: Object) -> rollout.Set:
    annotations = one["metadata"].get("annotations") or {}

    def number(name: str) -> int:
        text = annotations.get(name, "")
        return int(text) if text.isdigit() else 0

    return rollout.Set(
        name=one["metadata"]["name"],
        size=one["spec"].get("replicas", 1),
        available=(one.get("status") or {}).get("availableReplicas", 0),
        created=one["metadata"].get("creationTimestamp") or "",
        max_before=number(rollout.MAX),
        desired_before=number(rollout.DESIRED),
    )


def _resized(going: Rollout) -> bool:
    """Whether the Deployment was scaled since its active ReplicaSets were sized."""
    active = [one for one in going.sizes.values() if one.size > 0]
    return any(one.desired_before != going.limit.replicas for one in active if one.desired_before or one.max_before)


def _scale(going: Rollout) -> None:
    """Follow a change of the Deployment's replicas without rolling on."""
    limit = going.limit
    active = [one for one in going.all if going.size(one).size > 0]
    only = active[0] if len(active) == 1 else None
    if not active:
        only = going.new if going.new is not None else going.old[-1] if going.old else None
    if only is not None:
        going.size(only).size = limit.replicas
    elif going.new is not None and _saturated(going, going.size(going.new)):
        for one in going.old_sizes():
            one.size = 0
    elif (going.deployment["spec"].get("strategy") or {}).get("type") != "Recreate":
        rollout.spread(limit, going.sizes.values(), (going.deployment.get("status") or {}).get("replicas", 0))


def _saturated(going: Rollout, new: rollout.Set) -> bool:
    replicas = going.limit.replicas
    return new.size == replicas and new.desired_before == replicas and new.available == replicas


def _roll(going: Rollout) -> None:
    """One step of a rolling update: first the new set up, or else the old ones down."""
    if going.new is None:
        _begin(going, 0)
        assert going.new is not None
        new = going.size(going.new)
        new.size = rollout.new_size(going.limit, going.sizes.values(), new)
    else:
        new = going.size(going.new)
        size = rollout.new_size(going.limit, going.sizes.values(), new)
        if size != new.size:
            new.size = size
            return
    rollout.shrink_old(going.limit, going.old_sizes(), new)


def _recreate(view: View, going: Rollout) -> None:
    """All old pods away, then the new ones."""
    shrunk = False
    for one in going.old_sizes():
        shrunk = shrunk or one.size > 0
        one.size = 0
    if shrunk or _old_pods_run(view, going):
        return
    if going.new is None:
        _begin(going, going.limit.replicas)
    else:
        going.size(going.new).size = going.limit.replicas


def _old_pods_run(view: View, going: Rollout) -> bool:
    return any(not pods.is_ended(pod) for one in going.old for pod in view.controlled("pods", one))


def _begin(going: Rollout, size: int) -> None:
    """Add the ReplicaSet of the Deployment's present template to the picture."""
    revision = revisions.next_revision(going.old)
    made = revisions.new_replica_set(going.deployment, revision, going.limit, size)
    going.new, going.created = made, True
    going.sizes[made["metadata"]["name"]] = rollout.Set(made["metadata"]["name"], size, 0)


def _writes(going: Rollout) -> list[Action]:
    """Return one write for each ReplicaSet whose size or annotations are to be others."""
    actions: list[Action] = []
    if going.created and going.new is not None:
        actions += _creation(going, going.new)
    elif going.new is not None:
        actions += _update(going, going.new)
    for one in going.old:
        actions += _update(going, one)
    return actions


def _is_counted(new: Object | None) -> bool:
    """Whether the ReplicaSet's own controller has seen it: a status that it is sure to write is on its way."""
    return new is None or "observedGeneration" in (new.get("status") or {})


def _is_taken(view: View, new: Object | None) -> bool:
    return new is not None and view.get("replicasets", key_of(new)) is not None


def _creation(going: Rollout, new: Object) -> list[Action]:
    size = going.size(new).size
    name = new["metadata"]["name"]
    going.new = {**new, "spec": {**new["spec"], "replicas": size}}
    failed = RecordEvent(
        going.deployment, "ReplicaSetCreateError", f'Failed to create new replica set "{name}": {{error}}', "Warning"
    )
    done = _scaled_event(going.deployment, name, 0, size) if size > 0 else None
    return [Create(going.new, done, failed)]


def _update(going: Rollout, one: Object) -> list[Action]:
    before, size = one["spec"].get("replicas", 1), going.size(one).size
    held = one["metadata"].get("annotations") or {}
    annotations = held
    min_ready_s = one["spec"].get("minReadySeconds", 0)
    if one is going.new:
        annotations = revisions.annotations_for(going.deployment, one, revisions.next_revision(going.old))
        min_ready_s = going.deployment["spec"].get("minReadySeconds", 0)
    if size != before or (one is not going.new and size > 0) or (one is going.new and size > 0):
        annotations = {**annotations, **revisions.size_annotations(going.limit)}
    if size == before and annotations == held and min_ready_s == one["spec"].get("minReadySeconds", 0):
        return []
    spec = {**one["spec"], "replicas": size, "minReadySeconds": min_ready_s}
    changed = {**one, "metadata": {**one["metadata"], "annotations": annotations}, "spec": spec}
    done = _scaled_event(going.deployment, one["metadata"]["name"], before, size) if size != before else None
    return [Update(changed, done)]


def _scaled_event(deployment: Object, name: str, before: int, after: int) -> RecordEvent:
    direction = "up" if after > before else "down"
    return RecordEvent(
        deployment, "ScalingReplicaSet", f"Scaled {direction} replica set {name} from {before} to {after}"
    )


def _cleanup(going: Rollout) -> Sequence[Action]:
    """Delete the old, empty ReplicaSets beyond the history limit, the lowest revisions first."""
    limit = going.deployment["spec"].get("revisionHistoryLimit")
    if limit is None:
        return []
    old = sorted((one for one in going.old if not one["metadata"].get("deletionTimestamp")), key=revisions.revision_of)
    return [Delete(one, propagation="Background") for one in old[: max(0, len(old) - limit)] if _is_empty(one)]


def _is_empty(one: Object) -> bool:
    held = one.get("status") or {}
    seen = held.get("observedGeneration", 0) >= one["metadata"].get("generation", 0)
    return seen and not held.get("replicas") and not one["spec"].get("replicas", 1)


DEPLOYMENT = Controller(
    name="deployment",
    source="deployment-controller",
    reads=("deployments", "replicasets"),
    keys=keys_for("Deployment", "deployments", STATUS_SETTLE_S),
    reconcile=reconcile,
    looks_at=("pods",),
)
