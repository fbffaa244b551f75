"""Validate security contexts: identities, seccomp, AppArmor, sysctls, namespaces shared with the host.

Source: upstream's `ValidateSecurityContext`, `validatePodSpecSecurityContext` and what they call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, not_supported, required, too_long
from oarlock.cluster.objects.gostructs import Struct
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.volume_paths import local_path
from oarlock.cluster.objects.windows_validation import windows_options

Obj = Mapping[str, Any]
PROC_MOUNTS: Final = ("Default", "Unmasked")
PROFILE_TYPES: Final = ("Localhost", "RuntimeDefault", "Unconfined")
_ID_MAX: Final = 2**31 - 1
_PROFILE_CHARS_MAX: Final = 4095
_SYSCTL_CHARS_MAX: Final = 253
_SYSCTL_FORM: Final = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_SYSCTL: Final = re.compile(_SYSCTL_FORM)


def container_security(item: Obj, path: str, *, host_users: bool) -> list[Cause]:
    """What is wrong with a container's security context; `host_users`: its users are the host's."""
    causes: list[Cause] = []
    for name in ("runAsUser", "runAsGroup"):
        if name in item:
            causes += identity(item[name], f"{path}.{name}")
    proc = item.get("procMount")
    if proc is not None and proc not in PROC_MOUNTS:
        causes.append(not_supported(f"{path}.procMount", proc, PROC_MOUNTS))
    if proc == "Unmasked" and host_users:
        causes.append(invalid(f"{path}.procMount", proc, "`hostUsers` must be false to use `Unmasked`"))
    if "seccompProfile" in item:
        causes += seccomp(item["seccompProfile"], f"{path}.seccompProfile")
    if item.get("allowPrivilegeEscalation") is False:
        if item.get("privileged"):
            why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            causes.append(invalid(path, Struct("core.v1.SecurityContext", item), why))
        if "capabilities" in item and "CAP_SYS_ADMIN" in item["capabilities"].get("add", ()):
            why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            causes.append(invalid(path, Struct("core.v1.SecurityContext", item), why))
    if "windowsOptions" in item:
        causes += windows_options(item["windowsOptions"], f"{path}.windowsOptions")
    if "appArmorProfile" in item:
        causes += app_armor(item["appArmorProfile"], f"{path}.appArmorProfile")
    return causes


def pod_security(item: Obj, path: str, spec: Obj) -> list[Cause]:
    """What is wrong with a pod's security context."""
    causes: list[Cause] = []
    for name in ("fsGroup", "runAsUser", "runAsGroup"):
        if name in item:
            causes += identity(item[name], f"{path}.{name}")
    for index, group in enumerate(item.get("supplementalGroups", ())):
        causes += identity(group, f"{path}.supplementalGroups[{index}]")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        causes.append(invalid(f"{path}.shareProcessNamespace", spec["shareProcessNamespace"], why))
    if "sysctls" in item:
        causes += _sysctls(item["sysctls"], f"{path}.sysctls", spec)
    causes += _choice(item, path, "fsGroupChangePolicy", ("Always", "OnRootMismatch"))
    causes += seccomp(item.get("seccompProfile"), f"{path}.seccompProfile")
    if "windowsOptions" in item:
        causes += windows_options(item["windowsOptions"], f"{path}.windowsOptions")
    causes += app_armor(item.get("appArmorProfile"), f"{path}.appArmorProfile")
    causes += _choice(item, path, "supplementalGroupsPolicy", ("Merge", "Strict"))
    return causes + _choice(item, path, "seLinuxChangePolicy", ("MountOption", "Recursive"))


def _choice(item: Obj, path: str, name: str, choices: Sequence[str]) -> list[Cause]:
    value = item.get(name)
    return [] if value is None or value in choices else [not_supported(f"{path}.{name}", value, choices)]


def _sysctls(items: Sequence[Obj], path: str, spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate(items):
        name, place = item.get("name", ""), f"{path}[{index}].name"
        if not name:
            causes.append(required(place))
        elif len(name) > _SYSCTL_CHARS_MAX or not _SYSCTL.match(name):
            why = f"must have at most {_SYSCTL_CHARS_MAX} characters and match regex {_SYSCTL_FORM}"
            causes.append(invalid(place, name, why))
        elif name in seen:
            causes.append(duplicate(place, name))
        causes += _host_sysctl(name, place, spec)
        seen.add(name)
    return causes


_IPC_SYSCTLS: Final = ("kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue.")


def _host_sysctl(name: str, path: str, spec: Obj) -> list[Cause]:
    """A pod that shares a namespace with its host may not set what belongs to that namespace."""
    dotted = name.replace("/", ".")
    if spec.get("hostNetwork") and dotted.startswith("net."):
        return [invalid(path, name, "may not be specified when 'hostNetwork' is true")]
    if spec.get("hostIPC") and dotted.startswith(_IPC_SYSCTLS):
        return [invalid(path, name, "may not be specified when 'hostIPC' is true")]
    return []


def identity(number: int | None, path: str) -> list[Cause]:
    """What is wrong with a numeric user or group."""
    if number is None or 0 <= number <= _ID_MAX:
        return []
    return [invalid(path, number, names.INCLUSIVE.format(0, _ID_MAX))]


def seccomp(profile: Obj | None, path: str) -> list[Cause]:
    """What is wrong with a seccomp profile."""
    if profile is None:
        return []
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    if kind == "Localhost":
        if not local:
            return [required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")]
        return local_path(local, f"{path}.localhostProfile")
    causes: list[Cause] = []
    if local is not None:
        causes.append(invalid(f"{path}.localhostProfile", local, "can only be set when seccomp type is Localhost"))
    if not kind:
        return [*causes, required(f"{path}.type", "type is required when seccompProfile is set")]
    if kind not in PROFILE_TYPES:
        causes.append(not_supported(f"{path}.type", kind, PROFILE_TYPES))
    return causes


def app_armor(profile: Obj | None, path: str) -> list[Cause]:
    """What is wrong with an AppArmor profile."""
    if profile is None:
        return []
    kind, local, place = profile.get("type", ""), profile.get("localhostProfile"), f"{path}.localhostProfile"
    if kind == "Localhost":
        return _local_profile(local, place)
    if not kind:
        return [required(f"{path}.type", "type is required when appArmorProfile is set")]
    if kind not in PROFILE_TYPES:
        return [not_supported(f"{path}.type", kind, PROFILE_TYPES)]
    if local is not None:
        return [invalid(place, local, "can only be set when AppArmor type is Localhost")]
    return []


def _local_profile(local: str | None, path: str) -> list[Cause]:
    if local is None or local == "":
        return [required(path, "must be set when AppArmor type is Localhost")]
    causes = [] if local == local.strip() else [invalid(path, local, "must not be padded with whitespace")]
    if len(local) > _PROFILE_CHARS_MAX:
        causes.append(too_long(path, _PROFILE_CHARS_MAX))
    return causes


def own_users(spec: Obj, path: str) -> list[Cause]:
    """What a pod with users of its own may not share with its host."""
    # Upstream spells two of the paths so.
    shared = (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
    why = "when `hostUsers` is false"
    return [forbidden(f"{path}.{place}", why) for name, place in shared if spec.get(name)]
