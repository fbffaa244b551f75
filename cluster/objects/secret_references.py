"""Which Secrets a pod refers to, and which of them an account that limits references allows.

Source: upstream's plugin/pkg/admission/serviceaccount (limitSecretReferences), pkg/api/pod (VisitPodSecretNames).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Obj = dict[str, Any]
ENFORCED = "kubernetes.io/enforce-mountable-secrets"
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_KINDS = (
    ("init container", "initContainers"),
    ("container", "containers"),
    ("ephemeral container", "ephemeralContainers"),
)
_NAMED_SECRETS = (
    ("azureFile", "secretName"),
    ("cephfs", "secretRef"),
    ("cinder", "secretRef"),
    ("flexVolume", "secretRef"),
    ("rbd", "secretRef"),
    ("secret", "secretName"),
    ("scaleIO", "secretRef"),
    ("iscsi", "secretRef"),
    ("storageos", "secretRef"),
    ("csi", "nodePublishSecretRef"),
)
"""Sources of volumes and the fields in which they name a Secret, as text or as a reference."""


def are_limited(account: Obj) -> bool:
    """Tell whether the account's pods may use only the Secrets that it lists."""
    return (account["metadata"].get("annotations") or {}).get(ENFORCED) in _TRUE


def refusal(account: Obj, pod: Obj, *, ephemeral_only: bool = False) -> str:
    """Return what is said of the first reference that the account doesn't list, or ""."""
    mountable = {one.get("name") for one in account.get("secrets") or ()}
    pullable = {one.get("name") for one in account.get("imagePullSecrets") or ()}
    name, spec = account["metadata"]["name"], pod["spec"]
    for said, secret in _in_containers(spec, ephemeral_only=ephemeral_only):
        if secret not in mountable:
            return (
                f'{said} referencing secret.secretName="{secret}" is not allowed because service account {name} '
                "does not reference that secret"
            )
    if ephemeral_only:
        return ""
    for volume in spec.get("volumes") or ():
        named = (volume.get("secret") or {}).get("secretName")
        if volume.get("secret") and named not in mountable:
            return (
                f'volume with secret.secretName="{named}" is not allowed because service account {name} does not '
                "reference that secret"
            )
    for index, one in enumerate(spec.get("imagePullSecrets") or ()):
        if one.get("name") not in pullable:
            return (
                f'imagePullSecrets[{index}].name="{one.get("name", "")}" is not allowed because service account '
                f"{name} does not reference that imagePullSecret"
            )
    return ""


def _in_containers(spec: Obj, *, ephemeral_only: bool) -> Iterator[tuple[str, str]]:
    for said, plural in _KINDS:
        if ephemeral_only != (plural == "ephemeralContainers"):
            continue
        for container in spec.get(plural) or ():
            for variable in container.get("env") or ():
                reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
                if reference:
                    yield (
                        f"{said} {container.get('name')} with envVar {variable.get('name')}",
                        reference.get("name", ""),
                    )


def names(pod: Obj) -> Iterator[str]:
    """Yield the name of every Secret that a pod refers to in any way."""
    spec = pod.get("spec") or {}
    for one in spec.get("imagePullSecrets") or ():
        yield one.get("name", "")
    for _, plural in _KINDS:
        for container in spec.get(plural) or ():
            yield from _of_container(container)
    for volume in spec.get("volumes") or ():
        yield from _of_volume(volume)


def _of_container(container: Obj) -> Iterator[str]:
    for source in container.get("envFrom") or ():
        if source.get("secretRef"):
            yield source["secretRef"].get("name", "")
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
        if reference:
            yield reference.get("name", "")


def _of_volume(volume: Obj) -> Iterator[str]:
    for source, field in _NAMED_SECRETS:
        named = (volume.get(source) or {}).get(field)
        if named:
            yield named if isinstance(named, str) else named.get("name", "")
    for source in (volume.get("projected") or {}).get("sources") or ():
        if source.get("secret"):
            yield source["secret"].get("name", "")
