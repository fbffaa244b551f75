"""What a check says of a pod it forbids, and the words that all checks share.

Source: pod-security-admission policy/checks.go, policy/helpers.go, policy/visitor.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Obj = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a pod is forbidden: `reason` in a few words, `detail` with the names of what is wrong."""

    reason: str
    detail: str


Check = Callable[[Obj, Obj], Finding | None]
"""Given a pod's (or template's) metadata and spec, what is wrong with it."""


def containers(spec: Obj) -> Iterator[Obj]:
    """Yield every container: initial ones first, ephemeral ones last."""
    for plural in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(plural) or ()


def security(holder: Obj) -> Obj:
    """Return the security context of a container or a pod's spec, empty if there is none."""
    return holder.get("securityContext") or {}


def names(found: Iterable[Obj]) -> list[str]:
    """Return the containers' names."""
    return [one.get("name") or "" for one in found]


def quoted(texts: Iterable[str]) -> str:
    """Return texts in quotes, joined."""
    return ", ".join(f'"{text}"' for text in texts)


def plural(singular: str, several: str, count: int) -> str:
    """Return the word for so many."""
    return singular if count == 1 else several


def listed(found: Sequence[str]) -> str:
    """Return `container "a"` or `containers "a", "b"`."""
    return f"{plural('container', 'containers', len(found))} {quoted(found)}"


def setters(pod: bool, found: Sequence[str]) -> str:
    """Return who sets something wrong: the pod, containers, or both."""
    return " and ".join([*(["pod"] if pod else []), *([listed(found)] if found else [])])


def is_windows(spec: Obj) -> bool:
    """Whether the pod says that it is for Windows, where some settings have no meaning."""
    return (spec.get("os") or {}).get("name") == "windows"


def has_user_namespace(spec: Obj) -> bool:
    """Whether the pod's root is nobody on its host."""
    return spec.get("hostUsers") is False
