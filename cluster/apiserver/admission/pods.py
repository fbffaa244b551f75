"""What every new Pod gets: a service account, tolerations for a failing node, its priority.

Source: upstream's ServiceAccount, DefaultTolerationSeconds and Priority admission plugins.
"""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.objects import resources, status

Obj = dict[str, Any]
TOLERATION_S = 300
_FAILING = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


class PodAdmission:
    """Completes new Pods. Raises ApiError 403 for an unknown priority class."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        found = resources.lookup("scheduling.k8s.io", "v1", "priorityclasses")
        assert found is not None
        self._classes = found

    def complete(self, pod: Obj) -> None:
        """Fill in what the client left to the cluster, in place."""
        spec = pod.setdefault("spec", {})
        if "kubernetes.io/config.mirror" not in (pod["metadata"].get("annotations") or {}):
            account = spec.get("serviceAccountName") or "default"
            spec["serviceAccountName"] = account
            spec["serviceAccount"] = account
        _tolerate(spec)
        self._prioritize(pod["metadata"].get("name", ""), spec)

    def _prioritize(self, pod_name: str, spec: Obj) -> None:
        name = spec.get("priorityClassName") or self._global_default()
        if not name:
            spec.setdefault("priority", 0)
            spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
            return
        entry = self._storage.cache.collection(self._classes.key_prefix).entries.get(self._classes.key("", name))
        if entry is None:
            raise status.forbidden("pods", pod_name, f"no PriorityClass with name {name} was found")
        chosen = entry.object()
        value = int(chosen.get("value") or 0)
        given = spec.get("priority")
        if given is not None and given != value:
            why = (
                f"the integer value of priority ({given}) must not be provided in pod spec; priority admission "
                f"controller computed {value} from the given PriorityClass name"
            )
            raise status.forbidden("pods", pod_name, why)
        spec["priorityClassName"] = name
        spec["priority"] = value
        spec.setdefault("preemptionPolicy", chosen.get("preemptionPolicy", "PreemptLowerPriority"))

    def _global_default(self) -> str:
        best: Obj | None = None
        for entry in self._storage.cache.collection(self._classes.key_prefix).entries.values():
            if b'"globalDefault":true' in entry.wire:
                found = entry.object()
                if best is None or found.get("value", 0) < best.get("value", 0):
                    best = found
        return best["metadata"]["name"] if best else ""


def _tolerate(spec: Obj) -> None:
    tolerations = spec.get("tolerations") or []
    for key in _FAILING:
        if not any(_covers(toleration, key) for toleration in tolerations):
            tolerations = [
                *tolerations,
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_S},
            ]
    spec["tolerations"] = tolerations


def _covers(toleration: Obj, key: str) -> bool:
    return toleration.get("key", "") in (key, "") and toleration.get("effect", "") in ("NoExecute", "")
