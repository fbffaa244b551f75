"""What becomes of dependents.

Stands for: "Garbage collector should orphan pods created by rc if delete options say so", "... should delete RS created
by deployment when not orphaning", "... should orphan RS created by deployment when deleteOptions.PropagationPolicy is
Orphan", "... should keep the rc around until all its pods are deleted if the deleteOptions says so", "... should not
delete dependents that have both valid owner and owner that's waiting for dependents to be deleted", "... should not be
blocked by dependency circle", "... should support cascading deletion of custom resources".
"""

from __future__ import annotations

from typing import Any

import pytest
from harness.kinds import DEFINITION, SELECTOR, TEMPLATE
from harness.rest import Object, Rest

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def options(policy: str) -> Object:
    return {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}


def owner(obj: Object, *, blocks: bool = True) -> Object:
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "blockOwnerDeletion": blocks,
    }


def configmap(name: str, *owners: Object, **metadata: Any) -> Object:
    return {"metadata": {"name": name, "ownerReferences": [owner(one) for one in owners], **metadata}}


def replicated(api: Rest, path: str, kind: str, replicas: int = 2) -> Object:
    selector: Object = SELECTOR["matchLabels"] if kind == "ReplicationController" else SELECTOR  # type: ignore[assignment]
    spec = {"replicas": replicas, "selector": selector, "template": TEMPLATE}
    made = api.create(path, {"metadata": {"name": "owner"}, "spec": spec})
    api.until(f"{path}/owner", lambda found: found["status"].get("replicas") == replicas)
    return dict(made)


@pytest.mark.parametrize("policy", ["Orphan", "Background", "Foreground"])
def test_pods_of_a_controller(api: Rest, core: str, policy: str) -> None:
    path = f"{core}/replicationcontrollers"
    replicated(api, path, "ReplicationController")
    pods = api.get(f"{core}/pods", labelSelector="app=a")["items"]
    assert len(pods) == 2
    held = f"{core}/pods/{pods[0]['metadata']['name']}"
    if policy == "Foreground":
        api.patch(held, {"metadata": {"finalizers": ["example.com/held"]}})
    api.delete(f"{path}/owner", options(policy))
    if policy == "Foreground":
        waiting = api.until(f"{path}/owner", lambda found: found["metadata"].get("deletionTimestamp"))
        assert "foregroundDeletion" in waiting["metadata"]["finalizers"]
        api.until(held, lambda found: found["metadata"].get("deletionTimestamp"))
        assert api("GET", f"{path}/owner").code == 200, "it stays for as long as a pod does"
        api.patch(held, {"metadata": {"finalizers": None}})
    api.until_gone(f"{path}/owner")
    for one in pods:
        if policy == "Orphan":
            left = api.get(f"{core}/pods/{one['metadata']['name']}")
            assert "ownerReferences" not in left["metadata"]
        else:
            api.until_gone(f"{core}/pods/{one['metadata']['name']}")


@pytest.mark.parametrize("policy", ["Orphan", "Background"])
def test_the_replica_set_of_a_deployment(api: Rest, core: str, apps: str, policy: str) -> None:
    replicated(api, f"{apps}/deployments", "Deployment")
    (replica_set,) = api.get(f"{apps}/replicasets", labelSelector="app=a")["items"]
    path = f"{apps}/replicasets/{replica_set['metadata']['name']}"
    api.delete(f"{apps}/deployments/owner", options(policy))
    api.until_gone(f"{apps}/deployments/owner")
    if policy == "Orphan":
        assert "ownerReferences" not in api.get(path)["metadata"]
    else:
        api.until_gone(path)


def test_what_has_another_owner_stays(api: Rest, core: str) -> None:
    going, staying = (api.create(f"{core}/configmaps", configmap(name)) for name in ("going", "staying"))
    api.create(f"{core}/configmaps", configmap("both", going, staying))
    api.create(f"{core}/configmaps", configmap("one", going))
    api.delete(f"{core}/configmaps/going", options("Foreground"))
    api.until_gone(f"{core}/configmaps/going")
    api.until_gone(f"{core}/configmaps/one")
    left = api.get(f"{core}/configmaps/both")
    assert [one["name"] for one in left["metadata"]["ownerReferences"]] == ["staying"]


def test_a_circle_of_owners_blocks_nothing(api: Rest, core: str) -> None:
    names = ("first", "second", "third")
    made = [api.create(f"{core}/configmaps", configmap(name)) for name in names]
    for at, name in enumerate(names):
        api.patch(f"{core}/configmaps/{name}", {"metadata": {"ownerReferences": [owner(made[at - 1])]}})
    api.delete(f"{core}/configmaps/first", options("Foreground"))
    for name in names:
        api.until_gone(f"{core}/configmaps/{name}")


def test_custom_resources(api: Rest, namespace: str) -> None:
    group = f"{namespace}.example.com"
    spec = {**DEFINITION, "group": group, "scope": "Cluster"}
    definition = f"{DEFINITIONS}/things.{group}"
    api.create(DEFINITIONS, {"metadata": {"name": f"things.{group}"}, "spec": spec})
    api.until(definition, lambda found: len(found["status"].get("conditions", [])) == 2)
    path, heading = f"/apis/{group}/v1/things", {"apiVersion": f"{group}/v1", "kind": "Thing"}
    first = api.create(path, {**heading, "metadata": {"name": "owner"}})
    for name, policy in (("dependent", "Background"), ("orphan", "Orphan")):
        api.create(path, {**heading, **configmap(name, first)})
        api.delete(f"{path}/owner", options(policy))
        api.until_gone(f"{path}/owner")
        if policy == "Background":
            api.until_gone(f"{path}/{name}")
            first = api.create(path, {**heading, "metadata": {"name": "owner"}})
        else:
            assert "ownerReferences" not in api.get(f"{path}/{name}")["metadata"]
    api.delete(definition)
    api.until_gone(definition)
