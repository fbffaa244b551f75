"""Validate what is particular to Windows, and what may not be set for the operating system that a pod names.

Source: upstream's `validateWindowsSecurityContextOptions`, `validateWindowsHostProcessPod`, `validateOS`,
`validateLinux` and `validateWindows`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
SYSTEMS: Final = ("linux", "windows")
_CREDENTIAL_KIB_MAX: Final = 64
_DOMAIN_CHARS_MAX: Final = 256
_USER_CHARS_MAX: Final = 104
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NET_BIOS: Final = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
_DNS_LABEL: Final = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DNS: Final = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_FORBIDDEN: Final = '"/\\:;|=,+*?<>@[]'
_NOT_FOR_LINUX: Final = "windows options cannot be set for a linux pod"
_NOT_FOR_WINDOWS: Final = "cannot be set for a windows pod"


def windows_options(item: Obj, path: str) -> list[Cause]:
    """What is wrong with the Windows options of a security context."""
    causes: list[Cause] = []
    name, spec, user = (item.get(key) for key in ("gmsaCredentialSpecName", "gmsaCredentialSpec", "runAsUserName"))
    if name is not None:
        causes += [invalid(f"{path}.gmsaCredentialSpecName", name, why) for why in names.dns_subdomain(name)]
    if spec == "":
        why = "gmsaCredentialSpec cannot be an empty string"
        causes.append(invalid(f"{path}.gmsaCredentialSpec", spec, why))
    elif spec is not None and len(spec) > _CREDENTIAL_KIB_MAX * 1024:
        why = f"gmsaCredentialSpec size must be under {_CREDENTIAL_KIB_MAX} KiB"
        causes.append(invalid(f"{path}.gmsaCredentialSpec", spec, why))
    if user is not None:
        causes += [invalid(f"{path}.runAsUserName", user, f"runAsUserName{why}") for why in _user_name(user)]
    return causes


def _user_name(text: str) -> list[str]:
    if not text:
        return [" cannot be an empty string"]
    if _CONTROL.search(text):
        return [" cannot contain control characters"]
    parts = text.split("\\")
    if len(parts) > 2:
        return [" cannot contain more than one backslash"]
    *domains, user = parts
    errors: list[str] = []
    for domain in domains:
        if len(domain) >= _DOMAIN_CHARS_MAX:
            errors.append(f"'s Domain length must be under {_DOMAIN_CHARS_MAX} characters")
        if not _NET_BIOS.fullmatch(domain) and not _DNS.fullmatch(domain):
            errors.append("'s Domain doesn't match the NetBios nor the DNS format")
    if not user:
        errors.append("'s User cannot be empty")
    elif len(user) > _USER_CHARS_MAX:
        errors.append(f"'s User length must not be longer than {_USER_CHARS_MAX} characters")
    if user and not user.strip(". "):
        errors.append("'s User cannot contain only periods or spaces")
    if any(char in _FORBIDDEN for char in user):
        errors.append(f"'s User cannot contain the following characters: {_FORBIDDEN}")
    return errors


def _contexts(spec: Obj, path: str) -> Iterator[tuple[Obj, str]]:
    """The security contexts of all containers and their places, in upstream's order."""
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            yield container.get("securityContext", {}), f"{path}.{group}[{index}].securityContext"


def _any_windows(spec: Obj) -> bool:
    """Whether a container has Windows options."""
    for group in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(group) or ():
            if "securityContext" in container and "windowsOptions" in container["securityContext"]:
                return True
    return False


def host_processes(spec: Obj, path: str) -> list[Cause]:
    """What is wrong with a pod of host processes: all its containers are, and it is on the host's network."""
    pod: bool | None = spec.get("securityContext", {}).get("windowsOptions", {}).get("hostProcess")
    causes: list[Cause] = []
    modes: list[bool] = []
    if pod is None and not _any_windows(spec):
        return []
    for context, place in _contexts(spec, path):
        own: bool | None = context.get("windowsOptions", {}).get("hostProcess")
        if pod is not None and own is not None and pod != own:
            why = f"pod hostProcess value must be identical if both are specified, was {str(pod).lower()}"
            causes.append(invalid(f"{place}.windowsOptions.hostProcess", own, why))
        modes.append(bool(pod if own is None else own))
    if not any(modes):
        return causes
    if not all(modes):
        why = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        causes.append(invalid(path, "", why))
    if not spec.get("hostNetwork"):
        why = "hostNetwork must be true if pod contains any hostProcess containers"
        causes.append(invalid(f"{path}.hostNetwork", spec.get("hostNetwork", False), why))
    return causes


def operating_system(spec: Obj, path: str) -> list[Cause]:
    """What is wrong with the system that a pod names, and with what it sets for it."""
    name = spec["os"].get("name", "")
    if not name:
        return [required(f"{path}.os.name", "cannot be empty")]
    if name not in SYSTEMS:
        return [not_supported(f"{path}.os", name, SYSTEMS)]
    pod = (spec.get("securityContext", {}), f"{path}.securityContext")
    if name == "linux":
        places = [place for context, place in (pod, *_contexts(spec, path)) if "windowsOptions" in context]
        return [forbidden(f"{place}.windowsOptions", _NOT_FOR_LINUX) for place in places]
    causes = [
        forbidden(f"{path}.{'' if field in _IN_SPEC else 'securityContext.'}{field}", _NOT_FOR_WINDOWS)
        for field in _POD_LINUX
        if (spec if field in _IN_SPEC else pod[0]).get(field) not in _UNSET.get(field, (None,))
    ]
    for context, place in _contexts(spec, path):
        causes += [forbidden(f"{place}.{name}", _NOT_FOR_WINDOWS) for name in _CONTAINER_LINUX if name in context]
    return causes


_IN_SPEC: Final = frozenset({"hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"})
_UNSET: Final[Mapping[str, tuple[Any, ...]]] = {
    "hostPID": (None, False),
    "hostIPC": (None, False),
    "sysctls": (None, []),
}
_POD_LINUX: Final = (
    *("appArmorProfile", "seLinuxOptions", "hostUsers", "hostPID", "hostIPC", "seccompProfile", "fsGroup"),
    *("fsGroupChangePolicy", "sysctls", "shareProcessNamespace", "runAsUser", "runAsGroup", "supplementalGroups"),
    "supplementalGroupsPolicy",
)
_CONTAINER_LINUX: Final = (
    *("appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged"),
    *("allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup"),
)
