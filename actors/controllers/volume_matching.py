"""Which volume fits a claim.

Source: upstream's FindMatchingVolume (component-helpers, storage/volume) and checkVolumeSatisfyClaim.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oarlock.cluster.objects import quantity, selectors

Object = dict[str, Any]

_CLASS = "volume.beta.kubernetes.io/storage-class"


def class_of(obj: Mapping[str, Any]) -> str:
    """Return the name of the storage class of a claim or volume, "" for none; an old annotation goes first."""
    annotations = obj["metadata"].get("annotations") or {}
    return str(annotations.get(_CLASS, obj["spec"].get("storageClassName") or ""))


def has_class(claim: Mapping[str, Any]) -> bool:
    """Whether a claim says anything of its class; an empty name says that it wants none."""
    named = claim["spec"].get("storageClassName") is not None
    return named or _CLASS in (claim["metadata"].get("annotations") or {})


def mode_of(obj: Mapping[str, Any]) -> str:
    """Return how a claim or volume is used."""
    return str(obj["spec"].get("volumeMode") or "Filesystem")


def is_for(volume: Mapping[str, Any], claim: Mapping[str, Any]) -> bool:
    """Whether a volume names that claim, by uid if it names one."""
    reference = volume["spec"].get("claimRef") or {}
    metadata = claim["metadata"]
    if (reference.get("namespace"), reference.get("name")) != (metadata["namespace"], metadata["name"]):
        return False
    return not reference.get("uid") or bool(reference["uid"] == metadata["uid"])


def unsatisfied(volume: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
    """Return why a volume that a claim names can't be its own, "" if it can."""
    if _size(volume) < _wanted(claim):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if _attributes(volume) != _attributes(claim):
        return "VolumeAttributesClassName does not match"
    if mode_of(volume) != mode_of(claim):
        return "incompatible volumeMode"
    if not _access(volume, claim):
        return "incompatible accessMode"
    return ""


def best(volumes: Iterable[Object], claim: Mapping[str, Any], *, only_chosen: bool) -> Object | None:
    """Return the smallest volume that fits and is free, one that names the claim before all others.

    `only_chosen` leaves the choice of others to whoever knows the claim's first consumer.
    """
    selector = selectors.from_object(claim["spec"].get("selector"))
    found: list[Object] = []
    for volume in volumes:
        if volume["metadata"].get("deletionTimestamp") or mode_of(volume) != mode_of(claim):
            continue
        if _size(volume) < _wanted(claim) or _attributes(volume) != _attributes(claim):
            continue
        if volume["spec"].get("claimRef"):
            if is_for(volume, claim):
                return volume
            continue
        free = (volume.get("status") or {}).get("phase") == "Available"
        selected = not claim["spec"].get("selector") or selector.matches(volume["metadata"].get("labels") or {})
        fits = class_of(volume) == class_of(claim) and _access(volume, claim)
        if free and selected and fits and not only_chosen:
            found.append(volume)
    return min(found, key=lambda one: (_size(one), one["metadata"]["name"]), default=None)


def _size(volume: Mapping[str, Any]) -> int:
    return quantity.whole((volume["spec"].get("capacity") or {}).get("storage", "0"))


def _wanted(claim: Mapping[str, Any]) -> int:
    return quantity.whole(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0"))


def _attributes(obj: Mapping[str, Any]) -> str:
    return str(obj["spec"].get("volumeAttributesClassName") or "")


def _access(volume: Mapping[str, Any], claim: Mapping[str, Any]) -> bool:
    return set(claim["spec"].get("accessModes") or ()) <= set(volume["spec"].get("accessModes") or ())
