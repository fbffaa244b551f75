"""Lists and watches of a few among many, by their nodes and labels, beside what looking at everything finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from oarlock.cluster.apiserver import finding
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.selection import Selection

PODS = "/api/v1/namespaces/default/pods"
ALL = "/api/v1/pods"
COUNT = 60
SELECTORS = (
    "fieldSelector=spec.nodeName%3Dnode-3",
    "fieldSelector=spec.nodeName%3Dnode-3,status.phase%3DPending",
    "fieldSelector=spec.nodeName%3D",
    "fieldSelector=metadata.namespace%3Ddefault,spec.nodeName%3Dnode-1",
    "fieldSelector=metadata.namespace%3Dother",
    "labelSelector=app%3Dapp-2",
    "labelSelector=app%20in%20(app-2,app-4),tier",
    "labelSelector=app!%3Dapp-2",
    "labelSelector=app%3Dnone",
    "labelSelector=app%3Dapp-2&fieldSelector=spec.nodeName%3Dnode-2",
)


def named(found: dict[str, Any]) -> list[str]:
    return [one["metadata"]["name"] for one in found["items"]]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few objects be many."""
    monkeypatch.setattr(finding, "SCANNED_MAX", 10)


async def fill(api: Any, objects: Any) -> None:
    for number in range(COUNT):
        pod = objects.pod(f"pod-{number:03}", nodeName=f"node-{number % 5}")
        pod["metadata"]["labels"] = {"app": f"app-{number % 6}", **({"tier": "x"} if number % 2 else {})}
        await api.made(PODS, pod)


@pytest.mark.parametrize("selector", SELECTORS)
def test_an_index_changes_nothing_but_the_time(
    with_api: Any, objects: Any, monkeypatch: pytest.MonkeyPatch, selector: str
) -> None:
    async def scenario(api: Any) -> None:
        await fill(api, objects)
        for path in (PODS, ALL):
            monkeypatch.setattr(finding, "SCANNED_MAX", 10**9)
            code, scanned = await api("GET", f"{path}?{selector}")
            assert code == 200
            monkeypatch.setattr(finding, "SCANNED_MAX", 10)
            for _ in range(2):
                _, indexed = await api("GET", f"{path}?{selector}")
                assert indexed["items"] == scanned["items"]
            _, page = await api("GET", f"{path}?{selector}&limit=3")
            found = named(page)
            while page["metadata"].get("continue"):
                _, page = await api("GET", f"{path}?{selector}&limit=3&continue={page['metadata']['continue']}")
                found += named(page)
            assert found == named(scanned)

    with_api(scenario, disabled_plugins=("ServiceAccount", "TaintNodesByCondition"))


class Read(dict[bytes, Entry]):
    """Entries that know how many of them were read."""

    count = 0

    def __getitem__(self, key: bytes) -> Entry:
        self.count += 1
        return super().__getitem__(key)


@asynccontextmanager
async def many(api: Any, objects: Any, count: int = 2_000) -> AsyncIterator[tuple[Read, set[str]]]:
    """Have `count` pods on no node and pod `a` on node `n`; yield all entries and, as they come, the pods compared."""
    await api.made(PODS, objects.pod("a", nodeName="n"))
    collection = api.server._cache.collection(b"/registry/core/pods/")
    one = collection.entries[b"/registry/core/pods/default/a"]
    wire = one.wire.replace(b'"nodeName":"n"', b'"priority":0')
    keys = [b"/registry/core/pods/default/pod-%06d" % number for number in range(count)]
    collection.fill(Entry(key, wire.replace(b'"a"', b'"%b"' % key[-10:]), 1, 1) for key in keys)
    collection.entries = read = Read(collection.entries)
    compared, matches = set[str](), Selection.matches

    def noted(chosen: Selection, entry: Entry) -> bool:
        compared.add(entry.key.decode().rpartition("/")[2])
        return matches(chosen, entry)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Selection, "matches", noted)
        yield read, compared


def test_few_among_many_are_listed_without_reading_the_others(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        async with many(api, objects) as (read, compared):
            for _ in range(2):
                read.count = 0
                _, found = await api("GET", f"{PODS}?fieldSelector=spec.nodeName%3Dn")
                assert named(found) == ["a"]
            assert (read.count, compared) == (1, {"a"})
            _, page = await api("GET", f"{PODS}?limit=3")
            assert named(page) == ["a", "pod-000000", "pod-000001"]
            assert page["metadata"]["remainingItemCount"] == 1_998
            assert read.count < 10

    with_api(scenario)


def test_a_watch_of_few_among_many_begins_without_reading_the_others(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        async with many(api, objects) as (read, compared):
            query = "watch=1&resourceVersion=0&fieldSelector=spec.nodeName%3Dn"
            for _ in range(2):
                read.count = 0
                async with api.watch(f"{PODS}?{query}") as event:
                    assert (await event())["object"]["metadata"]["name"] == "a"
                    await api.made(PODS, objects.pod(f"b-{read.count}", nodeName="n"))
                    assert (await event())["object"]["metadata"]["name"].startswith("b-")
                await api("DELETE", f"{PODS}/b-{read.count}", {"gracePeriodSeconds": 0})
            assert compared <= {"a", f"b-{read.count}"}
            assert read.count < 10

    with_api(scenario)


@pytest.mark.parametrize("watch", ["", "&watch=1&resourceVersion=0"])
def test_others_have_their_turn_while_many_are_looked_at(with_api: Any, objects: Any, watch: str) -> None:
    async def scenario(api: Any) -> None:
        async with many(api, objects, count=20_000) as (_, compared):
            at_turns = [0]

            async def note() -> None:
                while True:
                    await asyncio.sleep(0)
                    at_turns.append(len(compared))

            noting = asyncio.create_task(note())
            async with api.session.get(f"{api.server.url}{PODS}?labelSelector=!none{watch}") as answer:
                while len(compared) < 20_001:
                    assert await answer.content.readline()
            noting.cancel()
            assert max(after - before for before, after in pairwise(at_turns)) <= finding.SCANNED_MAX

    with_api(scenario)


def test_an_index_that_finds_most_is_not_asked(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        async with many(api, objects) as (read, compared):
            await api("GET", f"{PODS}?fieldSelector=spec.nodeName%3D")
            compared.clear()
            read.count = 0
            _, found = await api("GET", f"{PODS}?fieldSelector=spec.nodeName%3D")
            assert len(found["items"]) == 2_000
            assert len(compared) == read.count == 2_001

    with_api(scenario)


@pytest.mark.usefixtures("few")
def test_an_index_follows_what_changes(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await fill(api, objects)
        asked = f"{PODS}?labelSelector=app%3Dapp-2"
        before = named((await api("GET", asked))[1])
        merge = "application/merge-patch+json"
        await api("PATCH", f"{PODS}/{before[0]}", {"metadata": {"labels": {"app": "other"}}}, merge)
        await api("PATCH", f"{PODS}/pod-000", {"metadata": {"labels": {"app": "app-2"}}}, merge)
        await api("DELETE", f"{PODS}/{before[1]}", {"gracePeriodSeconds": 0})
        assert named((await api("GET", asked))[1]) == ["pod-000", *before[2:]]

    with_api(scenario)


def test_a_watch_by_label_tells_of_what_comes_and_goes(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(PODS, objects.pod("one"))
        merge = "application/merge-patch+json"
        async with (
            api.watch(f"{ALL}?watch=1&labelSelector=app%3Da&resourceVersion=1") as event,
            api.watch(f"{PODS}?watch=1&fieldSelector=spec.nodeName%3Dn&resourceVersion=1") as of_node,
        ):
            for label in ("a", "b", "a"):
                await api("PATCH", f"{PODS}/one", {"metadata": {"labels": {"app": label}}}, merge)
            await api.made(PODS, objects.pod("two", nodeName="n"))
            await api.made(PODS, objects.pod("three", nodeName="m"))
            await api("DELETE", f"{PODS}/two", {"gracePeriodSeconds": 0})
            assert [(await event())["type"] for _ in range(3)] == ["ADDED", "DELETED", "ADDED"]
            seen = [await of_node() for _ in range(2)]
            assert [(one["type"], one["object"]["metadata"]["name"]) for one in seen] == [
                ("ADDED", "two"),
                ("DELETED", "two"),
            ]

    with_api(scenario, disabled_plugins=("ServiceAccount", "TaintNodesByCondition"))


def test_events_of_both_groups_are_chosen_by_their_own_fields(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        about = {"kind": "Pod", "namespace": "default", "name": "one"}
        event = {"metadata": {"name": "e"}, "involvedObject": about, "reason": "Why", "type": "Normal"}
        await api.made("/api/v1/namespaces/default/events", event)
        paths = ("/api/v1/events?fieldSelector=involvedObject.name%3Done", "/apis/events.k8s.io/v1/events")
        asked = (paths[0], f"{paths[1]}?fieldSelector=regarding.name%3Done", paths[0])
        found = await asyncio.gather(*(api("GET", one) for one in asked))
        assert [len(document["items"]) for _, document in found] == [1, 1, 1]

    with_api(scenario)
