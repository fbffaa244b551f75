"""Lists and watches of a few among many, by their nodes and labels, beside what looking at everything finds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oarlock.cluster.apiserver import listing
from oarlock.cluster.apiserver.entries import Entry

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
    monkeypatch.setattr(listing, "SCANNED_MAX", 10)


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
            monkeypatch.setattr(listing, "SCANNED_MAX", 10**9)
            code, scanned = await api("GET", f"{path}?{selector}")
            assert code == 200
            monkeypatch.setattr(listing, "SCANNED_MAX", 10)
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


class Read(list[bytes]):
    """Keys that know how many of them were read."""

    count = 0

    def __getitem__(self, where: Any) -> Any:
        found = super().__getitem__(where)
        self.count += len(found) if isinstance(where, slice) else 1
        return found


def test_few_among_many_are_listed_without_reading_the_others_keys(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(PODS, objects.pod("a"))
        collection = api.server._cache.collection(b"/registry/core/pods/")
        one = next(iter(collection.entries.values()))
        for number in range(2_000):
            key = b"/registry/core/pods/default/pod-%06d" % number
            collection.fill([Entry(key, one.wire.replace(b'"a"', b'"pod-%06d"' % number), 1, 1)])
        await api("GET", f"{PODS}?fieldSelector=spec.nodeName%3Dnone")
        collection.keys = keys = Read(collection.keys)
        _, found = await api("GET", f"{PODS}?fieldSelector=spec.nodeName%3Dnone")
        assert not found["items"]
        assert keys.count < 200
        _, page = await api("GET", f"{PODS}?limit=3")
        assert named(page) == ["a", "pod-000000", "pod-000001"]
        assert page["metadata"]["remainingItemCount"] == 1_998
        assert keys.count < 700

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
