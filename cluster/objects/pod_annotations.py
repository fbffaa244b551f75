"""Validate the annotations that mean something to a Pod: mirror pods, deletion costs, seccomp, AppArmor.

Source: upstream's `ValidatePodSpecificAnnotations` and what it calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from oarlock.cluster.objects.causes import forbidden, invalid
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.volume_paths import local_path

Obj = Mapping[str, Any]
MIRROR: Final = "kubernetes.io/config.mirror"
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
APP_ARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_POD: Final = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER: Final = "container.seccomp.security.alpha.kubernetes.io/"
_LOCAL: Final = "localhost/"
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
#: What an annotation may say for a profile of a type; a local one names its file.
_SECCOMP_SAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "Unconfined": ("unconfined",),
    "RuntimeDefault": ("runtime/default", "docker/default"),
}
_APP_ARMOR_SAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "Unconfined": ("unconfined",),
    "RuntimeDefault": ("runtime/default",),
}


def pod_annotations(pairs: Mapping[str, str], spec: Obj, path: str) -> list[Cause]:
    """What is wrong with a Pod's annotations (at `path`) beyond their syntax."""
    causes: list[Cause] = []
    if MIRROR in pairs and not spec.get("nodeName"):
        why = "must set spec.nodeName if mirror pod annotation is set"
        causes.append(invalid(f"{path}[{MIRROR}]", pairs[MIRROR], why))
    cost = pairs.get(DELETION_COST)
    if cost is not None and not _is_int32(cost):
        causes.append(invalid(f"{path}[{DELETION_COST}]", cost, "must be a 32bit integer"))
    for key, value in pairs.items():
        if key == SECCOMP_POD or key.startswith(SECCOMP_CONTAINER):
            causes += _seccomp(value, f"{path}.{key}")
        elif key.startswith(APP_ARMOR):
            causes += _app_armor(key, value, spec, path)
    return causes


def _is_int32(text: str) -> bool:
    """Whether a text is an integer as upstream wants this one: no leading zero or plus sign."""
    if not _INTEGER.fullmatch(text) or (len(text) > 1 and text[0] == "0") or text[0] == "+":
        return False
    return -(2**31) <= int(text) < 2**31


def _seccomp(profile: str, path: str) -> list[Cause]:
    if profile in {"runtime/default", "docker/default", "unconfined"}:
        return []
    if profile.startswith(_LOCAL):
        return local_path(profile.removeprefix(_LOCAL), path)
    return [invalid(path, profile, "must be a valid seccomp profile")]


def _app_armor(key: str, profile: str, spec: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    name = key.removeprefix(APP_ARMOR)
    if all(container.get("name") != name for container, _ in _containers(spec, "")):
        causes.append(invalid(f"{path}[{key}]", name, "container not found"))
    if profile and profile not in {"runtime/default", "unconfined"} and not profile.startswith(_LOCAL):
        causes.append(invalid(f"{path}[{key}]", profile, f"invalid AppArmor profile name: {quote(profile)}"))
    return causes


def _containers(spec: Obj, path: str) -> Iterator[tuple[Obj, str]]:
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            yield container, f"{path}.{group}[{index}].securityContext"


def profiles_match(pairs: Mapping[str, str], spec: Obj, path: str) -> list[Cause]:
    """Where a new Pod's fields (of its spec at `path`) and annotations say different things about a profile."""
    pod = spec.get("securityContext", {})
    causes: list[Cause] = []
    said = pairs.get(SECCOMP_POD)
    if said is not None and "seccompProfile" in pod:
        place = f"{path}.securityContext.seccompProfile"
        causes += _matches(said, pod["seccompProfile"], place, "seccomp", _SECCOMP_SAYS)
    for container, place in _containers(spec, path):
        own = container.get("securityContext", {})
        said = pairs.get(f"{SECCOMP_CONTAINER}{container.get('name')}")
        if said is not None and "seccompProfile" in own:
            causes += _matches(said, own["seccompProfile"], f"{place}.seccompProfile", "seccomp", _SECCOMP_SAYS)
    if spec.get("os", {}).get("name") == "windows":
        return causes
    for container, place in _containers(spec, path):
        profile = container.get("securityContext", {}).get("appArmorProfile", pod.get("appArmorProfile"))
        said = pairs.get(f"{APP_ARMOR}{container.get('name')}")
        if said is not None and profile is not None:
            causes += _matches(said, profile, f"{place}.appArmorProfile", "apparmor", _APP_ARMOR_SAYS)
    return causes


def _matches(said: str, profile: Obj, path: str, word: str, says: Mapping[str, tuple[str, ...]]) -> list[Cause]:
    kind = profile.get("type", "")
    if kind == "Localhost":
        if not said.startswith(_LOCAL):
            return [forbidden(f"{path}.type", f"{word} type in annotation and field must match")]
        if profile.get("localhostProfile") != said.removeprefix(_LOCAL):
            why = f"{word} profile in annotation and field must match"
            return [forbidden(f"{path}.localhostProfile", why)]
        return []
    if kind in says and said not in says[kind]:
        return [forbidden(f"{path}.type", f"{word} type in annotation and field must match")]
    return []
