"""Every cluster's flow control, and the condition of FlowSchemas whose priority level isn't there."""

from __future__ import annotations

from typing import Any

FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"
RULE = {
    "subjects": [{"kind": "Group", "group": {"name": "g"}}],
    "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}],
}
SCHEMA = {
    "metadata": {"name": "mine"},
    "spec": {"priorityLevelConfiguration": {"name": "later"}, "matchingPrecedence": 500, "rules": [RULE]},
}
LEVEL = {
    "metadata": {"name": "later"},
    "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}},
}


def test_every_cluster_has_levels_and_schemas(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        for plural, some in (("prioritylevelconfigurations", "workload-low"), ("flowschemas", "service-accounts")):
            _, listed = await api("GET", f"{FLOW}/{plural}")
            assert {some, "exempt", "catch-all"} <= {item["metadata"]["name"] for item in listed["items"]}

    with_api(scenario)


def test_a_schema_tells_whether_its_level_exists(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        path = f"{FLOW}/flowschemas?watch=true&fieldSelector=metadata.name%3Dmine"
        async with api.watch(path) as event:

            async def condition() -> tuple[str, str, str]:
                while True:
                    found = (await event())["object"].get("status", {}).get("conditions")
                    if found:
                        return found[0]["type"], found[0]["status"], found[0]["reason"]

            await api.made(f"{FLOW}/flowschemas", SCHEMA)
            assert await condition() == ("Dangling", "True", "NotFound")
            await api.made(f"{FLOW}/prioritylevelconfigurations", LEVEL)
            assert await condition() == ("Dangling", "False", "Found")
            assert (await api("DELETE", f"{FLOW}/prioritylevelconfigurations/later"))[0] == 200
            assert await condition() == ("Dangling", "True", "NotFound")

    with_api(scenario)
