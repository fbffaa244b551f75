"""Claims that were asked to grow: who is to make them grow, for no kind of volume is grown from here.

Source: upstream's expand_controller.go; kubernetes.io "Expanding Persistent Volumes Claims".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oarlock.actors.controllers.actions import Action, RecordEvent, Update
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.migrated_volumes import DRIVERS, plugin_of
from oarlock.actors.controllers.view import View
from oarlock.actors.controllers.volume_matching import is_for
from oarlock.cluster.client.cache import key_of
from oarlock.cluster.objects import quantity

Object = dict[str, Any]

RESIZER = "volume.kubernetes.io/storage-resizer"
_REASON = "ExternalExpanding"
_BEFORE = "volume.alpha.kubernetes.io/pre-resize-capacity"
"""On a volume: it was grown, and its file system wasn't yet."""


def reconcile(key: str, view: View) -> list[Action]:
    """Return what tells a grown claim's owner who is waited for, and that driver which claim is meant."""
    claim = view.get("persistentvolumeclaims", key)
    if claim is None:
        return []
    volume = view.get("persistentvolumes", claim["spec"].get("volumeName", ""))
    if volume is None or not is_for(volume, claim):
        return []
    if _wanted(claim) <= _size(claim) and _BEFORE not in (volume["metadata"].get("annotations") or {}):
        return []
    plugin = plugin_of(volume)
    if plugin is None:
        return [RecordEvent(claim, _REASON, "waiting for an external controller to expand this PVC")]
    message = f"CSI migration enabled for {plugin}; waiting for external resizer to expand the pvc"
    told = RecordEvent(claim, _REASON, message)
    annotations = claim["metadata"].get("annotations") or {}
    if annotations.get(RESIZER) == DRIVERS[plugin]:
        return [told]
    metadata = {**claim["metadata"], "annotations": {**annotations, RESIZER: DRIVERS[plugin]}}
    return [told, Update({**claim, "metadata": metadata})]


def _wanted(claim: Mapping[str, Any]) -> int:
    return quantity.whole(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0"))


def _size(claim: Mapping[str, Any]) -> int:
    return quantity.whole(((claim.get("status") or {}).get("capacity") or {}).get("storage", "0"))


def _keys(_plural: str, old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    if new is None or (new.get("status") or {}).get("phase") != "Bound":
        return []
    grew = old is None or _wanted(new) > _wanted(old) or _size(new) > _size(old)
    return [Due(key_of(new))] if grew else []


VOLUME_EXPANSION = Controller(
    name="volume_expand",
    source="volume_expand",
    reads=("persistentvolumeclaims",),
    looks_at=("persistentvolumes",),
    keys=_keys,
    reconcile=reconcile,
    workers=2,
)
