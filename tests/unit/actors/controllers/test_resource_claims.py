"""Claims of devices that pods get, use and leave behind."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.actors.controllers.resource_claims import (
    CLAIM_USERS,
    FINALIZER,
    MADE_FOR,
    POD_CLAIMS,
    reconcile_claim,
    reconcile_pod,
)

Object = dict[str, Any]
ALLOCATION = {"devices": {"results": [{"request": "r", "driver": "d", "pool": "n", "device": "g0"}]}}


def template(**metadata: Any) -> Object:
    spec = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": "t"},
        "spec": {"metadata": metadata, "spec": spec},
    }


def pod(name: str = "p", *, status: Object | None = None, **spec: Any) -> Object:
    wanted = [{"name": "gpu", "resourceClaimTemplateName": "t"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [], "resourceClaims": wanted, **spec},
        "status": status or {},
    }


def claim(*users: Object, allocated: bool = True, owner: Object | None = None, **metadata: Any) -> Object:
    status: Object = {"allocation": ALLOCATION, "devices": []} if allocated else {}
    reserved = [{"resource": "pods", "name": one["metadata"]["name"], "uid": one["metadata"]["uid"]} for one in users]
    if owner is not None:
        reference = {"apiVersion": "v1", "kind": "Pod", **{key: owner["metadata"][key] for key in ("name", "uid")}}
        metadata["ownerReferences"] = [{**reference, "controller": True}]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "c", "finalizers": [FINALIZER], **metadata},
        "spec": {},
        "status": {**status, **({"reservedFor": reserved} if reserved else {})},
    }


def claims(world: Any) -> list[Object]:
    return world.view.list("resourceclaims")


class Live(dict[str, Object]):
    """What the API server answers: the claims as they are in the cache."""

    def __init__(self, world: Any) -> None:
        super().__init__()
        self._world = world

    def get(self, path: str, default: Any = None) -> Any:
        if "/resourceclaims/" not in path:
            return default
        return self._world.view.get("resourceclaims", f"default/{path.rpartition('/')[2]}")


def look(world: Any) -> None:
    """Decide on every claim."""
    world.answers = Live(world)
    for obj in claims(world):
        world.act(reconcile_claim(f"default/{obj['metadata']['name']}", world.view))


def test_a_pod_gets_a_claim_from_its_template(world: Any) -> None:
    world.put(template(labels={"a": "b"}, annotations={"c": "d"}))
    asking = world.put(pod())
    world.act(reconcile_pod("default/p", world.view))
    (made,) = claims(world)
    name = made["metadata"]["name"]
    assert name.startswith("p-gpu-")
    assert made["metadata"]["annotations"] == {"c": "d", MADE_FOR: "gpu"}
    assert made["metadata"]["labels"] == {"a": "b"}
    assert made["metadata"]["ownerReferences"][0]["uid"] == asking["metadata"]["uid"]
    assert made["spec"] == template()["spec"]["spec"]
    status = world.view.get("pods", "default/p")["status"]
    assert status["resourceClaimStatuses"] == [{"name": "gpu", "resourceClaimName": name}]
    assert world.act(reconcile_pod("default/p", world.view)) == 0


def test_a_claim_that_only_the_pod_does_not_know_of_is_not_made_again(world: Any) -> None:
    world.put(template())
    asking = world.put(pod())
    world.put(claim(owner=asking, allocated=False, annotations={MADE_FOR: "gpu"}))
    world.act(reconcile_pod("default/p", world.view))
    assert [one["metadata"]["name"] for one in claims(world)] == ["c"]
    status = world.view.get("pods", "default/p")["status"]
    assert status["resourceClaimStatuses"] == [{"name": "gpu", "resourceClaimName": "c"}]


def test_a_claim_that_was_deleted_is_made_anew(world: Any) -> None:
    world.put(template())
    world.put(pod(status={"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "gone"}]}))
    world.act(reconcile_pod("default/p", world.view))
    assert len(claims(world)) == 1


def test_without_its_template_a_pod_is_told_what_is_missing(world: Any) -> None:
    world.put(pod())
    world.act(reconcile_pod("default/p", world.view))
    assert world.events == [
        (
            "FailedResourceClaimCreation",
            'PodResourceClaim gpu: resource claim template "t": resourceclaimtemplate.resource.k8s.io "t" not found',
        )
    ]
    made = world.put(template())
    assert [one.key for one in POD_CLAIMS.keys("resourceclaimtemplates", None, made, world.view)] == ["default/p"]


def test_long_names_are_cut_in_proportion(world: Any) -> None:
    world.put(template())
    wanted = [{"name": "b" * 60, "resourceClaimTemplateName": "t"}]
    world.put(pod("a" * 60, resourceClaims=wanted))
    world.act(reconcile_pod(f"default/{'a' * 60}", world.view))
    (made,) = claims(world)
    assert made["metadata"]["generateName"] == f"{'a' * 28}-{'b' * 28}"


def test_a_pod_that_came_to_its_node_by_itself_reserves_what_its_claims_have(world: Any) -> None:
    user = world.put(pod(resourceClaims=[{"name": "gpu", "resourceClaimName": "c"}], nodeName="n"))
    world.put(claim())
    world.act(reconcile_pod("default/p", world.view))
    (found,) = claims(world)
    assert [one["uid"] for one in found["status"]["reservedFor"]] == [user["metadata"]["uid"]]


@pytest.mark.parametrize(
    "changed",
    [
        {"status": {"phase": "Succeeded"}},
        {"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"metadata": {"name": "p", "uid": "another"}},
    ],
)
def test_the_last_user_gives_the_devices_back(world: Any, changed: Object) -> None:
    user = world.put(pod())
    world.put(claim(user))
    metadata = {**user["metadata"], **changed.get("metadata", {})}
    world.put({**user, **changed, "metadata": metadata})
    look(world)
    (found,) = claims(world)
    assert found["status"] == {}
    assert found["metadata"]["finalizers"] == []


def test_others_keep_them(world: Any) -> None:
    gone, user = world.put(pod("gone", status={"phase": "Failed"})), world.put(pod("user"))
    world.put(claim(gone, user))
    look(world)
    (found,) = claims(world)
    assert [one["name"] for one in found["status"]["reservedFor"]] == ["user"]
    assert found["status"]["allocation"] == ALLOCATION
    assert found["metadata"]["finalizers"] == [FINALIZER]


def test_a_pod_that_is_not_in_the_cache_yet_is_asked_for(world: Any) -> None:
    user = {**pod(), "metadata": {"name": "p", "namespace": "default", "uid": "u"}}
    world.put(claim(user))
    world.answers = {"/api/v1/namespaces/default/pods/p": user}
    assert world.act(reconcile_claim("default/c", world.view)) == 0
    world.answers = {}
    look(world)
    assert claims(world)[0]["status"] == {}


def test_a_generated_claim_goes_with_its_pod(world: Any) -> None:
    owner = world.put(pod(status={"phase": "Running"}))
    world.put(claim(owner, owner=owner))
    look(world)
    assert len(claims(world)) == 1
    world.put({**owner, "status": {"phase": "Succeeded"}})
    look(world)
    assert claims(world) == []


def test_a_deleted_claim_gives_back_what_nobody_uses(world: Any) -> None:
    world.put(claim(deletionTimestamp="2026-01-01T00:00:00Z"))
    look(world)
    (found,) = claims(world)
    assert (found["status"], found["metadata"]["finalizers"]) == ({}, [])


def test_a_claim_that_is_just_getting_its_devices_is_left_alone(world: Any) -> None:
    world.put(claim(allocated=False))
    look(world)
    assert claims(world)[0]["metadata"]["finalizers"] == [FINALIZER]


def test_the_end_of_a_pod_concerns_its_claims(world: Any) -> None:
    status = {
        "resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "c"}],
        "extendedResourceClaimStatus": {"resourceClaimName": "e"},
    }
    running = world.put(pod(status={**status, "phase": "Running"}))
    done = {**running, "status": {**status, "phase": "Failed"}}
    keys = CLAIM_USERS.keys
    assert list(keys("pods", None, running, world.view)) == []
    for old, new in ((running, done), (running, None)):
        assert [one.key for one in keys("pods", old, new, world.view)] == ["default/c", "default/e"]
