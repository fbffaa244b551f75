"""A container's environment: what its spec says, with references resolved and $(NAME) expanded."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from oarlock.cluster.kubelet import downward
from oarlock.cluster.kubelet.downward import Addresses
from oarlock.cluster.kubelet.references import References

REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def build(
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    references: References,
    addresses: Addresses,
    services: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment, in ascending precedence: the node's, the Services', envFrom, env. Raises ConfigFailure.

    Source: the kubelet's documented order; later entries see earlier ones in $(NAME).
    """
    base = {
        "PATH": os.environ.get("PATH", DEFAULT_PATH),
        "HOSTNAME": pod["spec"].get("hostname") or pod["metadata"]["name"],
        "POD_IP": addresses.pod_ip,
        "HOST_IP": addresses.host_ip,
        **services,
    }
    variables: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        variables |= _all_keys(source, references)
    for variable in container.get("env") or []:
        value = _value(pod, container, variable, references, addresses)
        if value is not None:
            text = expand(value, {**base, **variables}) if "valueFrom" not in variable else value
            variables[variable["name"]] = text
    return base | variables


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace $(NAME) by the variable's value; an unknown one stays as it stands, $$ is a literal dollar sign."""

    def replacement(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return REFERENCE.sub(replacement, text)


def expand_all(texts: Sequence[str] | None, variables: Mapping[str, str]) -> list[str]:
    return [expand(text, variables) for text in texts or []]


def _all_keys(source: Mapping[str, Any], references: References) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    for field, plural in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
        if field in source:
            selector = source[field]
            data = references.data(plural, selector.get("name", ""), optional=bool(selector.get("optional")))
            return {prefix + key: value.decode(errors="surrogateescape") for key, value in data.items()}
    return {}


def _value(
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    variable: Mapping[str, Any],
    references: References,
    addresses: Addresses,
) -> str | None:
    source = variable.get("valueFrom")
    if source is None:
        return str(variable.get("value") or "")
    if "fieldRef" in source:
        return downward.field(pod, source["fieldRef"]["fieldPath"], addresses)
    if "resourceFieldRef" in source:
        return downward.resource(container, source["resourceFieldRef"], addresses)
    if "configMapKeyRef" in source:
        return references.value("configmaps", source["configMapKeyRef"])
    return references.value("secrets", source["secretKeyRef"])
