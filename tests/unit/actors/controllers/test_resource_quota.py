"""A quota's status is what its namespace uses, never less than what was added in transactions."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.actors.controllers.actions import CatchUp, GiveWay, UpdateStatus
from oarlock.actors.controllers.resource_quota import keys, reconcile
from oarlock.actors.controllers.view import KINDS
from oarlock.cluster.client.cache import STEP_OBJECTS

Object = dict[str, Any]


def quota(hard: dict[str, str], **spec: Any) -> Object:
    made = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard, **spec}}
    return {**made, "status": {}}


def pod(name: str, phase: str = "Running", cpu: str = "100m", **spec: Any) -> Object:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], **spec},
        "status": {"phase": phase},
    }


def made(kind: str, name: str, version: str = "v1", **parts: Any) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **parts}


CLAIM = made(
    "PersistentVolumeClaim",
    "data",
    spec={"storageClassName": "fast", "resources": {"requests": {"storage": "5Gi"}}},
)
SERVICE = made("Service", "s", spec={"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]})
CASES: dict[str, tuple[dict[str, str], dict[str, Any], list[Object], dict[str, str]]] = {
    "pods that have ended count as objects only": (
        {"pods": "5", "count/pods": "5", "requests.cpu": "1"},
        {},
        [pod("a"), pod("b", "Succeeded"), pod("c", "Failed")],
        {"pods": "1", "count/pods": "3", "requests.cpu": "100m"},
    ),
    "nothing is zero": ({"pods": "1", "secrets": "1"}, {}, [], {"pods": "0", "secrets": "0"}),
    "a scope leaves out what isn't in it": (
        {"pods": "5"},
        {"scopes": ["Terminating"]},
        [pod("a"), pod("b", activeDeadlineSeconds=5)],
        {"pods": "1"},
    ),
    "claims by class": (
        {"requests.storage": "9Gi", "fast.storageclass.storage.k8s.io/persistentvolumeclaims": "2"},
        {},
        [CLAIM],
        {"requests.storage": "5Gi", "fast.storageclass.storage.k8s.io/persistentvolumeclaims": "1"},
    ),
    "a load balancer takes ports too": (
        {"services": "9", "services.loadbalancers": "9", "services.nodeports": "9"},
        {},
        [SERVICE],
        {"services": "1", "services.loadbalancers": "1", "services.nodeports": "2"},
    ),
    "any kind can be counted": (
        {"count/deployments.apps": "3", "configmaps": "3"},
        {},
        [made("Deployment", "d", "apps/v1"), made("ConfigMap", "m"), made("ConfigMap", "n")],
        {"count/deployments.apps": "1", "configmaps": "2"},
    ),
}


def advance(world: Any) -> None:
    for plural in KINDS:
        world.view.caches[plural].synced.set()
        world.view.caches[plural].advance(world.revision)


@pytest.mark.parametrize("name", CASES)
def test_what_is_used(world: Any, name: str) -> None:
    hard, spec, objects, used = CASES[name]
    for one in objects:
        world.put(one)
    world.put(quota(hard, **spec))
    advance(world)
    assert world.act(reconcile("default/q", world.view)) == 1
    assert world.view.get("resourcequotas", "default/q")["status"] == {"hard": hard, "used": used}
    advance(world)
    assert world.act(reconcile("default/q", world.view)) == 0


def test_nothing_is_written_before_the_caches_have_reached_the_quota(world: Any) -> None:
    world.put(quota({"pods": "5", "requests.cpu": "1", "secrets": "2"}))
    actions = list(reconcile("default/q", world.view))
    assert actions == [CatchUp(["pods", "secrets"], world.revision)]


def test_many_are_counted_with_others_turns_in_between(world: Any) -> None:
    for number in range(3 * STEP_OBJECTS):
        world.put(pod(f"p{number}"))
    world.put(quota({"pods": "5000", "requests.cpu": "100"}))
    advance(world)
    actions = list(reconcile("default/q", world.view))
    assert [type(one) for one in actions] == [GiveWay] * 3 + [UpdateStatus]
    assert actions[-1].obj["status"]["used"] == {"pods": "300", "requests.cpu": "30"}


def _due(world: Any, plural: str, old: Object | None, new: Object | None) -> list[str]:
    return [due.key for due in keys(plural, old, new, world.view)]


def test_what_goes_is_counted_at_once_and_what_comes_is_not(world: Any) -> None:
    held = world.put(quota({"pods": "5", "count/jobs.batch": "1"}))
    running = world.put(pod("a"))
    ended = {**running, "status": {"phase": "Succeeded"}}
    assert _due(world, "pods", None, running) == []
    assert _due(world, "pods", running, running) == []
    assert _due(world, "pods", running, ended) == ["default/q"]
    assert _due(world, "pods", running, None) == ["default/q"]
    assert _due(world, "configmaps", {"metadata": {"name": "m", "namespace": "default"}}, None) == []
    assert _due(world, "jobs", {"metadata": {"name": "j", "namespace": "default"}}, None) == ["default/q"]
    assert _due(world, "resourcequotas", None, held) == ["default/q"]
    assert _due(world, "resourcequotas", held, {**held, "status": {"used": {"pods": "1"}}}) == []
    assert _due(world, "resourcequotas", held, {**held, "spec": {"hard": {"pods": "7"}}}) == ["default/q"]
