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


def test_the_index_names_every_check_and_each_answers(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        _, index = await api("GET", "/")
        checks = [path for path in index["paths"] if path.startswith(("/healthz/", "/livez/", "/readyz/"))]
        assert {"/livez/etcd", "/readyz/informer-sync", "/healthz/poststarthook/rbac/bootstrap-roles"} <= set(checks)
        for path in checks:
            assert await api("GET", path) == (200, "ok"), path
        assert {"/statusz", "/flagz", "/metrics/slis", "/openid/v1/jwks"} <= set(index["paths"])

    with_api(scenario)


def test_checks_are_counted(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await api("GET", "/livez/ping")
        _, text = await api("GET", "/metrics/slis")
        assert 'kubernetes_healthcheck{name="ping",type="livez"} 1' in text
        assert 'kubernetes_healthchecks_total{name="ping",status="success",type="livez"} 2' in text
        await api.store.close()
        _, text = await api("GET", "/metrics/slis")
        assert 'kubernetes_healthcheck{name="etcd",type="livez"} 0' in text
        assert 'kubernetes_healthchecks_total{name="etcd",status="error",type="livez"} 1' in text

    with_api(scenario)


def test_pages_for_people(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        code, text = await api("GET", "/statusz", Accept="text/plain")
        assert (code, "Binary version: 1.36" in text) == (200, True)
        code, text = await api("GET", "/flagz", Accept="*/*")
        assert (code, "service-node-port-range=30000-32767\n" in text) == (200, True)
        assert (await api("GET", "/flagz", Accept="application/json"))[0] == 406

    with_api(scenario)


def _api_service(version: str, group: str, rank: int) -> dict[str, Any]:
    spec = {
        "group": group,
        "version": version,
        "groupPriorityMinimum": rank,
        "versionPriority": 15,
        "insecureSkipTLSVerify": True,
        "service": {"name": "s", "namespace": "none"},
    }
    head = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
    return {**head, "metadata": {"name": f"{version}.{group}"}, "spec": spec}


def test_groups_that_others_serve_are_told_of(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        before = [one["name"] for one in (await api("GET", "/apis"))[1]["groups"]]
        services = "/apis/apiregistration.k8s.io/v1/apiservices"
        await api.made(services, _api_service("v1", "low.example.com", 100))
        await api.made(services, _api_service("v2", "high.example.com", 18500))
        after = [one["name"] for one in (await api("GET", "/apis"))[1]["groups"]]
        assert after == [before[0], "high.example.com", *before[1:], "low.example.com"]
        _, index = await api("GET", "/")
        assert {"/apis/low.example.com", "/apis/low.example.com/v1"} <= set(index["paths"])
        _, aggregated = await api("GET", "/apis", Accept=_AGGREGATED.format("v2"))
        stale = {"metadata": {"name": "low.example.com"}, "versions": [{"version": "v1", "freshness": "Stale"}]}
        assert aggregated["items"][-1] == stale
        assert (await api("GET", "/apis/low.example.com"))[1]["preferredVersion"]["version"] == "v1"
        for path in ("/apis/low.example.com/v1", "/apis/low.example.com/v1/namespaces/default/things"):
            assert await api("GET", path) == (503, "service unavailable\n")
        assert (await api("GET", "/apis/low.example.com/v2/things"))[0] == 404
        await api("DELETE", f"{services}/v1.low.example.com")
        assert (await api("GET", "/apis/low.example.com"))[0] == 404

    with_api(scenario)
