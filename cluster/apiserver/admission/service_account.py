"""ServiceAccount: every pod acts as an account of its namespace, whose token it finds mounted.

Source: upstream's plugin/pkg/admission/serviceaccount.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from oarlock.cluster.apiserver.admission.attributes import UPDATE, Attributes
from oarlock.cluster.apiserver.admission.view import View
from oarlock.cluster.objects import secret_references

Obj = dict[str, Any]
DEFAULT = "default"
MIRROR = "kubernetes.io/config.mirror"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_EXPIRATION_S = 3607
ATTEMPTS = 10
RETRY_S = 0.1
"""The default account comes a moment after its namespace; a pod may come in between."""
_PREFIX = "kube-api-access-"
_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_VOLUME = _PREFIX + "".join(random.choices(_NAME_LETTERS, k=5))
"""How the volume of a token is called: it is alone in its pod, and pods of one template stay alike."""


async def complete(attributes: Attributes, view: View) -> None:
    """Give a new pod its account, the account's token and its image pull secrets. A mirror pod is left as it is."""
    if not attributes.is_create:
        return
    pod = attributes.obj
    if _is_mirror(pod):
        _check_mirror(attributes)
        return
    spec = pod.setdefault("spec", {})
    name = spec.get("serviceAccountName") or DEFAULT
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = await _account(attributes, view, name)
    if _automounts(account, spec):
        mount_token(spec)
    pull_secrets = account.get("imagePullSecrets")
    if not spec.get("imagePullSecrets") and pull_secrets:
        spec["imagePullSecrets"] = [{"name": one.get("name", "")} for one in pull_secrets]


async def check(attributes: Attributes, view: View) -> None:
    """Refuse a pod without an account, and secrets that a strict account doesn't list."""
    pod = attributes.obj
    added = attributes.operation == UPDATE and attributes.subresource == "ephemeralcontainers"
    if not added and not attributes.is_create:
        return
    if _is_mirror(pod):
        if not added:
            _check_mirror(attributes)
        return
    name = pod["spec"].get("serviceAccountName")
    if not name:
        raise attributes.forbidden(f"no service account specified for pod {attributes.namespace}/{attributes.name}")
    if view.lacks("", "serviceaccounts", name, secret_references.ENFORCED, attributes.namespace):
        return
    account = await _account(attributes, view, name)
    if secret_references.are_limited(account):
        refused = secret_references.refusal(account, pod, ephemeral_only=added)
        if refused:
            raise attributes.forbidden(refused)


def mount_token(spec: Obj) -> None:
    """Mount the projected token into every container that has nothing of its own in its place."""
    volumes = spec.get("volumes") or []
    present = next((one["name"] for one in volumes if (one.get("name") or "").startswith(_PREFIX)), None)
    name = present or _VOLUME
    mounted = False
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        mounts = container.get("volumeMounts") or []
        if not any(one.get("mountPath") == MOUNT_PATH for one in mounts):
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
            mounted = True
    if mounted and present is None:
        spec["volumes"] = [*volumes, {"name": name, "projected": _projected()}]


def _projected() -> Obj:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_EXPIRATION_S, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [namespace]}},
        ],
    }


async def _account(attributes: Attributes, view: View, name: str) -> Obj:
    for attempt in range(ATTEMPTS if name == DEFAULT else 1):
        if attempt:
            await asyncio.sleep(RETRY_S)
        found = await view.get_live("", "serviceaccounts", name, attributes.namespace)
        if found is not None:
            return found
    where = f"{attributes.namespace}/{name}"
    raise attributes.forbidden(f'error looking up service account {where}: serviceaccount "{name}" not found')


def _automounts(account: Obj, spec: Obj) -> bool:
    """The pod's word counts, then the account's."""
    for asked in (spec.get("automountServiceAccountToken"), account.get("automountServiceAccountToken")):
        if asked is not None:
            return bool(asked)
    return True


def _is_mirror(pod: Obj) -> bool:
    return MIRROR in (pod["metadata"].get("annotations") or {})


def _check_mirror(attributes: Attributes) -> None:
    pod = attributes.obj
    spec = pod.get("spec") or {}
    if spec.get("serviceAccountName"):
        raise attributes.forbidden("a mirror pod may not reference service accounts")
    if next(secret_references.names(pod), None) is not None:
        raise attributes.forbidden("a mirror pod may not reference secrets")
    for volume in spec.get("volumes") or ():
        sources = (volume.get("projected") or {}).get("sources") or ()
        if any(source.get("serviceAccountToken") for source in sources):
            raise attributes.forbidden("a mirror pod may not use ServiceAccountToken volume projections")
