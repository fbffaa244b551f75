"""Lists, pages, selectors and watches."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
MERGE = "application/merge-patch+json"


def names(answer: Any) -> list[str]:
    return [item["metadata"]["name"] for item in answer["items"]]


async def fill(api: Any, objects: Any, count: int) -> None:
    for number in range(count):
        await api.made(MAPS, objects.configmap(f"m{number}", {"n": str(number), "odd": str(number % 2)}))


def test_list_is_in_key_order_and_has_no_kinds(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        for name in ("b", "c", "a"):
            await api.made(MAPS, objects.configmap(name))
        _, answer = await api("GET", MAPS)
        assert (answer["kind"], names(answer)) == ("ConfigMapList", ["a", "b", "c"])
        assert "kind" not in answer["items"][0]
        assert answer["metadata"]["resourceVersion"] == str(await api.store.revision())
        everywhere = "/api/v1/configmaps?fieldSelector=metadata.namespace!=kube-system"
        assert names((await api("GET", everywhere))[1]) == ["a", "b", "c"]

    with_api(scenario)


def test_pages_show_the_first_pages_revision(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await fill(api, objects, 5)
        _, first = await api("GET", f"{MAPS}?limit=2")
        assert (names(first), first["metadata"]["remainingItemCount"]) == (["m0", "m1"], 3)
        await api("DELETE", f"{MAPS}/m3")
        await api.made(MAPS, objects.configmap("m2b"))
        _, second = await api("GET", f"{MAPS}?limit=2&continue={first['metadata']['continue']}")
        assert names(second) == ["m2", "m3"]
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        _, third = await api("GET", f"{MAPS}?limit=2&continue={second['metadata']['continue']}")
        assert names(third) == ["m4"]
        assert "continue" not in third["metadata"]

    with_api(scenario)


def test_a_list_whose_revision_is_forgotten_goes_on_with_what_there_is(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await fill(api, objects, 5)
        _, first = await api("GET", f"{MAPS}?limit=2")
        await api("DELETE", f"{MAPS}/m3")
        await api.store.compact(await api.store.revision())
        code, expired = await api("GET", f"{MAPS}?limit=2&continue={first['metadata']['continue']}")
        assert (code, expired["reason"]) == (410, "Expired")
        assert "or use the continue token in this response" in expired["message"]
        _, second = await api("GET", f"{MAPS}?limit=2&continue={expired['metadata']['continue']}")
        assert names(second) == ["m2", "m4"]
        assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
        exact = f"resourceVersionMatch=Exact&resourceVersion={first['metadata']['resourceVersion']}"
        code, expired = await api("GET", f"{MAPS}?{exact}")
        assert (code, expired["message"], expired["metadata"]) == (
            410,
            "The resourceVersion for the provided list is too old.",
            {},
        )

    with_api(scenario)


def test_selectors(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await fill(api, objects, 4)
        assert names((await api("GET", f"{MAPS}?labelSelector=odd%3D1"))[1]) == ["m1", "m3"]
        assert names((await api("GET", f"{MAPS}?labelSelector=n+in+(0,3),odd!%3D1"))[1]) == ["m0"]
        assert names((await api("GET", f"{MAPS}?fieldSelector=metadata.name%3Dm2"))[1]) == ["m2"]
        assert names((await api("GET", "/api/v1/configmaps?fieldSelector=metadata.namespace%3Dnope"))[1]) == []
        assert (await api("GET", f"{MAPS}?fieldSelector=data.k%3D1"))[0] == 400

    with_api(scenario)


def test_exact_version_reads_history(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(MAPS, objects.configmap("a"))
        await api("DELETE", f"{MAPS}/a")
        version = made["metadata"]["resourceVersion"]
        _, then = await api("GET", f"{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact")
        assert names(then) == ["a"]
        assert names((await api("GET", MAPS))[1]) == []

    with_api(scenario)


def test_version_in_the_future_times_out(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        code, answer = await api("GET", f"{MAPS}?resourceVersion=999999")
        assert (code, answer["reason"]) == (504, "Timeout")
        assert answer["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"

    with_api(scenario)


def test_watch_tells_every_step_once_and_in_order(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(MAPS, objects.configmap("a"))
        async with api.watch(f"{MAPS}?watch=1&resourceVersion={made['metadata']['resourceVersion']}") as event:
            await api.made(MAPS, objects.configmap("b"))
            await api("PATCH", f"{MAPS}/b", {"data": {"k": "v"}}, MERGE)
            await api("DELETE", f"{MAPS}/b")
            seen = [await event() for _ in range(3)]
        assert [one["type"] for one in seen] == ["ADDED", "MODIFIED", "DELETED"]
        versions = [int(one["object"]["metadata"]["resourceVersion"]) for one in seen]
        assert versions == sorted(set(versions))
        assert seen[2]["object"]["data"] == {"k": "v"}

    with_api(scenario)


def test_watch_resumes_from_an_old_version(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        first = await api.made(MAPS, objects.configmap("a"))
        await fill(api, objects, 3)
        async with api.watch(f"{MAPS}?watch=1&resourceVersion={first['metadata']['resourceVersion']}") as event:
            assert [(await event())["object"]["metadata"]["name"] for _ in range(3)] == ["m0", "m1", "m2"]

    with_api(scenario)


def test_watch_without_a_version_begins_with_the_present(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await fill(api, objects, 2)
        async with api.watch(f"{MAPS}?watch=1") as event:
            assert [(await event())["type"] for _ in range(2)] == ["ADDED", "ADDED"]
            await api.made(MAPS, objects.configmap("z"))
            assert (await event())["object"]["metadata"]["name"] == "z"

    with_api(scenario)


def test_initial_events_end_with_a_marked_bookmark(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await fill(api, objects, 1)
        query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        async with api.watch(f"{MAPS}?{query}") as event:
            assert (await event())["type"] == "ADDED"
            mark = await event()
        assert mark["type"] == "BOOKMARK"
        assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}

    with_api(scenario)


def test_only_the_first_table_of_a_watch_tells_its_columns(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await fill(api, objects, 2)
        table = "application/json;as=Table;v=v1;g=meta.k8s.io"
        async with api.session.get(
            f"{api.server.url}{MAPS}?watch=1&timeoutSeconds=1", headers={"Accept": table}
        ) as answer:
            events = [orjson.loads(line) for line in (await answer.read()).splitlines()]
        assert [bool(event["object"]["columnDefinitions"]) for event in events] == [True, False]
        assert [len(event["object"]["rows"]) for event in events] == [1, 1]
        initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        code, refused = await api("GET", f"{MAPS}?watch=1&{initial}", Accept=table)
        assert (code, refused["reason"]) == (406, "NotAcceptable")

    with_api(scenario)


def test_selected_watch_turns_moves_into_additions_and_deletions(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(MAPS, objects.configmap("a", {"x": "1"}))
        version = made["metadata"]["resourceVersion"]
        async with api.watch(f"{MAPS}?watch=1&labelSelector=x%3D2&resourceVersion={version}") as event:
            await api("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"x": "2"}}}, MERGE)
            assert (await event())["type"] == "ADDED"
            await api("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"x": "3"}}}, MERGE)
            gone = await event()
        assert (gone["type"], gone["object"]["metadata"]["labels"]) == ("DELETED", {"x": "2"})

    with_api(scenario)


def test_a_watch_opened_on_a_server_that_stops_ends_at_once(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        api.server._watching.stop()
        async with api.watch(f"{MAPS}?watch=1&resourceVersion=1&timeoutSeconds=600") as event:
            assert await event() is None

    with_api(scenario)


def test_watch_from_a_forgotten_version_is_told_so(
    with_api: Any, objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(api: Any) -> None:
        await api.made(MAPS, objects.configmap("a"))
        monkeypatch.setattr("oarlock.cluster.apiserver.watchcache.RESUME_REVISIONS", 1)
        later = ApiServer(ApiServerSettings("later", service_cidr="10.0.0.0/24", shutdown_grace_s=0.1), api.store)
        await later.start()
        try:
            api.server = later
            async with api.watch(f"{MAPS}?watch=1&resourceVersion=1") as event:
                told = await event()
                assert (told["type"], told["object"]["code"], told["object"]["reason"]) == ("ERROR", 410, "Expired")
                assert await event() is None
        finally:
            await later.stop()

    with_api(scenario)


def test_two_servers_over_one_store_see_each_others_writes(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        first = api.server
        second = ApiServer(ApiServerSettings("second", service_cidr="10.0.0.0/24", shutdown_grace_s=0.1), api.store)
        await second.start()
        try:
            for number in range(20):
                api.server = first
                made = await api.made(MAPS, objects.configmap(f"m{number}"))
                api.server = second
                assert await api("GET", f"{MAPS}/m{number}") == (200, made)
                assert len((await api("GET", MAPS))[1]["items"]) == number + 1
        finally:
            api.server = first
            await second.stop()

    with_api(scenario)


def test_watch_ends_after_its_timeout_with_a_bookmark(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(MAPS, objects.configmap("a"))
        version = made["metadata"]["resourceVersion"]
        path = f"{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion={version}"
        async with api.watch(path) as event:
            await api.made(PODS, objects.pod("p"))
            mark = await event()
            assert (mark["type"], await event()) == ("BOOKMARK", None)
        assert int(mark["object"]["metadata"]["resourceVersion"]) > int(version)

    with_api(scenario)


def test_tables_and_metadata_only(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(PODS, objects.pod("p"))
        _, table = await api("GET", PODS, Accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
        assert (table["kind"], table["rows"][0]["cells"][:3]) == ("Table", ["p", "0/1", "Pending"])
        assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        _, partial = await api(
            "GET", f"{PODS}/p", Accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        )
        assert set(partial) == {"kind", "apiVersion", "metadata"}

    with_api(scenario)
