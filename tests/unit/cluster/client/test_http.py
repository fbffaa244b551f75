"""The client against a scripted server: what it sends, what it raises, what it repeats."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from aiohttp import web

from oarlock.cluster.client import ClientSettings, Unreachable
from oarlock.cluster.client.http import JSON_PATCH, ApiClient
from oarlock.cluster.objects.status import ApiError, conflict


def run(serve: Any, handler: Any, use: Any, **changes: Any) -> Any:
    async def scenario() -> Any:
        async with serve(handler) as settings, ApiClient(dataclasses.replace(settings, **changes)) as client:
            return await use(client)

    return asyncio.run(scenario())


def test_verbs_and_their_bodies(serve: Any) -> None:
    seen: list[tuple[str, str, str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, request.content_type, await request.text()))
        return web.json_response({"ok": True})

    async def use(client: ApiClient) -> None:
        await client.get("/a", {"x": "1"})
        await client.create("/a", {"n": 1})
        await client.update("/a/b", {"n": 2})
        await client.patch("/a/b", [{"op": "remove"}], JSON_PATCH)
        await client.delete("/a/b", {"gracePeriodSeconds": 0})

    run(serve, handler, use)
    assert seen == [
        ("GET", "/a?x=1", "application/octet-stream", ""),
        ("POST", "/a", "application/json", '{"n":1}'),
        ("PUT", "/a/b", "application/json", '{"n":2}'),
        ("PATCH", "/a/b", "application/json-patch+json", '[{"op":"remove"}]'),
        ("DELETE", "/a/b", "application/json", '{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0}'),
    ]


def test_a_status_answer_is_raised_whole(serve: Any) -> None:
    async def handler(_: web.Request) -> web.Response:
        error = conflict("pods", "p")
        return web.json_response(error.status(), status=409)

    async def use(client: ApiClient) -> None:
        with pytest.raises(ApiError) as caught:
            await client.update("/p", {})
        assert (caught.value.code, caught.value.reason) == (409, "Conflict")
        assert 'pods "p"' in caught.value.message

    run(serve, handler, use)


def test_an_answer_that_is_no_status_still_has_its_code(serve: Any) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=502, text="bad gateway")

    async def use(client: ApiClient) -> None:
        with pytest.raises(ApiError, match="bad gateway") as caught:
            await client.get("/p")
        assert caught.value.code == 502

    run(serve, handler, use)


def test_the_fence_goes_with_writes_only(serve: Any) -> None:
    seen: list[tuple[str, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.headers.get("Oarlock-Fence")))
        return web.json_response({})

    async def use(client: ApiClient) -> None:
        await client.get("/a")
        await client.create("/a", {})

    run(serve, handler, use, fence=lambda: "scheduler=7")
    assert seen == [("GET", None), ("POST", "scheduler=7")]


def test_without_a_term_a_fenced_client_writes_nothing(serve: Any) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.method)
        return web.json_response({})

    async def use(client: ApiClient) -> None:
        await client.get("/a")
        for write in (client.create, client.update, client.patch, client.delete):
            with pytest.raises(ApiError, match="no lease is held") as caught:
                await write("/a", {})
            assert (caught.value.code, caught.value.reason) == (409, "Conflict")

    run(serve, handler, use, fence=lambda: None)
    assert seen == ["GET"]


def test_a_dropped_read_is_repeated_and_a_dropped_write_is_not(serve: Any) -> None:
    calls: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        calls.append(request.method)
        if len(calls) != 3:
            assert request.transport is not None
            request.transport.close()
        return web.json_response({"ok": True})

    async def use(client: ApiClient) -> None:
        with pytest.raises(Unreachable) as caught:
            await client.create("/a", {})
        assert caught.value.sent
        assert await client.get("/a") == {"ok": True}

    run(serve, handler, use)
    assert calls[0] == "POST"
    assert calls.count("POST") == 1


def test_too_many_requests_are_tried_again_when_told(serve: Any) -> None:
    calls: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        calls.append(request.method)
        if len(calls) == 1:
            return web.json_response({"message": "busy", "code": 429}, status=429, headers={"Retry-After": "0"})
        return web.json_response({"ok": True})

    async def use(client: ApiClient) -> None:
        assert await client.create("/a", {}) == {"ok": True}

    run(serve, handler, use)
    assert calls == ["POST", "POST"]


def test_no_server_is_unreachable_and_nothing_was_sent() -> None:
    async def scenario() -> None:
        async with ApiClient(ClientSettings("unix:/nonexistent/api.sock")) as client:
            with pytest.raises(Unreachable) as caught:
                await client.create("/a", {})
            assert not caught.value.sent

    asyncio.run(scenario())


def test_a_paged_list_is_put_together(serve: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        token = request.query.get("continue", "")
        metadata = {"resourceVersion": "9", **({} if token == "b" else {"continue": "b" if token == "a" else "a"})}
        return web.json_response({"metadata": metadata, "items": [{"n": token}]})

    async def use(client: ApiClient) -> None:
        found = await client.list("/a", {"limit": "1"})
        assert [item["n"] for item in found["items"]] == ["", "a", "b"]

    run(serve, handler, use)


def test_pages_of_large_items_are_short(serve: Any) -> None:
    asked: list[int] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(int(request.query["limit"]))
        large = len(asked) > 2
        item = {"metadata": {"name": "x" * (200_000 if large else 1_000)}}
        metadata = {"resourceVersion": "9", **({"continue": "more"} if len(asked) < 5 else {})}
        return web.json_response({"metadata": metadata, "items": [item] * (1 if large else asked[-1])})

    async def scenario() -> None:
        async with serve(answer) as settings, ApiClient(settings) as client:
            found = await client.list("/a", {"limit": "500"})
            assert len(found["items"]) == asked[0] + asked[1] + 3

    asyncio.run(scenario())
    assert asked[0] < asked[1] <= 500
    assert asked[1] * 1_000 > 100_000, "small items come many at a time"
    assert asked[3] * 200_000 < 1_000_000, "large ones don't"


def test_a_watch_yields_events_across_chunks_and_raises_errors(serve: Any) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b'{"type":"ADDED","obj')
        await answer.write(b'ect":{"n":1}}\n{"type":"MODIFIED","object":{"n":2}}\n')
        await answer.write(b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n')
        return answer

    async def use(client: ApiClient) -> None:
        seen = []

        async def follow() -> None:
            async for event in client.watch("/a"):
                seen.append((event["type"], event["object"]["n"]))  # noqa: PERF401 - kept although it ends in an error

        with pytest.raises(ApiError) as caught:
            await follow()
        assert seen == [("ADDED", 1), ("MODIFIED", 2)]
        assert caught.value.code == 410

    run(serve, handler, use)
