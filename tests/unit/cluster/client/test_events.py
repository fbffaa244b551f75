"""Events: counted instead of repeated, bounded, never in the way."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from oarlock.cluster.client.events import Recorder
from oarlock.cluster.client.http import ApiClient

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "d", "uid": "u"}}


class Seen(list[Any]):
    """What the server got; `until` waits for a number of requests."""

    def __init__(self) -> None:
        super().__init__()
        self.grew = asyncio.Event()

    def add(self, one: tuple[str, Any]) -> None:
        self.append(one)
        self.grew.set()

    async def until(self, count: int) -> None:
        while len(self) < count:
            self.grew.clear()
            await self.grew.wait()


def play(serve: Any, scenario: Any) -> list[tuple[str, Any]]:
    seen = Seen()

    async def handler(request: web.Request) -> web.Response:
        body = await request.json()
        seen.add((request.method, body))
        return web.json_response(body)

    async def run() -> None:
        async with serve(handler) as settings, ApiClient(settings) as client:
            recorder = Recorder(client, "scheduler", clock=lambda: 1_000_000.0)
            await scenario(recorder, seen)
            await recorder.stop()

    asyncio.run(asyncio.wait_for(run(), 20))
    return seen


def test_a_repeated_event_raises_the_count(serve: Any) -> None:
    async def scenario(recorder: Recorder, seen: Seen) -> None:
        recorder.start()
        for _ in range(3):
            recorder.record(POD, "Normal", "Pulled", "image is there")
        await seen.until(3)

    seen = play(serve, scenario)
    assert [method for method, _ in seen] == ["POST", "PATCH", "PATCH"]
    event = seen[0][1]
    assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "d", "uid": "u"}
    assert event["source"] == {"component": "scheduler"}
    assert event["metadata"]["name"].startswith("p.")
    assert [body["count"] for _, body in seen[1:]] == [2, 3]


def test_many_different_messages_of_one_reason_are_combined(serve: Any) -> None:
    async def scenario(recorder: Recorder, seen: Seen) -> None:
        recorder.start()
        for number in range(13):
            recorder.record(POD, "Warning", "Failed", f"try {number}")
        await seen.until(13)

    seen = play(serve, scenario)
    assert [method for method, _ in seen[:11]] == ["POST"] * 11
    assert seen[10][1]["message"] == "(combined from similar events): try 10"
    assert [method for method, _ in seen[11:]] == ["PATCH", "PATCH"]


def test_one_object_cannot_flood(serve: Any) -> None:
    async def scenario(recorder: Recorder, seen: Seen) -> None:
        for number in range(40):
            recorder.record(POD, "Normal", "Pulled", f"{number}")
        recorder.start()
        await seen.until(25)

    assert len(play(serve, scenario)) == 25
