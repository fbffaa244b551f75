"""Conversion webhooks: objects in every version through every verb, and webhooks that fail or lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.authority import Authority
from harness.conversion import definition, plug, serving, version

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEFINITION = f"{DEFINITIONS}/plugs.example.com"
V1 = "/apis/example.com/v1/namespaces/default/plugs"
V2 = "/apis/example.com/v2/namespaces/default/plugs"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


async def established(api: Any, body: dict[str, Any]) -> None:
    """Create a definition and wait as clients do: for its condition."""
    made = await api.made(DEFINITIONS, body)
    since = made["metadata"]["resourceVersion"]
    async with api.watch(f"{DEFINITIONS}?watch=1&resourceVersion={since}") as event:
        while True:
            conditions = (await event())["object"]["status"].get("conditions") or ()
            if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
                return


def test_every_verb_in_both_versions(with_api: Any, tmp_path: Path) -> None:
    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            await established(api, definition(webhook.conversion()))
            made = await api.made(V2, plug("a", "v2", host="h", port=7))
            assert (made["apiVersion"], made["spec"]) == ("example.com/v2", {"host": "h", "port": 7})
            code, seen = await api("GET", f"{V1}/a")
            assert (code, seen["apiVersion"], seen["spec"]) == (200, "example.com/v1", {"address": "h:7"})
            assert seen["metadata"]["uid"] == made["metadata"]["uid"]
            await api.made(V1, plug("b", address="i:8"))
            code, listed = await api("GET", V2)
            assert [one["spec"] for one in listed["items"]] == [{"host": "h", "port": 7}, {"host": "i", "port": 8}]
            assert {one["apiVersion"] for one in listed["items"]} == {"example.com/v2"}
            code, seen = await api("PATCH", f"{V2}/b", {"spec": {"port": 9, "replicas": 1}}, MERGE)
            assert (code, seen["spec"]) == (200, {"host": "i", "port": 9, "replicas": 1})
            seen["spec"]["host"] = "j"
            code, seen = await api("PUT", f"{V2}/b", seen)
            assert (code, seen["spec"]["host"], seen["metadata"]["generation"]) == (200, "j", 3)
            code, seen = await api("PATCH", f"{V2}/b/status", {"status": {"replicas": 2}}, MERGE)
            assert (code, seen["status"]) == (200, {"replicas": 2})
            code, seen = await api("PATCH", f"{V2}/b/scale", {"spec": {"replicas": 3}}, MERGE)
            assert (code, seen["spec"], seen["status"]) == (200, {"replicas": 3}, {"replicas": 2})
            assert (await api("GET", f"{V2}/b/scale"))[1] == seen
            code, seen = await api("GET", f"{V1}/b")
            assert seen["spec"] == {"address": "j:9", "replicas": 3}
            code, seen = await api("PATCH", f"{V2}/b?dryRun=All", {"spec": {"host": "k"}}, MERGE)
            assert (code, seen["spec"]["host"]) == (200, "k")
            assert (await api("GET", f"{V1}/b"))[1]["spec"]["address"] == "j:9"
            assert (await api("DELETE", f"{V2}/a"))[0] == 200
            assert (await api("DELETE", V2))[0] == 200
            assert (await api("GET", V1))[1]["items"] == []

    with_api(scenario)
