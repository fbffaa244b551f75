"""Pods and nodes with a few words, as objects."""

from __future__ import annotations

from typing import Any


def pod_object(
    name: str = "p", *, cpu: str = "", memory: str = "", labels: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    container = {"name": "c", "image": "host/x", "resources": {"requests": requests}}
    if "ports" in spec:
        container["ports"] = spec.pop("ports")
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": labels or {}},
        "spec": {"containers": [container], **spec},
    }


def node_object(
    name: str,
    *,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: str = "110",
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}},
    }


def claim_object(name: str, *, size: str = "1Gi", class_name: str = "slow", **more: Any) -> dict[str, Any]:
    """A PersistentVolumeClaim; `volume` binds it, `annotations`, `uid`, `owner`, `modes`, `phase` as they say."""
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": more.get("uid", f"uid-{name}")}
    metadata["annotations"] = dict(more.get("annotations", {}))
    spec: dict[str, Any] = {
        "accessModes": more.get("modes", ["ReadWriteOnce"]),
        "resources": {"requests": {"storage": size}},
        "storageClassName": class_name,
    }
    if "volume" in more:
        spec["volumeName"] = more["volume"]
        metadata["annotations"]["pv.kubernetes.io/bind-completed"] = "yes"
    if "owner" in more:
        metadata["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": more["owner"], "controller": True}
        ]
    return {"metadata": metadata, "spec": spec, "status": {"phase": more.get("phase", "Pending")}}


def volume_object(
    name: str, *, size: str = "1Gi", class_name: str = "slow", zone: str = "", **more: Any
) -> dict[str, Any]:
    """A PersistentVolume, in a zone if one is given; `driver`, `labels`, `modes`, `phase`, `claim` as they say."""
    spec: dict[str, Any] = {
        "accessModes": more.get("modes", ["ReadWriteOnce"]),
        "capacity": {"storage": size},
        "storageClassName": class_name,
        "csi": {"driver": more.get("driver", "csi.example"), "volumeHandle": f"handle-{name}"},
    }
    if zone:
        wanted = {"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [wanted]}}
    if "claim" in more:
        spec["claimRef"] = {"namespace": "default", "name": more["claim"]}
    metadata = {"name": name, "labels": more.get("labels", {})}
    return {"metadata": metadata, "spec": spec, "status": {"phase": more.get("phase", "Available")}}


def claiming(*names: str) -> list[dict[str, Any]]:
    """Volumes of a pod that stand for these claims."""
    return [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names]
