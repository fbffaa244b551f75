"""Hostile requests, written to the socket byte by byte: every answer is one that a client may get."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from oarlock.cluster.objects import resources

ANSWER_BYTES_MAX = 64 << 20
JSON_TYPES = ("application/json", "application/yaml", "text/plain", "", "application/vnd.kubernetes.protobuf")
PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
ACCEPTS = (
    "",
    "*/*",
    "application/json",
    "application/yaml;q=0.1, */*;q=x",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf",
    "text/html;;;=,,",
    "application/json;as=" + "x" * 3000,
)
CONTAINER = {"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]}
POD = {"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, **POD}},
}
SERVICE = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "targetPort": "http"}], "selector": {"a": "b"}}}
QUOTA = {"metadata": {"name": "q"}, "spec": {"hard": {"cpu": "1", "memory": "1Gi"}}}
SEEDS: tuple[dict[str, Any], ...] = (POD, DEPLOYMENT, SERVICE, QUOTA, {"metadata": {"name": "c"}, "data": {"k": "v"}})

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["", "-1", "1e999", "99999999999999999999", "\u0000", "\ud800", "a" * 300, "../..", "%00", "2026-99-99T"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PLURALS = sorted({resource.path() for resource in resources.RESOURCES})


def broken(seed: Any, where: list[int], value: Any) -> Any:
    """Return a copy of the document with the value in place of the part that the numbers lead to."""
    if not where or not isinstance(seed, dict | list) or not seed:
        return value
    keys = list(seed) if isinstance(seed, dict) else list(range(len(seed)))
    key = keys[where[0] % len(keys)]
    copy: Any = dict(seed) if isinstance(seed, dict) else list(seed)
    copy[key] = broken(seed[key], where[1:], value)
    return copy


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


DOCUMENTS = st.builds(broken, st.sampled_from(SEEDS), st.lists(st.integers(0, 9), max_size=7), VALUES)
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "nope"])},
    optional={
        "path": st.sampled_from(
            ["", "/", "/spec", "/spec/x/-", "/metadata/name", "/~2", "/spec/ports/99999999999", "x"]
        ),
        "from": st.sampled_from(["", "/spec", "/metadata", "/nowhere"]),
        "value": VALUES,
    },
)
BODIES = st.one_of(
    st.just(b""),
    st.binary(max_size=200),
    DOCUMENTS.map(encoded),
    st.lists(OPERATIONS, max_size=4).map(encoded),
    st.tuples(DOCUMENTS.map(encoded), st.integers(0, 200), st.binary(max_size=4)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
    ),
    st.integers(1, 20_000).map(lambda depth: b'{"metadata":' + b'{"a":' * depth),
    st.integers(1, 20_000).map(lambda depth: b"[" * depth + b"]" * depth),
    st.just(b'{"metadata":{"name":"x","name":"y"},"data":{"a":"1","a":"2"}}'),
    st.just(b'{"spec":{"replicas":' + b"9" * 5000 + b"}}"),
    st.just(b"a: &a [*a, *a]\nb: !!python/object/apply:os.system [x]"),
    st.just(b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b]"),
)
NAMES = (
    "",
    "/p",
    "/d",
    "/s",
    "/q",
    "/c",
    "/%2e%2e",
    "/a%00b",
    "/%ff%fe",
    "/p/status",
    "/d/scale",
    "/p/exec",
    "/p/log",
    "/p/x/y/z",
)
PATHS = st.one_of(
    st.builds(
        lambda path, name: path.replace("{namespace}", "default") + name,
        st.sampled_from(PLURALS).map(
            lambda path: path.replace("/v1/", "/v1/namespaces/default/", 1) if path.count("/") > 2 else path
        ),
        st.sampled_from(NAMES),
    ),
    st.sampled_from(
        ["/", "//", "/api", "/apis/", "/apis/apps", "/openapi/v2", "/openapi/v3/apis/apps/v1?hash=x", "/version/x"]
    ),
    st.text("abc/%.~?&=:", max_size=30).map(lambda text: "/" + text),
    st.text("/a", min_size=500, max_size=4000).map(lambda text: "/api/v1/" + text),
)
PARAMETERS = (
    *("limit", "continue", "resourceVersion", "resourceVersionMatch", "timeoutSeconds", "sendInitialEvents", "pretty"),
    *("fieldSelector", "labelSelector", "dryRun", "fieldManager", "fieldValidation", "force", "propagationPolicy"),
    *("gracePeriodSeconds", "includeObject", "x"),
)
NUMBERS = st.sampled_from(["", "0", "-1", "1", "x", "1e3", "9" * 30, "٣", "%00", "true"])
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(PARAMETERS),
        st.one_of(
            NUMBERS,
            st.sampled_from(
                [
                    "All",
                    "a=b,c!=d",
                    "a in (",
                    "!a",
                    "a==",
                    "metadata.name=p",
                    "spec.x=y",
                    "Strict",
                    "Foreground",
                    "eyJ2IjoibSJ9",
                ]
            ),
            st.text("a=,!()%ü ", max_size=12).map(lambda text: text.replace(" ", "+")),
        ),
    ),
    max_size=4,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"])


def asked(address: tuple[str, int], request: bytes, *, leaving: bool = False) -> tuple[int, str, bytes]:
    """Send a request on a connection of its own; return status, content type and body. 0 if the server hung up.

    A client that is `leaving` says that nothing more will come, whether or not the request is whole.
    """
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(request)
        if leaving:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while len(answer) < ANSWER_BYTES_MAX and (piece := connection.recv(1 << 16)):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
        return 0, "", b""
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding") == "chunked":
        return int(lines[0].split()[1]), "", body
    return int(lines[0].split()[1]), headers.get("content-type", ""), body


def request_bytes(method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = {"Host": "x", "Connection": "close", **headers}
    if body or method in ("POST", "PUT", "PATCH"):
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "surrogateescape") + body


def fuzzed(examples: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def send(
    target: Any, secret: str, method: str, path: str, query: str, body: bytes, content_type: str, accept: str
) -> None:
    headers = {"Content-Type": content_type, "Accept": accept, "Authorization": f"Bearer {secret}"}
    url = path + ("?" + query if query else "")
    code, answered, content = asked(target.address, request_bytes(method, url.replace(" ", "+"), headers, body))
    assert code, "the server hung up without an answer"
    if method != "HEAD":
        target.check(code, answered, content)


ANYTHING = given(
    method=METHODS,
    path=PATHS,
    query=QUERIES,
    body=BODIES,
    content_type=st.sampled_from([*JSON_TYPES, *PATCH_TYPES]),
    accept=st.sampled_from(ACCEPTS),
)


@fuzzed(400)
@ANYTHING
def test_any_request_is_answered(
    target: Any, secret: str, method: str, path: str, query: str, body: bytes, content_type: str, accept: str
) -> None:
    send(target, secret, method, path, query, body, content_type, accept)


@pytest.mark.thorough
@fuzzed(12_000)
@ANYTHING
def test_very_many_requests_are_answered(
    target: Any, secret: str, method: str, path: str, query: str, body: bytes, content_type: str, accept: str
) -> None:
    send(target, secret, method, path, query, body, content_type, accept)


COLLECTIONS = (
    "/api/v1/namespaces/default/pods",
    "/apis/apps/v1/namespaces/default/deployments",
    "/api/v1/namespaces/default/services",
)


@fuzzed(300)
@given(
    path=st.sampled_from(COLLECTIONS),
    patch=st.one_of(DOCUMENTS, st.lists(OPERATIONS, max_size=3), VALUES),
    kind=st.sampled_from(PATCH_TYPES),
    options=st.sampled_from(["", "?dryRun=All", "?fieldValidation=Strict", "?fieldManager=m&force=true"]),
)
@example(path=COLLECTIONS[1], patch={"$patch": "nope"}, kind=PATCH_TYPES[2], options="")
@example(
    path=COLLECTIONS[1], patch={"spec": {"template": {"spec": {"containers": [[]]}}}}, kind=PATCH_TYPES[2], options=""
)
def test_any_patch_of_what_is_there_is_answered(
    target: Any, secret: str, path: str, patch: Any, kind: str, options: str
) -> None:
    seed = {COLLECTIONS[0]: POD, COLLECTIONS[1]: DEPLOYMENT, COLLECTIONS[2]: SERVICE}[path]
    made = request_bytes("POST", path, {"Content-Type": "application/json"}, encoded(seed))
    assert asked(target.address, made)[0] in (201, 409)
    name = seed["metadata"]["name"]
    send(target, secret, "PATCH", f"{path}/{name}", options[1:], encoded(patch), kind, "")


@fuzzed(200)
@given(
    data=st.one_of(
        st.binary(max_size=300), st.text("GET /api HTP1.\r\n: xCoten-LghTasfrEdi", max_size=200).map(str.encode)
    )
)
@example(data=b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")
@example(data=b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}")
@example(data=b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{}")
@example(data=b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n")
@example(data=b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n")
def test_what_is_no_http_is_refused(target: Any, data: bytes) -> None:
    code, content_type, body = asked(target.address, data, leaving=True)
    if code:
        target.check(code, content_type, body)
    assert asked(target.address, request_bytes("GET", "/livez", {}, b""))[0] == 200
