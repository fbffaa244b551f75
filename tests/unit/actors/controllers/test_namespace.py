"""The end of a namespace: its order and what it tells meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from harness.controllers import acting, cluster

from oarlock.actors.controllers.kinds import Kinds
from oarlock.actors.controllers.namespace import Found, order, verdicts
from oarlock.cluster.objects.resources import RESOURCES


def told(found: Found) -> dict[str, Any]:
    return {one["type"]: (one["status"], one["reason"], one["message"]) for one in verdicts(found)}


def test_pods_go_before_everything_else_and_events_after_it() -> None:
    first, middle, last = order(Kinds(RESOURCES))
    assert [one.qualified for one in first] == ["pods"]
    assert [one.qualified for one in last] == ["events"]
    names = {one.qualified for one in middle}
    assert {"configmaps", "secrets", "persistentvolumeclaims", "deployments.apps"} <= names
    assert not names & {"pods", "events", "events.events.k8s.io", "nodes", "bindings"}


def test_one_version_of_each_kind_is_emptied() -> None:
    names = [one.qualified for step in order(Kinds(RESOURCES)) for one in step]
    assert len(names) == len(set(names))


def test_an_empty_namespace_has_nothing_to_complain_of() -> None:
    found = told(Found())
    assert {status for status, _, _ in found.values()} == {"False"}
    assert found["NamespaceFinalizersRemaining"][1:] == (
        "ContentHasNoFinalizers",
        "All content-preserving finalizers finished",
    )
    assert found["NamespaceContentRemaining"][1:] == ("ContentRemoved", "All content successfully removed")


def test_what_is_left_is_told_in_upstreams_words() -> None:
    found = told(Found(left=Counter({"pods.": 2, "widgets.x.io": 1}), finalizers=Counter({"x.io/a": 3})))
    assert found["NamespaceContentRemaining"] == (
        "True",
        "SomeResourcesRemain",
        "Some resources are remaining: pods. has 2 resource instances, widgets.x.io has 1 resource instances",
    )
    assert found["NamespaceFinalizersRemaining"] == (
        "True",
        "SomeFinalizersRemain",
        "Some content in the namespace has finalizers remaining: x.io/a in 3 resource instances",
    )


def test_what_failed_is_told_in_upstreams_words() -> None:
    found = told(Found(failures=["b", "a"], undiscovered=("x.io/v1",)))
    message = "Failed to delete all resource types, 2 remaining: a, b"
    assert found["NamespaceDeletionContentFailure"] == ("True", "ContentDeletionFailed", message)
    message = (
        "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: "
        "x.io/v1: stale GroupVersion discovery: x.io/v1"
    )
    assert found["NamespaceDeletionDiscoveryFailure"] == ("True", "DiscoveryFailed", message)


# Through the API server ----------------------------------------------------------------------------------------


def test_a_namespace_waits_for_its_pods_and_a_successor_ends_what_was_begun() -> None:
    """What is left is told meanwhile; the first controller is stopped before the pod has gone."""
    path = "/api/v1/namespaces/n"

    async def scenario() -> None:
        async with cluster() as here:
            namespaces, maps = here.watch("", "v1", "namespaces"), here.watch("", "v1", "configmaps")
            here.informers.start()
            await here.informers.synced()
            await here.client.create("/api/v1/namespaces", {"metadata": {"name": "n"}})
            await here.client.create(f"{path}/serviceaccounts", {"metadata": {"name": "default"}})
            await here.client.create(f"{path}/configmaps", {"metadata": {"name": "used"}})
            pod = {"schedulerName": "nobody", "containers": [{"name": "c", "image": "x"}]}
            held = {"name": "slow", "finalizers": ["x.io/held"]}
            await here.client.create(f"{path}/pods", {"metadata": held, "spec": pod})

            def remaining() -> str:
                found = ((namespaces.get("n") or {}).get("status") or {}).get("conditions") or ()
                return next((one["message"] for one in found if one["type"] == "NamespaceFinalizersRemaining"), "")

            async with acting(here, identity="a", controllers=["namespace"]):
                await here.client.delete(path)
                await here.until(lambda: "x.io/held in 1 resource instances" in remaining())
            assert maps.get("n/used") is not None, "a pod may still need it"
            async with acting(here, identity="b", controllers=["namespace"]):
                await here.client.patch(f"{path}/pods/slow", {"metadata": {"finalizers": None}})
                await here.until(lambda: namespaces.get("n") is None)
            assert maps.get("n/used") is None

    asyncio.run(scenario())
