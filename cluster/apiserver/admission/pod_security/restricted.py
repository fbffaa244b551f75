"""The checks that the restricted level adds. Source: pod-security-admission policy/check_*.go."""

from __future__ import annotations

from typing import Final

from oarlock.cluster.apiserver.admission.pod_security import baseline
from oarlock.cluster.apiserver.admission.pod_security.finding import (
    Check,
    Finding,
    Obj,
    containers,
    is_windows,
    listed,
    names,
    plural,
    quoted,
    security,
    setters,
)

_VOLUMES: Final = frozenset(
    {
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected"),
        "secret",
    }
)


def privilege_escalation(_: Obj, spec: Obj) -> Finding | None:
    """Every container gives up gaining privileges."""
    bad = names(one for one in containers(spec) if security(one).get("allowPrivilegeEscalation") is not False)
    if not bad:
        return None
    text = f"{listed(bad)} must set securityContext.allowPrivilegeEscalation=false"
    return Finding("allowPrivilegeEscalation != false", text)


def capabilities(_: Obj, spec: Obj) -> Finding | None:
    """Every container drops all capabilities and adds at most the one for low ports."""
    keeping: list[str] = []
    adding: dict[str, set[str]] = {}
    for one in containers(spec):
        given = security(one).get("capabilities") or {}
        if "ALL" not in (given.get("drop") or ()):
            keeping.append(one.get("name") or "")
        added = set(given.get("add") or ()) - {"NET_BIND_SERVICE"}
        if added:
            adding[one.get("name") or ""] = added
    said = []
    if keeping:
        said.append(f'{listed(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        what = quoted(sorted(set().union(*adding.values())))
        said.append(f"{listed(list(adding))} must not include {what} in securityContext.capabilities.add")
    return Finding("unrestricted capabilities", "; ".join(said)) if said else None


def volumes(_: Obj, spec: Obj) -> Finding | None:
    """Only volumes of the pod's own, or through claims."""
    bad = [one for one in spec.get("volumes") or () if not any(one.get(kind) is not None for kind in _VOLUMES)]
    if not bad:
        return None
    kinds = sorted({next((key for key, value in one.items() if key != "name" and value), "unknown") for one in bad})
    what = plural("restricted volume type", "restricted volume types", len(kinds))
    text = (
        f"{plural('volume', 'volumes', len(bad))} {quoted(names(bad))} {plural('uses', 'use', len(bad))} {what} "
        f"{quoted(kinds)}"
    )
    return Finding("restricted volume types", text)


def run_as_non_root(_: Obj, spec: Obj) -> Finding | None:
    """Nothing runs as root, and this is said."""
    pod = security(spec).get("runAsNonRoot")
    reason = "runAsNonRoot != true"
    every = list(containers(spec))
    explicit = names(one for one in every if security(one).get("runAsNonRoot") is False)
    if explicit or pod is False:
        return Finding(reason, f"{setters(pod is False, explicit)} must not set securityContext.runAsNonRoot=false")
    silent = names(one for one in every if security(one).get("runAsNonRoot") is None)
    if not silent or pod:
        return None
    return Finding(reason, f"pod or {listed(silent)} must set securityContext.runAsNonRoot=true")


def run_as_user(_: Obj, spec: Obj) -> Finding | None:
    """No user's number is root's."""
    bad = names(one for one in containers(spec) if security(one).get("runAsUser") == 0)
    pod = security(spec).get("runAsUser") == 0
    return Finding("runAsUser=0", f"{setters(pod, bad)} must not set runAsUser=0") if bad or pod else None


def seccomp(metadata: Obj, spec: Obj) -> Finding | None:
    """Seccomp is turned on, for the pod or for each container."""
    explicit = baseline.seccomp(metadata, spec)
    if explicit is not None:
        return explicit
    silent = names(one for one in containers(spec) if security(one).get("seccompProfile") is None)
    if not silent or security(spec).get("seccompProfile") is not None:
        return None
    text = f'pod or {listed(silent)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Finding("seccompProfile", text)


def unless_windows(check: Check) -> Check:
    """Return the check for pods that aren't for Windows."""
    return lambda metadata, spec: None if is_windows(spec) else check(metadata, spec)


CHECKS: Final[dict[str, tuple[tuple[int, Check], ...]]] = {
    "allowPrivilegeEscalation": ((8, privilege_escalation), (25, unless_windows(privilege_escalation))),
    "capabilities_restricted": ((22, capabilities), (25, unless_windows(capabilities))),
    "procMount_restricted": ((35, baseline.proc_mount),),
    "restrictedVolumes": ((0, volumes),),
    "runAsNonRoot": ((0, run_as_non_root), (35, baseline.unless_in_user_namespace(run_as_non_root))),
    "runAsUser": ((23, run_as_user), (35, baseline.unless_in_user_namespace(run_as_user))),
    "seccompProfile_restricted": ((19, seccomp), (25, unless_windows(seccomp))),
}
"""By name, each check with the minor versions from which on it is made so."""

OVERRIDES: Final = {
    "capabilities_restricted": "capabilities_baseline",
    "procMount_restricted": "procMount_baseline",
    "restrictedVolumes": "hostPathVolumes",
    "seccompProfile_restricted": "seccompProfile_baseline",
}
"""Checks that say all that one of the baseline level says, so that it isn't said twice."""
