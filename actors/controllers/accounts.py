"""What every namespace has: the service account `default` and the config map with the cluster's CA."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oarlock.actors.controllers.actions import Action, Create, Patch
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View

Object = dict[str, Any]

ROOT_CA = "kube-root-ca.crt"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


def reconcile_default(key: str, view: View) -> list[Action]:
    """Return the creation of the namespace's `default` service account, if it has none."""
    if not _lives(view, key) or view.get("serviceaccounts", f"{key}/default") is not None:
        return []
    metadata = {"name": "default", "namespace": key}
    return [Create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})]


def _lives(view: View, name: str) -> bool:
    namespace = view.get("namespaces", name)
    return namespace is not None and not namespace["metadata"].get("deletionTimestamp")


def _keys(plural: str, old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    present = new if new is not None else old
    assert present is not None
    metadata = present["metadata"]
    if plural == "namespaces":
        return [Due(metadata["name"])]
    return [Due(metadata["namespace"])] if metadata["name"] in ("default", ROOT_CA) else []


SERVICE_ACCOUNT = Controller(
    name="serviceaccount",
    source="service-account-controller",
    reads=("namespaces", "serviceaccounts"),
    keys=_keys,
    reconcile=reconcile_default,
    workers=2,
)


def root_ca_publisher(ca_pem: str) -> Controller:
    """Return the controller that keeps `ca_pem` in every namespace."""

    def reconcile(key: str, view: View) -> list[Action]:
        if not _lives(view, key):
            return []
        held = view.get("configmaps", f"{key}/{ROOT_CA}")
        data = {"ca.crt": ca_pem}
        if held is None:
            annotations = {"kubernetes.io/description": _DESCRIPTION}
            metadata = {"name": ROOT_CA, "namespace": key, "annotations": annotations}
            return [Create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})]
        if held.get("data") == data:
            return []
        return [Patch(held, {"data": {**dict.fromkeys(held.get("data") or {}), **data}})]

    return Controller(
        name="root_ca_cert_publisher",
        source="root-ca-cert-publisher",
        reads=("namespaces", "configmaps"),
        keys=_keys,
        reconcile=reconcile,
        workers=2,
    )
