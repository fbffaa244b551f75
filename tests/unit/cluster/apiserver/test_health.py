"""Checks that stand under several names."""

from __future__ import annotations

import asyncio
import logging

import pytest

from oarlock.cluster.apiserver.exchange import Query, Request, Response
from oarlock.cluster.apiserver.health import Health


async def no_body() -> bytes:
    return b""


async def ask(health: Health, path: str, query: str = "") -> Response:
    found = await health.serve(Request("GET", path, Query(query), {}, no_body))
    assert found is not None
    return found


def test_a_check_is_asked_and_told_of_once_whatever_its_names(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []

    async def start() -> str:
        asked.append("start")
        return "not finished"

    async def fine() -> str:
        asked.append("fine")
        return ""

    async def scenario() -> None:
        health = Health({"readyz": {"ping": fine, "one": start, "two": start, "log": fine}})
        with caplog.at_level(logging.INFO):
            answer = await ask(health, "/readyz")
        assert answer.status == 500
        assert answer.body == (
            b"[+]ping ok\n[-]one failed: reason withheld\n[-]two failed: reason withheld\n[+]log ok\n"
            b"readyz check failed\n"
        )
        assert asked == ["fine", "start"]
        assert [record.getMessage() for record in caplog.records] == [
            "health check failed kind=readyz check=one: not finished"
        ]
        assert (await ask(health, "/readyz", "exclude=one")).status == 500
        excluded = await ask(health, "/readyz", "exclude=one&exclude=two&verbose")
        assert (excluded.status, excluded.body) == (
            200,
            b"[+]ping ok\n[+]one excluded: ok\n[+]two excluded: ok\n[+]log ok\nreadyz check passed\n",
        )
        assert (await ask(health, "/readyz/two")).status == 500
        slis = (await health.slis()).body
        assert b'kubernetes_healthcheck{name="two",type="readyz"} 0' in slis
        assert b'kubernetes_healthchecks_total{name="two",status="error",type="readyz"} 4' in slis

    asyncio.run(scenario())
