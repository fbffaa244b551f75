"""Which level and version a namespace's labels ask for, and what a pod violates of one.

Source: pod-security-admission api/helpers.go, policy/registry.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from oarlock.cluster.apiserver.admission.pod_security import baseline, restricted
from oarlock.cluster.apiserver.admission.pod_security.finding import Check, Finding, Obj
from oarlock.cluster.objects.causes import invalid
from oarlock.cluster.objects.status import Cause

LEVELS = ("privileged", "baseline", "restricted")
"""From the laxest to the strictest."""
_PREFIX = "pod-security.kubernetes.io/"
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)\Z")
NEWEST_MINOR = 35
"""Checks have not changed since; later versions and `latest` mean this one."""


@dataclass(frozen=True, slots=True)
class Standard:
    """A level in a version; `minor` None is the latest."""

    level: str = "privileged"
    minor: int | None = None

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor is None else f'v1.{self.minor}'}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a namespace enforces, audits and warns of."""

    enforce: Standard = Standard()
    audit: Standard = Standard()
    warn: Standard = Standard()


def of_labels(labels: Mapping[str, str], default: Policy) -> tuple[Policy, list[Cause]]:
    """Return the policy that a namespace's labels make of the default one, and what is wrong with them.

    What can't be read enforces the strictest level, and audits and warns of nothing.
    """
    policy, causes = default, []
    for mode in ("enforce", "audit", "warn"):
        standard: Standard = getattr(policy, mode)
        level, version = labels.get(_PREFIX + mode), labels.get(f"{_PREFIX}{mode}-version")
        if level is not None:
            known = level in LEVELS
            standard = replace(standard, level=level if known else "restricted" if mode == "enforce" else "privileged")
            if not known:
                causes.append(_bad(mode, level, f"must be one of {', '.join(LEVELS)}"))
        if version is not None:
            match = _VERSION.match(version)
            standard = replace(standard, minor=int(match[1]) if match else None)
            if match is None and version != "latest":
                causes.append(_bad(f"{mode}-version", version, 'must be "latest" or "v1.x"'))
        policy = replace(policy, **{mode: standard})
    return policy, causes


def _bad(label: str, value: str, why: str) -> Cause:
    return invalid(f"metadata.labels[{_PREFIX}{label}]", value, why)


def findings(standard: Standard, metadata: Obj, spec: Obj) -> list[Finding]:
    """Return what of a pod the standard forbids, in the order in which it is told."""
    if standard.level == "privileged":
        return []
    minor = NEWEST_MINOR if standard.minor is None else min(standard.minor, NEWEST_MINOR)
    found = (check(metadata, spec) for check in _checks(standard.level, minor))
    return [one for one in found if one is not None]


def reasons(found: list[Finding]) -> str:
    """Return the reasons alone."""
    return ", ".join(one.reason for one in found)


def details(found: list[Finding]) -> str:
    """Return the reasons with their details in parentheses."""
    return ", ".join(f"{one.reason} ({one.detail})" if one.detail else one.reason for one in found)


@cache
def _checks(level: str, minor: int) -> tuple[Check, ...]:
    basic = _in_version(baseline.CHECKS, minor)
    if level == "baseline":
        return tuple(basic.values())
    more = _in_version(restricted.CHECKS, minor)
    said = {restricted.OVERRIDES.get(name) for name in more}
    return (*(check for name, check in basic.items() if name not in said), *more.values())


def _in_version(checks: Mapping[str, tuple[tuple[int, Check], ...]], minor: int) -> dict[str, Check]:
    """Return each check as it is made in a version, by name in the order of names."""
    made = {}
    for name in sorted(checks):
        fitting = [check for since, check in checks[name] if since <= minor]
        if fitting:
            made[name] = fitting[-1]
    return made
