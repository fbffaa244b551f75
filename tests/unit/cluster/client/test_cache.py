"""The cache: indexes and handlers see every change once."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.cluster.client.cache import STEP_OBJECTS, Cache, key_of

Object = dict[str, Any]


def pod(name: str, revision: int, uid: str = "", node: str = "n1") -> Object:
    metadata = {"name": name, "namespace": "d", "uid": uid or name, "resourceVersion": str(revision)}
    return {"metadata": metadata, "spec": {"nodeName": node}}


def test_keys() -> None:
    assert key_of(pod("a", 1)) == "d/a"
    assert key_of({"metadata": {"name": "n"}}) == "n"


def test_handlers_see_each_change_once_with_old_and_new() -> None:
    cache, seen = Cache(), []
    cache.replace([pod("a", 1)], 1)
    cache.add_handler(lambda change, old, new: seen.append((change, old and old["metadata"]["resourceVersion"])))
    cache.apply("MODIFIED", pod("a", 2))
    cache.apply("MODIFIED", pod("a", 2))
    cache.apply("DELETED", pod("a", 3))
    cache.apply("ADDED", pod("a", 1))
    assert seen == [("ADDED", None), ("MODIFIED", "1"), ("DELETED", "2")]


def test_a_list_after_a_gap_tells_only_what_differs() -> None:
    cache, seen = Cache(), []
    cache.replace([pod("a", 1), pod("b", 2), pod("c", 3)], 3)
    cache.add_handler(lambda change, old, new: seen.append((change, key_of(new or old or {}))))
    seen.clear()
    cache.replace([pod("b", 2), pod("c", 8), pod("d", 9)], 9)
    assert seen == [("DELETED", "d/a"), ("MODIFIED", "d/c"), ("ADDED", "d/d")]


def test_a_large_list_is_taken_in_steps_and_counts_only_once_it_is_whole() -> None:
    cache, seen = Cache(), []
    cache.replace([pod(f"old-{number}", 1) for number in range(STEP_OBJECTS)], 1)
    cache.add_handler(lambda change, _, __: seen.append(change))
    before = len(seen)
    objects = iter([pod(f"new-{number}", 2) for number in range(3 * STEP_OBJECTS)])
    told = []
    for _ in cache.replacing(objects, 2):
        told.append(len(seen) - before)
        assert cache.revision == 1
        before = len(seen)
    assert max(told) <= STEP_OBJECTS
    assert (cache.revision, len(cache)) == (2, 3 * STEP_OBJECTS)
    assert all(obj["metadata"]["name"].startswith("new-") for obj in cache)


def test_one_made_again_under_the_same_name_is_a_deletion_and_an_addition() -> None:
    cache, seen = Cache(), []
    cache.replace([pod("a", 1, "one")], 1)
    cache.add_handler(lambda change, old, new: seen.append(change))
    cache.replace([pod("a", 5, "two")], 5)
    assert seen == ["ADDED", "DELETED", "ADDED"]


def test_a_failing_handler_stops_nobody() -> None:
    cache, seen = Cache(), []

    def fail(*_: object) -> None:
        raise ValueError("broken")

    cache.add_handler(fail)
    cache.add_handler(lambda change, old, new: seen.append(change))
    cache.apply("ADDED", pod("a", 1))
    assert seen == ["ADDED"]


def test_an_index_shows_an_object_as_it_is_and_where_it_was_when_its_value_stays() -> None:
    cache = Cache()
    cache.add_index("label", lambda obj: (obj["metadata"]["labels"]["a"],))

    def made(name: str, revision: int) -> dict[str, Any]:
        return {"metadata": {"name": name, "uid": name, "resourceVersion": str(revision), "labels": {"a": "x"}}}

    for revision, name in enumerate(("one", "two", "one"), start=1):
        cache.apply("MODIFIED", made(name, revision))
    assert cache.by_index("label", "x") == [made("one", 3), made("two", 2)]


def test_waiting_for_a_revision_ends_with_a_bookmark() -> None:
    async def scenario() -> None:
        cache, behind = Cache(), []
        cache.on_behind = lambda: behind.append(cache.wanted_revision)
        cache.replace([], 3)
        await cache.wait_revision(3)
        waiting = asyncio.ensure_future(cache.wait_revision(7))
        await asyncio.sleep(0)
        assert behind == [7]
        cache.advance(6)
        await asyncio.sleep(0)
        assert not waiting.done()
        cache.advance(7)
        await waiting
        assert cache.wanted_revision == 0

    asyncio.run(scenario())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["n1", "n2", None])), max_size=40))
@settings(max_examples=100, deadline=None)
def test_an_index_always_equals_a_scan(changes: list[tuple[str, str | None]]) -> None:
    cache = Cache()
    cache.add_index("node", lambda obj: (obj["spec"]["nodeName"],))
    for revision, (name, node) in enumerate(changes, 1):
        if node is None:
            cache.apply("DELETED", pod(name, revision))
        else:
            cache.apply("MODIFIED", pod(name, revision, node=node))
    for node in ("n1", "n2"):
        scan = sorted(key_of(obj) for obj in cache if obj["spec"]["nodeName"] == node)
        assert sorted(map(key_of, cache.by_index("node", node))) == scan
    assert len(cache.by_index("namespace", "d")) == len(cache)
