"""What is answered to requests that are wrong, unknown or unauthenticated; documents and health."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from harness.apiserver import RunningApiServer, start_api_server

from oarlock.cluster.apiserver.authentication import TokenFileError, load_tokens
from oarlock.cluster.apiserver.exchange import Query
from oarlock.cluster.apiserver.requests import parse
from oarlock.cluster.objects import resources
from oarlock.cluster.objects.status import ApiError

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason"),
    [
        ("GET", "/api/v1/namespaces/default/nopes", None, 404, "NotFound"),
        ("GET", "/apis/apps/v9/deployments", None, 404, "NotFound"),
        ("GET", "/apis/apps/v9", None, 404, "NotFound"),
        ("GET", f"{MAPS}/nope", None, 404, "NotFound"),
        ("POST", f"{MAPS}/nope", b"{}", 405, "MethodNotAllowed"),
        ("PUT", MAPS, b"{}", 405, "MethodNotAllowed"),
        ("POST", "/api/v1/configmaps", b"{}", 405, "MethodNotAllowed"),
        ("POST", MAPS, b"{", 400, "BadRequest"),
        ("POST", MAPS, b"\xff\xfe", 400, "BadRequest"),
        ("POST", MAPS, b"[" * 100_000, 400, "BadRequest"),
        ("POST", MAPS, b'{"kind":"Secret","apiVersion":"v1"}', 400, "BadRequest"),
        ("POST", MAPS, b'{"kind":"ConfigMap","apiVersion":"v1","data":7}', 400, "BadRequest"),
        ("PATCH", f"{MAPS}/nope", b"{}", 415, "UnsupportedMediaType"),
        ("GET", f"{MAPS}?limit=x", None, 400, "BadRequest"),
        ("GET", f"{MAPS}?continue=%00", None, 400, "BadRequest"),
        ("GET", f"{MAPS}?watch=1&resourceVersion=x", None, 400, "BadRequest"),
        ("DELETE", f"{MAPS}/nope?propagationPolicy=Nope", None, 422, "Invalid"),
        ("POST", f"{MAPS}?dryRun=nope", b"{}", 422, "Invalid"),
    ],
)
def test_errors_are_status_objects(
    with_api: Any, method: str, path: str, body: bytes | None, code: int, reason: str
) -> None:
    async def scenario(api: Any) -> None:
        got, answer = await api(method, path, body)
        assert (got, answer["kind"], answer["reason"], answer["code"]) == (code, "Status", reason, code)

    with_api(scenario)


def test_large_bodies_and_unknown_formats(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        code, answer = await api("POST", MAPS, b"x" * (3 * 1024 * 1024 + 1))
        assert (code, answer["reason"]) == (413, "RequestEntityTooLarge")
        code, answer = await api("POST", MAPS, b"<a/>", "text/xml")
        assert (code, answer["reason"]) == (415, "UnsupportedMediaType")
        code, answer = await api("GET", MAPS, Accept="text/html")
        assert (code, answer["reason"]) == (406, "NotAcceptable")
        code, text = await api("GET", MAPS, Accept="application/yaml")
        assert (code, text.startswith("apiVersion: v1")) == (200, True)
        assert await api("GET", "/nope") == (404, "404 page not found\n")

    with_api(scenario)


def test_unparsable_http_is_refused_without_echo(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\x00\r\n\r\n")
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
        assert b"s3cret" not in answer
        assert b"aiohttp" not in answer
        assert b'"kind":"Status"' in answer

    with_api(scenario)


@pytest.mark.parametrize("headers", ["", "Connection: keep-alive\r\n", "Oarlock-Gather: 5\r\n"])
def test_an_http_1_0_client_watches_without_chunks(with_api: Any, objects: Any, headers: str) -> None:
    """Proxies speak it to what is behind them unless they are told otherwise."""

    async def scenario(api: Any) -> None:
        await api("POST", MAPS, objects.configmap("first"))
        reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
        writer.write(f"GET {MAPS}?watch=1&timeoutSeconds=1 HTTP/1.0\r\n{headers}\r\n".encode())
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.0 200 OK\r\n")
            assert b"chunked" not in head
            assert b"aiohttp" not in head
            assert b"keep-alive" not in head
            events = [json.loads(await reader.readline())]
            for name in ("second", "third"):
                await api("POST", MAPS, objects.configmap(name))
                events.append(json.loads(await reader.readline()))
            rest = await reader.read()
        writer.close()
        assert [event["object"]["metadata"]["name"] for event in events] == ["first", "second", "third"]
        assert rest == b"", "the time is over, and the connection with it"

    with_api(scenario)


def test_discovery_and_version(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        assert (await api("GET", "/version"))[1]["gitVersion"].startswith("v1.36.")
        assert (await api("GET", "/api"))[1]["versions"] == ["v1"]
        assert "apps" in {group["name"] for group in (await api("GET", "/apis"))[1]["groups"]}
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
        _, found = await api("GET", "/apis", Accept=accept)
        assert found["kind"] == "APIGroupDiscoveryList"
        code, _ = await api("GET", "/apis", Accept=accept, If_None_Match=api.headers["ETag"])
        assert code == 304
        _, paths = await api("GET", "/")
        assert "/apis/apps/v1" in paths["paths"]
        code, document = await api("GET", "/openapi/v3/apis/apps/v1")
        assert (code, document["openapi"]) == (200, "3.0.0")

    with_api(scenario)


def test_health_and_metrics(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        assert await api("GET", "/readyz") == (200, "ok")
        _, text = await api("GET", "/readyz?verbose")
        assert "[+]informer-sync ok" in text
        assert text.endswith("readyz check passed\n")
        assert await api("GET", "/readyz/shutdown") == (200, "ok")
        assert (await api("GET", "/healthz/nope"))[0] == 404
        _, metrics = await api("GET", "/metrics")
        assert "apiserver_request_total{" in metrics
        await api.store.close()
        code, text = await api("GET", "/readyz?verbose")
        assert code == 500
        assert "[-]poststarthook/storage-readiness failed" in text
        code, answer = await api("GET", MAPS)
        assert (code, answer["reason"]) == (503, "ServiceUnavailable")

    with_api(scenario)


def series(text: str, name: str, *labels: str) -> float:
    """Return the sum of a metric's series that have all the labels; fails if there is none."""
    lines = [
        line for line in text.splitlines() if line.startswith(name + "{") and all(label in line for label in labels)
    ]
    assert lines, (name, labels)
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_metrics_tell_of_requests_sizes_watches_and_objects(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        async def page() -> str:
            return str((await api("GET", "/metrics"))[1])

        leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
        of_leases = ('resource="leases"', 'group="coordination.k8s.io"')
        async with api.watch(f"{leases}?watch=1") as event:
            await api.made(leases, {"metadata": {"name": "one"}})
            await event()
        assert (await api("GET", leases))[0] == 200
        classes = "/apis/node.k8s.io/v1/runtimeclasses"
        await api.made(classes, {"metadata": {"name": "one"}, "handler": "one"})
        assert (await api("GET", classes))[0] == 200
        text = await page()
        assert series(text, "apiserver_request_total", *of_leases, 'verb="CREATE"', 'code="201"') >= 1
        assert series(text, "apiserver_request_duration_seconds_count", *of_leases, 'verb="LIST"') >= 1
        assert series(text, "apiserver_response_sizes_sum", *of_leases, 'verb="LIST"') > 100
        assert series(text, "apiserver_watch_events_total", *of_leases) >= 1
        assert series(text, "apiserver_storage_objects", 'resource="runtimeclasses.node.k8s.io"') == 1
        assert series(text, "kubernetes_build_info", 'minor="36"') == 1

    with_api(scenario)


def test_clients_do_not_choose_how_many_series_there_are(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        for number in range(3):
            await api(f"BREW{number}", "/")
            await api(f"BREW{number}", MAPS)
            await api("GET", f"{MAPS}/x/sub{number}")
            await api("GET", f"/apis/nobody{number}.example.com/v1/things")
        _, text = await api("GET", "/metrics")
        assert "BREW" not in text
        assert "sub0" not in text
        assert "nobody0" not in text

    with_api(scenario)


def test_metrics_in_the_format_asked_for(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await api("GET", "/metrics")
        assert api.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        _, text = await api("GET", "/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert api.headers["Content-Type"].startswith("application/openmetrics-text")
        assert text.endswith("# EOF\n")

    with_api(scenario)


def test_reviews(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await api.made("/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
        assert answer["status"]["userInfo"]["username"] == "system:admin"

    with_api(scenario)


def ask(api: RunningApiServer, path: str, tls: Any = None, token: str = "") -> tuple[int, Any]:
    context = ssl.create_default_context(cafile=api.admin.ca_file)
    if tls is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    request = urllib.request.Request(api.url + path, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_certificates_and_tokens_decide_who_may(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('t0ken,alice,1,"system:masters,others"\nweak,bob,2\n')

    async def scenario() -> None:
        async with start_api_server(tmp_path, token_file=str(tokens)) as api:
            answers = {
                name: await asyncio.to_thread(ask, api, MAPS, tls, token)
                for name, tls, token in (
                    ("admin", api.admin, ""),
                    ("stranger", api.stranger, ""),
                    ("nobody", None, ""),
                    ("alice", None, "t0ken"),
                    ("bob", None, "weak"),
                    ("wrong", None, "wrong"),
                )
            }
            assert (await asyncio.to_thread(ask, api, "/version"))[0] == 200
        codes = {name: code for name, (code, _) in answers.items()}
        assert codes == {"admin": 200, "stranger": 403, "nobody": 401, "alice": 200, "bob": 403, "wrong": 401}
        refusal = 'User "bob" cannot list resource "configmaps" in API group "" in the namespace "default"'
        assert answers["bob"][1]["message"] == f"configmaps is forbidden: {refusal}"

    asyncio.run(scenario())


def test_token_files_say_where_they_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text("only,two\n")
    with pytest.raises(TokenFileError, match=r"tokens\.csv:1"):
        load_tokens(str(path))


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/api/v1/pods", ("list", "", "v1", "", "pods", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/b/log", ("get", "", "v1", "a", "pods", "b", "log")),
        ("GET", "/api/v1/namespaces/a", ("get", "", "v1", "a", "namespaces", "a", "")),
        ("PUT", "/api/v1/namespaces/a/finalize", ("update", "", "v1", "a", "namespaces", "a", "finalize")),
        (
            "DELETE",
            "/apis/apps/v1/namespaces/a/deployments",
            ("deletecollection", "apps", "v1", "a", "deployments", "", ""),
        ),
        ("GET", "/api/v1/watch/pods", ("watch", "", "v1", "", "pods", "", "")),
        ("GET", "/apis/apps/v1/deployments?watch=true", ("watch", "apps", "v1", "", "deployments", "", "")),
    ],
)
def test_paths_resolve_as_upstream_resolves_them(method: str, target: str, expected: tuple[str, ...]) -> None:
    path, _, query = target.partition("?")
    info = parse(method, path, Query(query))
    found = (info.verb, info.group, info.version, info.namespace, info.resource, info.name, info.subresource)
    assert found == expected


def test_status_objects_survive_the_round_trip() -> None:
    error = ApiError(409, "Conflict", "no", {"name": "x"})
    assert ApiError.from_status(error.status()).status() == error.status()


SUBRESOURCES = [
    (resource, subresource) for resource in resources.RESOURCES for subresource in resource.subresources.values()
]
METHODS = {"get": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}


def test_every_subresource_has_the_verbs_that_discovery_lists(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        walked = 0
        for resource, subresource in SUBRESOURCES:
            path = resource.path("default" if resource.namespaced else "", "missing", subresource.name)
            for verb, method in METHODS.items():
                body = b"{}" if method in ("POST", "PUT", "PATCH") else None
                code, answer = await api(method, path, body, "application/merge-patch+json")
                if verb in subresource.verbs:
                    assert code != 405, (method, path)
                    assert answer["message"] != "the server could not find the requested resource", (method, path)
                    walked += 1
                elif verb != "get" or subresource.verbs:
                    assert code in (404, 405), (method, path, answer)
        assert walked > 90

    with_api(scenario)


def test_reads_and_writes_are_limited_apart(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        assert (await api("GET", MAPS))[0] == 200
        code, answer = await api("POST", MAPS, {"metadata": {"name": "x"}})
        assert (code, answer["reason"], api.headers["Retry-After"]) == (429, "TooManyRequests", "1")
        async with api.watch(f"{MAPS}?watch=1"):
            assert (await api("GET", MAPS))[0] == 200, "a watch is not counted"

    with_api(scenario, reads_inflight_max=1, writes_inflight_max=0)


def test_a_body_that_trickles_is_not_waited_for(with_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oarlock.cluster.apiserver.http.BODY_TIMEOUT_S", 0.2)

    async def scenario(api: Any) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
        head = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n"
        writer.write(head.encode() + b'{"metadata"')
        async with asyncio.timeout(10):
            answer = (await reader.readuntil(b"}")).decode()
        assert answer.startswith("HTTP/1.1 504 ")
        assert '"kind":"Status"' in answer
        writer.close()

    with_api(scenario)
