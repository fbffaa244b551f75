"""What controllers ask of pods: their state, making them from a template, and which to give up first."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from oarlock.actors.controllers import conditions
from oarlock.actors.controllers.ownership import controller_reference
from oarlock.actors.controllers.view import ENDED_PHASES, View, parse_time

Object = dict[str, Any]

_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_RANK = {"Pending": 0, "Unknown": 1, "Running": 2}
_PREFIX_MAX = 63 - 5


def phase(pod: Mapping[str, Any]) -> str:
    """Return the pod's phase, Pending when it has none yet."""
    return (pod.get("status") or {}).get("phase") or "Pending"


def is_ended(pod: Mapping[str, Any]) -> bool:
    """Whether all containers have ended for good."""
    return phase(pod) in ENDED_PHASES


def is_active(pod: Mapping[str, Any]) -> bool:
    """Whether the pod runs or will, and isn't being deleted."""
    return not is_ended(pod) and not pod["metadata"].get("deletionTimestamp")


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's Ready condition is True."""
    return conditions.is_true((pod.get("status") or {}).get("conditions"), "Ready")


def ready_since(pod: Mapping[str, Any]) -> datetime | None:
    """Return when a ready pod became so."""
    found = conditions.find((pod.get("status") or {}).get("conditions"), "Ready")
    if found is None or found.get("status") != "True" or not found.get("lastTransitionTime"):
        return None
    return parse_time(found["lastTransitionTime"])


def available_in_s(pod: Mapping[str, Any], min_ready_s: int, now: datetime) -> float | None:
    """Return the seconds until a pod has been ready for `min_ready_s`: 0 when it has, None when it isn't ready."""
    if not is_ready(pod):
        return None
    since = ready_since(pod)
    if min_ready_s == 0:
        return 0.0
    return max(0.0, min_ready_s - (now - since).total_seconds()) if since is not None else float(min_ready_s)


def from_template(view: View, template: Mapping[str, Any], owner: Mapping[str, Any], prefix: str = "") -> Object:
    """Return a new pod that `owner` controls, named `prefix` (by default the owner's name) and a random suffix."""
    meta = template.get("metadata") or {}
    generate = (prefix or f"{owner['metadata']['name']}-")[:_PREFIX_MAX]
    metadata: Object = {
        "name": generate + view.suffix(),
        "generateName": prefix or f"{owner['metadata']['name']}-",
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [controller_reference(owner)],
    }
    for name in ("labels", "annotations", "finalizers"):
        if meta.get(name):
            metadata[name] = copy.copy(meta[name])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}


def least_wanted(pods: Iterable[Object], related: Iterable[Object], now: datetime) -> list[Object]:
    """Return `pods` in the order in which to delete them.

    Unbound before bound, Pending before Running, unready before ready, cheap before dear, from crowded nodes
    (counting the `related` pods) first, ready for a short time first, often restarted first, young first.
    Source: upstream's ActivePodsWithRanks.
    """
    crowd = Counter(pod["spec"].get("nodeName", "") for pod in related if is_active(pod))

    def rank(pod: Object) -> tuple[object, ...]:
        ready = is_ready(pod)
        node = pod["spec"].get("nodeName", "")
        statuses = (pod.get("status") or {}).get("containerStatuses") or ()
        return (
            bool(node),
            _PHASE_RANK.get(phase(pod), 1),
            ready,
            _deletion_cost(pod),
            -crowd[node],
            _age_magnitude(ready_since(pod), now) if ready else 0,
            -max((status.get("restartCount", 0) for status in statuses), default=0),
            _age_magnitude(parse_time(pod["metadata"]["creationTimestamp"]), now),
            pod["metadata"]["uid"],
        )

    return sorted(pods, key=rank)


def _deletion_cost(pod: Mapping[str, Any]) -> int:
    try:
        return int((pod["metadata"].get("annotations") or {}).get(_DELETION_COST, "0"))
    except ValueError:
        return 0


def _age_magnitude(since: datetime | None, now: datetime) -> int:
    """Ages within a power of two count as equal, so that the choice among them is spread by uid."""
    if since is None:
        return -1
    return int(math.log2(max(1.0, (now - since).total_seconds())))
