"""When the change was made that endpoints are about to follow, for those who measure how long that takes.

Source: upstream's k8s.io/endpointslice/util trigger_time_tracker.go, its limits included: of several changes between
two looks only one is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oarlock.actors.controllers import conditions

CHANGED_AT = "endpoints.kubernetes.io/last-change-trigger-time"


class TriggerTimes:
    """Remembers, for every Service, the changes that its endpoints have followed."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, str]] = {}

    def since(self, key: str, service: Mapping[str, Any], turned: Mapping[str, str]) -> str | None:
        """Return the earliest time of the changes that weren't seen before, None without any.

        `turned` tells by name when each pod became ready or ceased to be. A Service that is new here has changed when
        it was made.
        """
        made = str(service["metadata"].get("creationTimestamp") or "")
        before = self._seen.get(key)
        self._seen[key] = now = {**turned, "": made}
        if before is None:
            return made or None
        return min((at for name, at in now.items() if at > before.get(name, "")), default=None)

    def forget(self, key: str) -> None:
        """Let go of a Service."""
        self._seen.pop(key, None)


def annotated(annotations: Mapping[str, str] | None, since: str | None) -> dict[str, str]:
    """Return annotations that tell `since`, or that tell nothing of it."""
    kept = {name: value for name, value in (annotations or {}).items() if name != CHANGED_AT}
    return {**kept, CHANGED_AT: since} if since else kept


def turned_at(pod: Mapping[str, Any]) -> str:
    """Return when a pod became ready or ceased to be, "" if that isn't known."""
    ready = conditions.find((pod.get("status") or {}).get("conditions"), "Ready")
    return str((ready or {}).get("lastTransitionTime") or "")
