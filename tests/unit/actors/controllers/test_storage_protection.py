"""What is used outlives its deletion; what isn't goes."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.actors.controllers import storage_protection as protection
from oarlock.actors.controllers.actions import CatchUp
from oarlock.actors.controllers.view import KINDS

Object = dict[str, Any]
DELETED = "2026-01-01T00:00:00Z"


def protected(kind: str, name: str, finalizer: str, version: str = "v1", **parts: Any) -> Object:
    metadata = {"name": name, "finalizers": [finalizer, "other"], "deletionTimestamp": DELETED}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": {}, **parts}


def user(phase: str = "Running", node: str = "n1", **volume: Any) -> Object:
    spec = {"nodeName": node, "volumes": [{"name": "v", **volume}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec, "status": {"phase": phase}}


def caught_up(world: Any) -> None:
    for plural in KINDS:
        world.view.caches[plural].synced.set()
        world.view.caches[plural].advance(world.revision)


NAMED = {"persistentVolumeClaim": {"claimName": "c"}}
CLAIM_CASES: dict[str, tuple[Object | None, bool]] = {
    "nobody": (None, True),
    "a running pod": (user(**NAMED), False),
    "a pod that has ended": (user("Succeeded", **NAMED), True),
    "a pod without a node": (user("Pending", "", **NAMED), True),
    "another claim's pod": (user(persistentVolumeClaim={"claimName": "d"}), True),
}


@pytest.mark.parametrize("name", CLAIM_CASES)
def test_claims(world: Any, name: str) -> None:
    pod, goes = CLAIM_CASES[name]
    if pod is not None:
        world.put(pod)
    world.put(protected("PersistentVolumeClaim", "c", protection.CLAIM_FINALIZER))
    caught_up(world)
    world.act(protection.reconcile_claim("default/c", world.view))
    kept = world.view.get("persistentvolumeclaims", "default/c")["metadata"]["finalizers"]
    assert kept == (["other"] if goes else [protection.CLAIM_FINALIZER, "other"])


def test_a_claim_waits_until_its_users_would_be_seen(world: Any) -> None:
    world.put(protected("PersistentVolumeClaim", "c", protection.CLAIM_FINALIZER))
    assert protection.reconcile_claim("default/c", world.view) == [CatchUp(["pods"], world.revision)]


@pytest.mark.parametrize(("phase", "goes"), [("Bound", False), ("Released", True), ("Available", True)])
def test_volumes(world: Any, phase: str, goes: bool) -> None:
    world.put(protected("PersistentVolume", "v", protection.VOLUME_FINALIZER, status={"phase": phase}))
    assert world.act(protection.reconcile_volume("v", world.view)) == int(goes)


@pytest.mark.parametrize("used", [True, False])
def test_classes(world: Any, used: bool) -> None:
    version = "storage.k8s.io/v1"
    if used:
        spec = {"volumeAttributesClassName": "gold"}
        world.put({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": spec})
    world.put(protected("VolumeAttributesClass", "gold", protection.CLASS_FINALIZER, version))
    caught_up(world)
    assert world.act(protection.reconcile_class("gold", world.view)) == int(not used)


def test_a_pods_end_is_its_claims_business(world: Any) -> None:
    running = user(**NAMED)
    running["metadata"]["namespace"] = "default"
    ended = {**running, "status": {"phase": "Failed"}}
    claims = protection.CLAIM_PROTECTION.keys
    assert [due.key for due in claims("pods", running, ended, world.view)] == ["default/c"]
    assert [due.key for due in claims("pods", running, None, world.view)] == ["default/c"]
    assert list(claims("pods", None, running, world.view)) == []
