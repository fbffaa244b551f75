"""Answers are indented for people and compressed for those who take it."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import aiohttp
import orjson
import pytest

from oarlock.cluster.apiserver import wireform
from oarlock.cluster.apiserver.exchange import Parts, Query, Request, Response

MAPS = "/api/v1/namespaces/default/configmaps"


def _finished(answer: Response, query: str = "", method: str = "GET", **headers: str) -> Response:
    async def nothing() -> bytes:
        return b""

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(wireform.finished(Request(method, "/", Query(query), named, nothing), answer))


PARTS = [b'{"a":"', b"x" * wireform.GZIP_BYTES_MIN, b'"}']
BIG = Parts(sum(map(len, PARTS)), lambda: iter(PARTS))


def test_large_bodies_are_compressed_for_who_takes_it() -> None:
    answer = _finished(Response(200, BIG), Accept_Encoding="deflate, gzip")
    assert answer.headers == {"Vary": "Accept-Encoding", "Content-Encoding": "gzip"}
    assert gzip.decompress(bytes(answer.body)) == b"".join(PARTS)
    assert len(answer.body) < wireform.GZIP_BYTES_MIN / 10


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0.5", "gzipped"])
def test_nobody_gets_it_who_did_not_ask(accepted: str) -> None:
    answer = _finished(Response(200, BIG), Accept_Encoding=accepted)
    assert answer.body is BIG
    assert "Content-Encoding" not in answer.headers


def test_small_bodies_failures_and_writes_stay_as_they_are() -> None:
    for answer, method in (
        (Response(200, b"{}"), "GET"),
        (Response(500, BIG), "GET"),
        (Response(200, BIG), "PUT"),
    ):
        assert "Content-Encoding" not in _finished(answer, method=method, Accept_Encoding="gzip").headers


@pytest.mark.parametrize(
    ("query", "agent", "pretty"),
    [
        ("", "kubectl/v1.36", False),
        ("", "curl/8.0", True),
        ("pretty=false", "curl/8.0", False),
        ("pretty=1", "", True),
        ("pretty", "", True),
    ],
)
def test_people_get_indented_json(query: str, agent: str, pretty: bool) -> None:
    answer = _finished(Response(200, b'{"a":{"b":1}}'), query, User_Agent=agent)
    assert answer.body == (b'{\n  "a": {\n    "b": 1\n  }\n}\n' if pretty else b'{"a":{"b":1}}')


def test_a_large_list_arrives_whole_and_compressed(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        for number in range(3):
            await api.made(MAPS, objects.configmap(f"c{number}", a="x" * 100_000))
        headers = {"Accept-Encoding": "gzip"}
        url = f"{api.server.url}{MAPS}"
        async with aiohttp.ClientSession(auto_decompress=False) as session, session.get(url, headers=headers) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            found = orjson.loads(gzip.decompress(await answer.read()))
        assert [one["metadata"]["name"] for one in found["items"]] == ["c0", "c1", "c2"]

    with_api(scenario)
