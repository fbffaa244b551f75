"""What the documents' paths answer to a client's cache, to what it accepts, and to questions about health."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oarlock.cluster.apiserver.exchange import Query, Request
from oarlock.cluster.apiserver.health import Health

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (_AGGREGATED.format("v2") + ",application/json", "APIGroupDiscoveryList"),
        (_AGGREGATED.format("v2beta1") + "," + _AGGREGATED.format("v2"), "APIGroupDiscoveryList"),
        (_AGGREGATED.format("v2beta1") + ",application/json", "APIGroupList"),
        (_AGGREGATED.format("v2").replace("apidiscovery", "other") + ",application/json", "APIGroupList"),
        (_AGGREGATED.format("v2") + ";q=0.5,application/json", "APIGroupList"),
    ],
)
def test_only_the_second_version_of_aggregated_discovery_is_served(with_api: Any, accept: str, kind: str) -> None:
    async def scenario(api: Any) -> None:
        assert (await api("GET", "/apis", Accept=accept))[1]["kind"] == kind

    with_api(scenario)


def test_aggregated_discovery_may_be_cached_and_is_told_unchanged(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await api("GET", "/api", Accept=_AGGREGATED.format("v2"))
        assert (api.headers["Cache-Control"], api.headers["Vary"]) == ("public", "Accept")
        etag = api.headers["ETag"]
        assert len(etag.strip('"')) == 128
        assert await api("GET", "/api", Accept=_AGGREGATED.format("v2"), If_None_Match=etag) == (304, "")
        assert (await api("GET", "/api", Accept=_AGGREGATED.format("v2"), If_None_Match='"0"'))[0] == 200

    with_api(scenario)


def test_a_group_document_is_kept_for_ever_under_its_hash_only(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        _, index = await api("GET", "/openapi/v3")
        url = index["paths"]["apis/batch/v1"]["serverRelativeURL"]
        code, document = await api("GET", url)
        assert (code, document["openapi"]) == (200, "3.0.0")
        assert api.headers["Cache-Control"] == "public, immutable"
        assert api.headers["Expires"].endswith("GMT")
        assert f'"{url.partition("hash=")[2]}"' == api.headers["ETag"]
        await api("GET", url.partition("?")[0])
        assert "immutable" not in api.headers["Cache-Control"]
        stale = api.server.url + url.partition("?")[0] + "?hash=OLD"
        async with api.session.get(stale, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (301, url)

    with_api(scenario)


def test_openapi_answers_in_a_form_that_is_accepted_or_refuses(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        assert await api("GET", "/openapi/v2", Accept="text/html") == (406, "")
        assert await api("GET", "/openapi/v3/apis/batch/v1", Accept="text/html") == (406, "")
        accept = {"Accept": f"application/json;q=0.4, {_V2_PROTOBUF}"}
        async with api.session.get(api.server.url + "/openapi/v2", headers=accept) as answer:
            assert answer.content_type == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
            assert (await answer.read())[:5] == b"\n\x032.0"

    with_api(scenario)


async def _fine() -> str:
    return ""


async def _broken() -> str:
    return "no disk"


def _asked(path: str) -> tuple[int, str]:
    path, _, query = path.partition("?")
    health = Health({"readyz": {"good": _fine, "bad": _broken}, "livez": {"good": _fine}})
    answer = asyncio.run(health.serve(Request("GET", path, Query(query), {}, lambda: asyncio.sleep(0, b""))))
    assert answer is not None
    assert isinstance(answer.body, bytes)
    return answer.status, answer.body.decode()


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("/readyz", 500, "[+]good ok\n[-]bad failed: reason withheld\nreadyz check failed\n"),
        ("/readyz?exclude=bad", 200, "ok"),
        ("/readyz?exclude=bad&verbose", 200, "[+]good ok\n[+]bad excluded: ok\nreadyz check passed\n"),
        (
            "/livez?exclude=x&verbose",
            200,
            '[+]good ok\nwarn: some health checks cannot be excluded: no matches for "x"\nlivez check passed\n',
        ),
        ("/readyz/bad", 500, "internal server error: reason withheld\n"),
        ("/readyz/good?verbose", 200, "ok"),
        ("/livez", 200, "ok"),
    ],
)
def test_health_is_told_in_upstreams_words(path: str, code: int, text: str) -> None:
    assert _asked(path) == (code, text)
