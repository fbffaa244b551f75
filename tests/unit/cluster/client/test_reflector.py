"""List and watch against a scripted server: nothing missed, nothing twice."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp import web

from oarlock.cluster.client.cache import Cache
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.informers import Informers
from oarlock.cluster.client.reflector import Reflector


def pod(name: str, revision: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "d", "uid": name, "resourceVersion": str(revision)}}


def line(change: str, obj: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": change, "object": obj}) + b"\n"


class Script:
    """Answers lists and watches in turn; remembers from which revision each watch began that didn't ask for a state.

    A state is a list's too: at the head of a watch, if the server `streams`.
    """

    def __init__(self, lists: list[Any], watches: list[list[bytes]], *, streams: bool) -> None:
        self.lists, self.watches, self.asked = lists, watches, []  # type: ignore[var-annotated]
        self.streams = streams
        self.waiting = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        state = "sendInitialEvents" in request.query
        if state and not self.streams:
            status = {"kind": "Status", "code": 422, "reason": "Invalid", "message": "sendInitialEvents is forbidden"}
            return web.json_response(status, status=422)
        if "watch" not in request.query:
            revision, items = self.lists.pop(0)
            body = {
                "kind": "PodList",
                "apiVersion": "v1",
                "metadata": {"resourceVersion": str(revision)},
                "items": items,
            }
            return web.json_response(body)
        answer = web.StreamResponse()
        await answer.prepare(request)
        if state:
            revision, items = self.lists.pop(0)
            for item in items:
                await answer.write(line("ADDED", {"kind": "Pod", "apiVersion": "v1", **item}))
            end = {"resourceVersion": str(revision), "annotations": {"k8s.io/initial-events-end": "true"}}
            await answer.write(line("BOOKMARK", {"metadata": end}))
        else:
            self.asked.append(int(request.query["resourceVersion"]))
        if not self.watches:
            self.waiting.set()
            await asyncio.Event().wait()
        for one in self.watches.pop(0):
            await answer.write(one)
        return answer


async def play(serve: Any, script: Script) -> tuple[Cache, list[Any]]:
    cache = Cache("pods")
    seen: list[Any] = []
    cache.add_handler(lambda change, old, new: seen.append((change, (new or old or {})["metadata"]["resourceVersion"])))
    async with serve(script) as settings, ApiClient(settings) as client:
        running = asyncio.ensure_future(Reflector(client, "/api/v1/pods", cache).run())
        await asyncio.wait_for(script.waiting.wait(), 20)
        running.cancel()
        await asyncio.wait((running,))
    return cache, seen


both_ways = pytest.mark.parametrize("streams", [True, False])


@both_ways
def test_a_watch_goes_on_where_the_last_one_ended(serve: Any, streams: bool) -> None:
    async def scenario() -> None:
        first = [line("ADDED", pod("a", 11)), line("BOOKMARK", {"metadata": {"resourceVersion": "20"}})]
        second = [line("MODIFIED", pod("a", 21))]
        script = Script([(10, [])], [first, second], streams=streams)
        cache, seen = await play(serve, script)
        assert script.asked == ([20, 21] if streams else [10, 20, 21])
        assert seen == [("ADDED", "11"), ("MODIFIED", "21")]
        assert cache.revision == 21

    asyncio.run(scenario())


@both_ways
def test_an_expired_revision_brings_the_state_anew_and_only_differences_are_told(serve: Any, streams: bool) -> None:
    async def scenario() -> None:
        gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
        script = Script(
            [(10, [pod("a", 5), pod("b", 6)]), (30, [pod("b", 6), pod("c", 29)])],
            [[line("ERROR", gone)]],
            streams=streams,
        )
        cache, seen = await play(serve, script)
        assert script.asked == ([] if streams else [10, 30])
        assert seen == [("ADDED", "5"), ("ADDED", "6"), ("DELETED", "5"), ("ADDED", "29")]
        assert cache.get("d/c") is not None
        assert cache.get("d/c")["kind"] == "Pod"  # type: ignore[index]

    asyncio.run(scenario())


@both_ways
def test_someone_waiting_for_a_quiet_kind_gets_the_state(serve: Any, streams: bool) -> None:
    async def scenario() -> None:
        script = Script([(10, []), (50, [])], [], streams=streams)
        cache = Cache("pods")
        async with serve(script) as settings, ApiClient(settings) as client:
            running = asyncio.ensure_future(Reflector(client, "/api/v1/pods", cache).run())
            await cache.synced.wait()
            await asyncio.wait_for(cache.wait_revision(45), 20)
            assert cache.revision == 50
            running.cancel()
            await asyncio.wait((running,))

    asyncio.run(scenario())


def test_events_that_come_together_are_all_taken_in_their_order(serve: Any) -> None:
    """A reader that lets them gather says so, and has what it drops cut before it is decoded."""

    async def scenario() -> None:
        asked: list[str] = []
        managed = {**pod("a", 12), "kind": "Pod"}
        managed["metadata"] = {"managedFields": [{"manager": "m"}], **managed["metadata"], "name": "a"}
        together = line("ADDED", pod("a", 11)) + line("MODIFIED", managed) + line("DELETED", pod("a", 13))
        script = Script([(10, [])], [[together, line("ADDED", pod("b", 14))]], streams=True)

        async def handler(request: web.Request) -> web.StreamResponse:
            asked.append(request.headers.get("Oarlock-Gather", ""))
            return await script(request)

        seen: list[Any] = []
        async with serve(handler) as settings, ApiClient(settings) as client:
            informers = Informers(client, gather_ms=5)
            cache = informers.cache("", "v1", "pods")
            cache.add_handler(
                lambda change, _, new: seen.append((change, "managedFields" in (new or pod("", 0))["metadata"]))
            )
            informers.start()
            await asyncio.wait_for(script.waiting.wait(), 20)
            await informers.stop()
        assert set(asked) == {"5"}
        assert seen == [("ADDED", False), ("MODIFIED", False), ("DELETED", False), ("ADDED", False)]
        assert [one["metadata"]["name"] for one in cache] == ["b"]

    asyncio.run(scenario())


def test_who_wants_events_sooner_opens_the_watch_anew(serve: Any) -> None:
    """With the first event that comes: a quiet kind has none to come late."""

    async def scenario() -> None:
        asked: list[tuple[str, str]] = []
        again = asyncio.Event()

        async def handler(request: web.Request) -> web.StreamResponse:
            asked.append((request.headers["Oarlock-Gather"], request.query.get("resourceVersion", "")))
            answer = web.StreamResponse()
            await answer.prepare(request)
            if len(asked) > 1:
                again.set()
            else:
                end = {"resourceVersion": "10", "annotations": {"k8s.io/initial-events-end": "true"}}
                await answer.write(line("BOOKMARK", {"metadata": end}))
                await answer.write(line("ADDED", pod("a", 11)))
            await asyncio.Event().wait()
            return answer

        async with serve(handler) as settings, ApiClient(settings) as client:
            informers = Informers(client, gather_ms=50)

            def lower(*_: object) -> None:
                informers.gather_ms = 5

            informers.cache("", "v1", "pods").add_handler(lower)
            informers.start()
            await asyncio.wait_for(again.wait(), 20)
            await informers.stop()
        assert asked == [("50", ""), ("5", "11")]

    asyncio.run(scenario())


def test_a_state_that_breaks_off_counts_for_nothing(serve: Any) -> None:
    """Its end is missing: what came of it may be anything."""

    async def scenario() -> None:
        breaks = asyncio.Event()

        async def handler(request: web.Request) -> web.StreamResponse:
            answer = web.StreamResponse()
            await answer.prepare(request)
            await answer.write(line("ADDED", pod("a", 5)))
            if not breaks.is_set():
                breaks.set()
                return answer
            await answer.write(line("ADDED", pod("b", 6)))
            await answer.write(line("DELETED", pod("a", 7)))
            end = {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}
            await answer.write(line("BOOKMARK", {"metadata": end}))
            await asyncio.Event().wait()
            return answer

        cache, seen = Cache("pods"), []
        cache.add_handler(lambda change, _, new: seen.append((change, (new or {})["metadata"]["name"])))
        async with serve(handler) as settings, ApiClient(settings) as client:
            running = asyncio.ensure_future(Reflector(client, "/api/v1/pods", cache).run())
            await asyncio.wait_for(cache.wait_revision(7), 20)
            assert seen == [("ADDED", "b")]
            running.cancel()
            await asyncio.wait((running,))

    asyncio.run(scenario())


def test_a_fault_in_reading_an_object_is_told_and_tried_again(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An index that fails for one object once: the cache must not stay as it was for ever."""
    script = Script([(5, [pod("a", 5)]), (9, [pod("a", 5), pod("b", 9)])], [[line("ADDED", pod("b", 9))]], streams=True)
    faults = ["b"]

    def by_name(obj: dict[str, Any]) -> list[str]:
        name = obj["metadata"]["name"]
        if name in faults:
            faults.remove(name)
            raise KeyError("spec")
        return [name]

    async def scenario() -> None:
        cache = Cache("pods")
        cache.add_index("name", by_name)
        async with serve(script) as settings, ApiClient(settings) as client:
            running = asyncio.ensure_future(Reflector(client, "/api/v1/pods", cache).run())
            await asyncio.wait_for(script.waiting.wait(), 20)
            running.cancel()
            await asyncio.wait((running,))
        assert [one["metadata"]["resourceVersion"] for one in cache.by_index("name", "b")] == ["9"]

    asyncio.run(scenario())
    assert "watch faulty path=/api/v1/pods" in caplog.text


def test_a_server_that_ends_each_watch_at_once_is_asked_less_and_less_often(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []
    sleep = asyncio.sleep

    async def note(delay_s: float) -> None:
        if delay_s:
            paused.append(delay_s)
        await sleep(0)

    async def scenario() -> None:
        script = Script([(10, [])], [[], [], []], streams=False)
        monkeypatch.setattr("oarlock.cluster.client.reflector.asyncio.sleep", note)
        _, seen = await play(serve, script)
        assert script.asked == [10, 10, 10, 10], "nothing is missed for that"
        assert seen == []

    asyncio.run(scenario())
    assert len(paused) == 3
    assert paused[2] > paused[0]
