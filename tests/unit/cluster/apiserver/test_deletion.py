"""Deletion: preconditions, finalizers, grace periods, namespaces, collections."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oarlock.cluster.apiserver.deleting import DELETED_AT_ONCE, Deleter
from oarlock.cluster.objects import status

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
MERGE = "application/merge-patch+json"


def options(**fields: Any) -> dict[str, Any]:
    return {"kind": "DeleteOptions", "apiVersion": "v1", **fields}


async def bind(api: Any, name: str, node: str = "n1") -> tuple[int, Any]:
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
    return await api("POST", f"{PODS}/{name}/binding", body)  # type: ignore[no-any-return]


def test_plain_deletion_answers_with_a_status(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(MAPS, objects.configmap("a"))
        code, answer = await api("DELETE", f"{MAPS}/a")
        assert (code, answer["status"], answer["details"]["uid"]) == (200, "Success", made["metadata"]["uid"])
        assert (await api("DELETE", f"{MAPS}/a"))[0] == 404

    with_api(scenario)


def test_preconditions(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(MAPS, objects.configmap("a"))
        code, answer = await api("DELETE", f"{MAPS}/a", options(preconditions={"uid": "other"}))
        assert (code, answer["reason"]) == (409, "Conflict")
        code, _ = await api("DELETE", f"{MAPS}/a", options(preconditions={"resourceVersion": "1"}))
        assert code == 409
        code, _ = await api("DELETE", f"{MAPS}/a", options(preconditions={"uid": made["metadata"]["uid"]}))
        assert code == 200

    with_api(scenario)


def test_finalizers_keep_the_object_until_the_last_goes(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        body = objects.configmap("a")
        body["metadata"]["finalizers"] = ["example.com/f"]
        await api.made(MAPS, body)
        _, marked = await api("DELETE", f"{MAPS}/a")
        assert marked["metadata"]["deletionTimestamp"]
        assert (await api("GET", f"{MAPS}/a"))[0] == 200
        assert (await api("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": None}}, MERGE))[0] == 200
        assert (await api("GET", f"{MAPS}/a"))[0] == 404

    with_api(scenario)


def test_foreground_deletion_waits_for_the_collector(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(MAPS, objects.configmap("a"))
        _, marked = await api("DELETE", f"{MAPS}/a?propagationPolicy=Foreground")
        assert marked["metadata"]["finalizers"] == ["foregroundDeletion"]

    with_api(scenario)


def test_unscheduled_pods_go_at_once_and_bound_ones_after_their_grace(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(PODS, objects.pod("loose"))
        assert (await api("DELETE", f"{PODS}/loose"))[0] == 200
        assert (await api("GET", f"{PODS}/loose"))[0] == 404
        await api.made(PODS, objects.pod("bound"))
        assert (await bind(api, "bound"))[0] == 201
        _, marked = await api("DELETE", f"{PODS}/bound")
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
        _, shorter = await api("DELETE", f"{PODS}/bound?gracePeriodSeconds=5")
        assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
        assert shorter["metadata"]["deletionTimestamp"] < marked["metadata"]["deletionTimestamp"]
        _, longer = await api("DELETE", f"{PODS}/bound?gracePeriodSeconds=60")
        assert longer["metadata"]["deletionGracePeriodSeconds"] == 5
        await api("DELETE", f"{PODS}/bound?gracePeriodSeconds=0")
        assert (await api("GET", f"{PODS}/bound"))[0] == 404

    with_api(scenario)


def test_collection_deletion_follows_its_selector(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        for number in range(4):
            await api.made(MAPS, objects.configmap(f"m{number}", {"odd": str(number % 2)}))
        _, gone = await api("DELETE", f"{MAPS}?labelSelector=odd%3D1")
        assert [item["metadata"]["name"] for item in gone["items"]] == ["m1", "m3"]
        _, left = await api("GET", MAPS)
        assert [item["metadata"]["name"] for item in left["items"]] == ["m0", "m2"]

    with_api(scenario)


def test_many_are_deleted_at_the_same_time_and_all_of_them(
    with_api: Any, objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(api: Any) -> None:
        count = 3 * DELETED_AT_ONCE
        for number in range(count):
            await api.made(MAPS, objects.configmap(f"m{number:02}"))
        plain, under_way, most = api.store.transact, 0, 0

        async def transact(*given: Any) -> Any:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            try:
                await asyncio.sleep(0)
                return await plain(*given)
            finally:
                under_way -= 1

        monkeypatch.setattr(api.store, "transact", transact)
        code, gone = await api("DELETE", MAPS)
        assert (code, len(gone["items"])) == (200, count)
        assert most == DELETED_AT_ONCE
        assert (await api("GET", MAPS))[1]["items"] == []

    with_api(scenario)


def test_a_refusal_ends_a_collection_s_deletion(with_api: Any, objects: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(api: Any) -> None:
        for number in range(10 * DELETED_AT_ONCE):
            await api.made(MAPS, objects.configmap(f"m{number:03}"))
        plain = Deleter.delete_object

        async def refuse(deleter: Deleter, call: Any, key: bytes, name: str, wanted: Any) -> Any:
            await asyncio.sleep(0)
            if name == "m020":
                raise status.forbidden("configmaps", name, "it stays")
            return await plain(deleter, call, key, name, wanted)

        monkeypatch.setattr(Deleter, "delete_object", refuse)
        code, answer = await api("DELETE", MAPS)
        assert (code, answer["reason"]) == (403, "Forbidden")
        left = (await api("GET", MAPS))[1]["items"]
        assert left[0]["metadata"]["name"] == "m020"
        assert len(left) > 5 * DELETED_AT_ONCE, "what hadn't begun isn't begun any more"

    with_api(scenario)


def test_namespaces_terminate_refuse_and_are_finalized(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(
            "/api/v1/namespaces", {"metadata": {"name": "x"}, "apiVersion": "v1", "kind": "Namespace"}
        )
        assert made["spec"]["finalizers"] == ["kubernetes"]
        assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}
        _, marked = await api("DELETE", "/api/v1/namespaces/x")
        assert marked["status"]["phase"] == "Terminating"
        code, answer = await api("POST", "/api/v1/namespaces/x/configmaps", objects.configmap("a"))
        assert code == 403
        assert "because it is being terminated" in answer["message"]
        marked["spec"]["finalizers"] = []
        assert (await api("PUT", "/api/v1/namespaces/x/finalize", marked))[0] == 200
        assert (await api("GET", "/api/v1/namespaces/x"))[0] == 404
        code, answer = await api("POST", "/api/v1/namespaces/x/configmaps", objects.configmap("a"))
        assert (code, answer["message"]) == (404, 'namespaces "x" not found')
        assert (await api("DELETE", "/api/v1/namespaces/default"))[0] == 403

    with_api(scenario)


def test_eviction_asks_the_disruption_budget(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        body = objects.pod("p")
        body["metadata"]["labels"] = {"app": "x"}
        await api.made(PODS, body)
        await bind(api, "p")
        await api("PATCH", f"{PODS}/p/status", {"status": {"phase": "Running"}}, MERGE)
        budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
        spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}
        budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": spec}
        await api.made(budgets, budget)
        state = {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
        await api("PATCH", f"{budgets}/b/status", {"status": {**state, "observedGeneration": 1}}, MERGE)
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
        code, answer = await api("POST", f"{PODS}/p/eviction", eviction)
        assert (code, answer["reason"]) == (429, "TooManyRequests")
        assert (
            "disruption budget b needs 1 healthy pods and has 1 currently" in answer["details"]["causes"][0]["message"]
        )
        await api("PATCH", f"{budgets}/b/status", {"status": {"disruptionsAllowed": 1}}, MERGE)
        assert (await api("POST", f"{PODS}/p/eviction", eviction))[0] == 201
        _, spent = await api("GET", f"{budgets}/b")
        assert (spent["status"]["disruptionsAllowed"], list(spent["status"]["disruptedPods"])) == (0, ["p"])

    with_api(scenario)


def test_binding_happens_once(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(PODS, objects.pod("p"))
        waiting = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "observedGeneration": 1}
        told = {"conditions": [waiting, {"type": "Mine", "status": "True"}], "nominatedNodeName": "n0"}
        await api("PATCH", f"{PODS}/p/status", {"status": told}, MERGE)
        assert (await bind(api, "p"))[0] == 201
        _, bound = await api("GET", f"{PODS}/p")
        assert bound["spec"]["nodeName"] == "n1"
        assert [one["type"] for one in bound["status"]["conditions"]] == ["PodScheduled", "Mine"]
        scheduled = {
            key: value for key, value in bound["status"]["conditions"][0].items() if key != "lastTransitionTime"
        }
        assert scheduled == {"type": "PodScheduled", "status": "True", "lastProbeTime": None}
        assert "nominatedNodeName" not in bound["status"]
        code, answer = await bind(api, "p", "n2")
        assert (code, answer["reason"]) == (409, "Conflict")
        assert 'pod p is already assigned to node "n1"' in answer["message"]

    with_api(scenario)
