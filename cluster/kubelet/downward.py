"""The downward API: a pod's own fields and resources as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from oarlock.cluster.kubelet.runtime import ConfigFailure
from oarlock.cluster.objects import quantity

SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")
CPU_MEMORY = ("cpu", "memory", "ephemeral-storage")


@dataclass(frozen=True, slots=True)
class Addresses:
    """What is known of a pod only once it is on its node; `allocatable` is the node's, by resource."""

    pod_ip: str
    host_ip: str
    allocatable: Mapping[str, str]


def field(pod: Mapping[str, Any], path: str, addresses: Addresses) -> str:
    """Return the value of a fieldRef. Raises ConfigFailure on a path that has none."""
    metadata, spec = pod["metadata"], pod["spec"]
    simple = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.podIP": addresses.pod_ip,
        "status.podIPs": addresses.pod_ip,
        "status.hostIP": addresses.host_ip,
        "status.hostIPs": addresses.host_ip,
    }
    if path in simple:
        return str(simple[path])
    if path in ("metadata.labels", "metadata.annotations"):
        entries = metadata.get(path.rpartition(".")[2]) or {}
        return "\n".join(f'{key}="{_quoted(value)}"' for key, value in sorted(entries.items()))
    match = SUBSCRIPT.fullmatch(path)
    if match is None:
        raise ConfigFailure(f"unsupported fieldPath: {path}")
    return str((metadata.get(match[1]) or {}).get(match[2], ""))


def resource(container: Mapping[str, Any], selector: Mapping[str, Any], addresses: Addresses) -> str:
    """Return the value of a resourceFieldRef, in multiples of its divisor, rounded up.

    A limit that isn't set is what the node has. Source: Kubernetes "Downward API".
    """
    section, _, name = selector["resource"].partition(".")
    amounts = (container.get("resources") or {}).get(section) or {}
    if section not in ("limits", "requests") or name not in CPU_MEMORY:
        raise ConfigFailure(f"unsupported container resource: {selector['resource']}")
    text = amounts.get(name) or (addresses.allocatable.get(name, "0") if section == "limits" else "0")
    divisor = quantity.parse(selector.get("divisor") or "1").value or Fraction(1)
    return str(-(-quantity.parse(text).value // divisor))


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
