"""The checks of the baseline level. Source: pod-security-admission policy/check_*.go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from oarlock.cluster.apiserver.admission.pod_security.finding import (
    Check,
    Finding,
    Obj,
    containers,
    has_user_namespace,
    listed,
    names,
    plural,
    quoted,
    security,
    setters,
)
from oarlock.cluster.objects.gotext import quote

_CAPABILITIES: Final = frozenset(
    {
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP"),
        *("SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    }
)
_APPARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_POD: Final = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER: Final = "container.seccomp.security.alpha.kubernetes.io/"
_CONFINED: Final = ("RuntimeDefault", "Localhost")
_SELINUX_1_0: Final = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})
_SYSCTLS_1_0: Final = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    }
)
_SYSCTLS_1_27: Final = _SYSCTLS_1_0 | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_1_29: Final = _SYSCTLS_1_27 | {
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
_SYSCTLS_1_32: Final = _SYSCTLS_1_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def app_armor(metadata: Obj, spec: Obj) -> Finding | None:
    """AppArmor stays on: in fields and in the older annotations."""

    def is_bad(holder: Obj) -> bool:
        profile = security(holder).get("appArmorProfile")
        return profile is not None and profile.get("type") not in _CONFINED

    bad = [one for one in containers(spec) if is_bad(one)]
    values = {security(one)["appArmorProfile"].get("type") or "" for one in [*bad, *([spec] if is_bad(spec) else [])]}
    annotations = sorted(
        f"{key}={quote(value)}"
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith(_APPARMOR) and not _allowed_annotation(value)
    )
    every = [*sorted(values), *annotations]
    if not every:
        return None
    who = [setters(is_bad(spec), names(bad)), plural("annotation", "annotations", len(annotations))]
    said = " and ".join(one for one, present in zip(who, (values, annotations), strict=True) if present)
    reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", len(every))
    return Finding(reason, f"{said} must not set AppArmor profile type to {quoted(every)}")


def _allowed_annotation(value: str) -> bool:
    return value in ("", "runtime/default") or value.startswith("localhost/")


def capabilities(_: Obj, spec: Obj) -> Finding | None:
    """Nothing beyond the default capabilities is added."""
    bad: dict[str, set[str]] = {}
    for one in containers(spec):
        added = set((security(one).get("capabilities") or {}).get("add") or ()) - _CAPABILITIES
        if added:
            bad[one.get("name") or ""] = added
    if not bad:
        return None
    what = quoted(sorted(set().union(*bad.values())))
    text = f"{listed(list(bad))} must not include {what} in securityContext.capabilities.add"
    return Finding("non-default capabilities", text)


def host_namespaces(_: Obj, spec: Obj) -> Finding | None:
    """The host's namespaces aren't shared."""
    shared = [name for name in ("hostIPC", "hostNetwork", "hostPID") if spec.get(name)]
    return Finding("host namespaces", ", ".join(f"{name}=true" for name in shared)) if shared else None


def host_paths(_: Obj, spec: Obj) -> Finding | None:
    """The host's files aren't mounted."""
    found = [one.get("name") or "" for one in spec.get("volumes") or () if one.get("hostPath") is not None]
    return Finding("hostPath volumes", f"{plural('volume', 'volumes', len(found))} {quoted(found)}") if found else None


def host_ports(_: Obj, spec: Obj) -> Finding | None:
    """No port of the host is taken."""
    bad: list[str] = []
    ports: set[str] = set()
    for one in containers(spec):
        taken = {str(port["hostPort"]) for port in one.get("ports") or () if port.get("hostPort")}
        if taken:
            bad.append(one.get("name") or "")
            ports |= taken
    if not bad:
        return None
    said = f"{plural('uses', 'use', len(bad))} {plural('hostPort', 'hostPorts', len(ports))}"
    return Finding("hostPort", f"{listed(bad)} {said} {', '.join(sorted(ports))}")


def host_probes(_: Obj, spec: Obj) -> Finding | None:
    """Probes and hooks reach the pod itself only."""
    bad: set[str] = set()
    hosts: set[str] = set()
    for one in containers(spec):
        hooks = one.get("lifecycle") or {}
        handlers = [one.get(probe) for probe in ("livenessProbe", "readinessProbe", "startupProbe")]
        found = set()
        for handler in [*handlers, hooks.get("postStart"), hooks.get("preStop")]:
            for kind in ("httpGet", "tcpSocket"):
                found.add(((handler or {}).get(kind) or {}).get("host") or "")
        found.discard("")
        if found:
            bad.add(one.get("name") or "")
            hosts |= found
    if not bad:
        return None
    what = plural("probe or lifecycle host", "probe or lifecycle hosts", len(hosts))
    text = f"{listed(sorted(bad))} {plural('uses', 'use', len(bad))} {what} {quoted(sorted(hosts))}"
    return Finding("probe or lifecycle host", text)


def privileged(_: Obj, spec: Obj) -> Finding | None:
    """No container is privileged."""
    bad = names(one for one in containers(spec) if security(one).get("privileged"))
    return Finding("privileged", f"{listed(bad)} must not set securityContext.privileged=true") if bad else None


def proc_mount(_: Obj, spec: Obj) -> Finding | None:
    """/proc keeps its masks."""
    bad = [one for one in containers(spec) if security(one).get("procMount") not in (None, "Default")]
    if not bad:
        return None
    kinds = quoted(sorted({security(one)["procMount"] for one in bad}))
    return Finding("procMount", f"{listed(names(bad))} must not set securityContext.procMount to {kinds}")


def unless_in_user_namespace(check: Check) -> Check:
    """Return the check for pods whose root is the host's root, too."""
    return lambda metadata, spec: None if has_user_namespace(spec) else check(metadata, spec)


def seccomp_annotations(metadata: Obj, spec: Obj) -> Finding | None:
    """Seccomp stays on, as it was said before there was a field for it."""
    annotations = metadata.get("annotations") or {}
    keys = [_SECCOMP_POD, *(_SECCOMP_CONTAINER + name for name in names(containers(spec)))]
    bad = sorted(
        {f"{key}={quote(annotations[key])}" for key in keys if key in annotations and _unconfined(annotations[key])}
    )
    if not bad:
        return None
    return Finding("seccompProfile", f"forbidden {plural('annotation', 'annotations', len(bad))} {', '.join(bad)}")


def _unconfined(value: str) -> bool:
    return value not in ("runtime/default", "docker/default") and not value.startswith("localhost/")


def seccomp(_: Obj, spec: Obj) -> Finding | None:
    """Seccomp isn't turned off."""

    def is_bad(holder: Obj) -> bool:
        profile = security(holder).get("seccompProfile")
        return profile is not None and profile.get("type") not in _CONFINED

    bad = [one for one in containers(spec) if is_bad(one)]
    setting = [*bad, *([spec] if is_bad(spec) else [])]
    if not setting:
        return None
    values = sorted({security(one)["seccompProfile"].get("type") or "" for one in setting})
    who = setters(is_bad(spec), names(bad))
    return Finding("seccompProfile", f"{who} must not set securityContext.seccompProfile.type to {quoted(values)}")


def selinux(allowed: frozenset[str]) -> Check:
    """SELinux types are among those `allowed`; user and role are the runtime's."""

    def options(holder: Obj) -> Obj:
        return security(holder).get("seLinuxOptions") or {}

    def is_bad(holder: Obj) -> bool:
        given = options(holder)
        return (given.get("type") or "") not in allowed or bool(given.get("user") or given.get("role"))

    def check(_: Obj, spec: Obj) -> Finding | None:
        bad = [one for one in containers(spec) if is_bad(one)]
        setting = [*bad, *([spec] if is_bad(spec) else [])]
        if not setting:
            return None
        types = sorted({options(one).get("type") or "" for one in setting} - allowed)
        said = [f"{plural('type', 'types', len(types))} {quoted(types)}"] if types else []
        said += [
            f"{part} may not be set" for part in ("user", "role") if any(options(one).get(part) for one in setting)
        ]
        who = setters(is_bad(spec), names(bad))
        return Finding("seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(said)}")

    return check


def sysctls(allowed: frozenset[str]) -> Check:
    """Only sysctls that stay within the pod are set."""

    def check(_: Obj, spec: Obj) -> Finding | None:
        given: list[Any] = security(spec).get("sysctls") or []
        bad = [one.get("name") or "" for one in given if one.get("name") not in allowed]
        return Finding("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def windows_host_process(_: Obj, spec: Obj) -> Finding | None:
    """No Windows container is a process of the host."""
    is_bad: Callable[[Obj], bool] = lambda one: bool((security(one).get("windowsOptions") or {}).get("hostProcess"))  # noqa: E731
    bad = names(one for one in containers(spec) if is_bad(one))
    if not bad and not is_bad(spec):
        return None
    text = f"{setters(is_bad(spec), bad)} must not set securityContext.windowsOptions.hostProcess=true"
    return Finding("hostProcess", text)


CHECKS: Final[dict[str, tuple[tuple[int, Check], ...]]] = {
    "appArmorProfile": ((0, app_armor),),
    "capabilities_baseline": ((0, capabilities),),
    "hostNamespaces": ((0, host_namespaces),),
    "hostPathVolumes": ((0, host_paths),),
    "hostPorts": ((0, host_ports),),
    "hostProbesAndHostLifecycle": ((34, host_probes),),
    "privileged": ((0, privileged),),
    "procMount_baseline": ((0, proc_mount), (35, unless_in_user_namespace(proc_mount))),
    "seLinuxOptions": ((0, selinux(_SELINUX_1_0)), (31, selinux(_SELINUX_1_0 | {"container_engine_t"}))),
    "seccompProfile_baseline": ((0, seccomp_annotations), (19, seccomp)),
    "sysctls": (
        (0, sysctls(_SYSCTLS_1_0)),
        (27, sysctls(_SYSCTLS_1_27)),
        (29, sysctls(_SYSCTLS_1_29)),
        (32, sysctls(_SYSCTLS_1_32)),
    ),
    "windowsHostProcess": ((0, windows_host_process),),
}
"""By name, each check with the minor versions from which on it is made so."""
