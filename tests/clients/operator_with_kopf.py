"""An operator as its author would write it with kopf: it copies labelled ConfigMaps into Secrets."""

from __future__ import annotations

import base64
from typing import Any

import kopf
import kubernetes

LABEL = {"copied": "yes"}


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    kubernetes.config.load_kube_config()
    settings.posting.level = 20
    settings.persistence.finalizer = "example.com/copier"


@kopf.on.create("", "v1", "configmaps", labels=LABEL)
def created(body: Any, name: str, namespace: str, **_: Any) -> dict[str, str]:
    """Make the copy; kopf keeps what is returned in the object."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in body.get("data", {}).items()}
    secret: dict[str, Any] = {"metadata": {"name": name}, "data": data}
    kopf.adopt(secret)
    kubernetes.client.CoreV1Api().create_namespaced_secret(namespace, secret)
    kopf.info(body, reason="Copied", message="into a secret")
    return {"copy": name}


@kopf.on.field("", "v1", "configmaps", field="data", labels=LABEL)
def changed(old: Any, new: Any, name: str, namespace: str, **_: Any) -> None:
    if old is not None and new is not None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in new.items()}
        kubernetes.client.CoreV1Api().patch_namespaced_secret(name, namespace, {"data": data})


@kopf.on.delete("", "v1", "configmaps", labels=LABEL)
def deleted(name: str, namespace: str, **_: Any) -> None:
    marker = {"metadata": {"name": f"{name}-was-here"}}
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, marker)
