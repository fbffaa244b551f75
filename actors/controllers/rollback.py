"""Automatic rollback: a Deployment that asks for it goes back when its rollout passes its progress deadline.

Not upstream's: opted into with the annotation `oarlock.dev/rollback-on-deadline: "true"`. What happens is what
`kubectl rollout undo` does, in two writes: the ReplicaSet that got stuck is marked, then the Deployment gets the
template of the latest earlier one that isn't. A marked template is never gone back to, so that two bad templates
don't take turns; a restart between the writes goes on with the second.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oarlock.actors.controllers import conditions, revisions
from oarlock.actors.controllers.actions import Action, Patch, RecordEvent, Update

Object = dict[str, Any]

ASKED = "oarlock.dev/rollback-on-deadline"
STUCK = "oarlock.dev/stuck-at-revision"
"""On a ReplicaSet: the revision at which it passed the deadline."""


def roll_back(deployment: Object, new: Object | None, old: Iterable[Object]) -> list[Action]:
    """Return the writes that go back, none unless `new` got stuck, the Deployment wants it and it can."""
    annotations = deployment["metadata"].get("annotations") or {}
    if new is None or annotations.get(ASKED) != "true" or not _is_stuck(deployment, new):
        return []
    target = max((one for one in old if not _is_marked(one)), key=revisions.revision_of, default=None)
    if target is None:
        message = "No earlier revision to roll back to that didn't pass its progress deadline"
        return (
            [] if _is_marked(new) else [_mark(new), RecordEvent(deployment, "RollbackImpossible", message, "Warning")]
        )
    revision = revisions.revision_of(target)
    template = revisions.unhashed(target["spec"]["template"])
    message = f'Rolled back deployment "{deployment["metadata"]["name"]}" to revision {revision}'
    changed = {**deployment, "spec": {**deployment["spec"], "template": template}}
    done = RecordEvent(deployment, "DeploymentRollback", f"{message}: the rollout passed its progress deadline")
    marking: list[Action] = [] if _is_marked(new) else [_mark(new)]
    return [*marking, Update(changed, done)]


def _is_stuck(deployment: Object, new: Object) -> bool:
    """Whether the condition is about this ReplicaSet: it may still tell of the one that was gone back from."""
    found = conditions.find((deployment.get("status") or {}).get("conditions"), "Progressing")
    named = f'ReplicaSet "{new["metadata"]["name"]}" '
    return (
        found is not None
        and found.get("reason") == "ProgressDeadlineExceeded"
        and str(found.get("message", "")).startswith(named)
    )


def _mark(new: Object) -> Patch:
    return Patch(new, {"metadata": {"annotations": {STUCK: str(revisions.revision_of(new))}}})


def _is_marked(one: Object) -> bool:
    """Whether a ReplicaSet got stuck at the revision that it still has; used anew, it gets another chance."""
    held = (one["metadata"].get("annotations") or {}).get(STUCK)
    return held is not None and held == str(revisions.revision_of(one))
