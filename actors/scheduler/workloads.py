"""Which pods belong together: those of a Service, and those of one owner, as the default spreading takes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.cluster.objects.selectors import LabelSelector, from_labels, from_object

Object = Mapping[str, Any]
OWNERS = ("ReplicationController", "ReplicaSet", "StatefulSet")


class Workloads:
    """Selectors of Services by namespace, and of owners by (kind, namespace/name)."""

    def __init__(self) -> None:
        self._services: dict[str, dict[str, LabelSelector]] = defaultdict(dict)
        self._owners: dict[tuple[str, str], LabelSelector] = {}

    def put(self, kind: str, key: str, obj: Object | None) -> None:
        """Take a Service or an owner as it is now; None if it is gone."""
        namespace, _, name = key.partition("/")
        selector = None if obj is None else _selector(kind, obj)
        if kind == "Service":
            self._services[namespace].pop(name, None)
            if selector is not None and not selector.nothing:
                self._services[namespace][name] = selector
        elif selector is None:
            self._owners.pop((kind, key), None)
        else:
            self._owners[kind, key] = selector

    def selector_of(self, pod: PodFacts) -> LabelSelector | None:
        """Return what chooses the pods that belong with this one; None if it stands alone.

        Source: upstream's plugin helper DefaultSelector.
        """
        requirements = [
            one
            for selector in self._services.get(pod.namespace, {}).values()
            if selector.matches(pod.labels)
            for one in selector.requirements
        ]
        kind, name = pod.owner
        owner = self._owners.get((kind, f"{pod.namespace}/{name}"))
        if owner is not None and not owner.nothing:
            requirements.extend(owner.requirements)
        return LabelSelector(tuple(dict.fromkeys(requirements))) if requirements else None


def _selector(kind: str, obj: Object) -> LabelSelector:
    selector = (obj.get("spec") or {}).get("selector")
    return from_labels(selector) if kind in ("Service", "ReplicationController") else from_object(selector)
