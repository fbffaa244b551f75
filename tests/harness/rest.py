"""Plain requests to an API server, as a client makes them that has no library of Kubernetes."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

Object = dict[str, Any]
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
PATIENCE_S = 100


@dataclass(frozen=True)
class Answer:
    code: int
    body: Any
    headers: dict[str, str]
    warnings: list[str]

    @property
    def reason(self) -> str:
        return str(self.body.get("reason", ""))

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class Rest:
    """A connection with the rights of a kubeconfig's user. Every answer is returned, also a refusal."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        server = urlsplit(config["clusters"][0]["cluster"]["server"])
        self._host, self._port = server.hostname or "", server.port
        self._tls = _tls(config)
        self._connection = self._connected()

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        **parameters: Any,
    ) -> Answer:
        headers, data = {"Accept": accept}, None
        if body is not None:
            headers["Content-Type"] = content_type
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self._connection.request(method, _target(path, parameters), data, headers)
        answer = self._connection.getresponse()
        raw = answer.read()
        try:
            parsed = json.loads(raw)
        except ValueError:
            parsed = raw.decode(errors="replace")
        return Answer(answer.status, parsed, dict(answer.getheaders()), answer.headers.get_all("Warning") or [])

    def get(self, path: str, **parameters: Any) -> Any:
        return self._expected("GET", path, None, {200}, **parameters)

    def create(self, path: str, body: Any, **parameters: Any) -> Any:
        return self._expected("POST", path, body, {201}, **parameters)

    def update(self, path: str, body: Any, **parameters: Any) -> Any:
        return self._expected("PUT", path, body, {200}, **parameters)

    def patch(self, path: str, body: Any, content_type: str = MERGE, **parameters: Any) -> Any:
        return self._expected("PATCH", path, body, {200, 201}, content_type=content_type, **parameters)

    def apply(self, path: str, body: Object, manager: str, **parameters: Any) -> Any:
        return self.patch(path, body, APPLY, fieldManager=manager, **parameters)

    def delete(self, path: str, body: Any = None, **parameters: Any) -> Any:
        return self._expected("DELETE", path, body, {200, 202}, **parameters)

    def changed(self, path: str, change: Callable[[Object], None], at: str = "") -> Any:
        """Read an object, change it, and update it or its subresource `at`; again for as long as others are quicker."""
        while True:
            found = self.get(path)
            change(found)
            answer = self("PUT", path + at, found)
            if answer.code != 409:
                assert answer.code == 200, answer
                return answer.body

    @contextmanager
    def watch(self, path: str, accept: str = "application/json", **parameters: Any) -> Iterator[Watch]:
        """Open a watch; its events come one after the other."""
        connection = self._connected()
        try:
            connection.request("GET", _target(path, {"watch": "true", **parameters}), None, {"Accept": accept})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            yield Watch(answer)
        finally:
            connection.close()

    def until(self, path: str, holds: Callable[[Object], object]) -> Object:
        """Return the object at `path` once it is there and `holds(object)` is true, told by a watch."""
        collection, _, name = path.rpartition("/")
        selector = f"metadata.name={name}"
        listed = self.get(collection, fieldSelector=selector)
        for found in listed["items"]:
            if holds(found):
                return dict(self.get(path))
        begin = listed["metadata"]["resourceVersion"]
        with self.watch(collection, fieldSelector=selector, resourceVersion=begin) as watch:
            return watch.until(lambda event: event["type"] != "DELETED" and holds(event["object"]))["object"]

    def until_gone(self, path: str) -> None:
        """Return once there is no object at `path`."""
        collection, _, name = path.rpartition("/")
        selector = f"metadata.name={name}"
        listed = self.get(collection, fieldSelector=selector)
        if listed["items"]:
            begin = listed["metadata"]["resourceVersion"]
            with self.watch(collection, fieldSelector=selector, resourceVersion=begin) as watch:
                watch.until(lambda event: event["type"] == "DELETED")

    def close(self) -> None:
        self._connection.close()

    def _connected(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._host, self._port, context=self._tls, timeout=PATIENCE_S)

    def _expected(self, method: str, path: str, body: Any, codes: set[int], **options: Any) -> Any:
        answer = self(method, path, body, **options)
        assert answer.code in codes, f"{method} {path}: {answer.code} {answer.body}"
        return answer.body


class Watch:
    """What a watch tells, in order. `next` fails when nothing comes for a while or the watch has ended."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer

    def next(self) -> Any:
        line = self._answer.readline()
        assert line, "the watch has ended"
        return json.loads(line)

    def until(self, holds: Callable[[Any], object]) -> Any:
        while True:
            event = self.next()
            if holds(event):
                return event

    def rest(self) -> list[Any]:
        """All that comes until the server ends the watch."""
        return [json.loads(line) for line in self._answer]


def holds(sent: Any, got: Any) -> bool:
    """Whether all that was sent is there; the server may add fields and items."""
    if isinstance(sent, dict):
        return isinstance(got, dict) and all(holds(value, got.get(key)) for key, value in sent.items())
    if isinstance(sent, list):
        return isinstance(got, list) and all(any(holds(one, other) for other in got) for one in sent)
    return bool(sent == got)


def _target(path: str, parameters: dict[str, Any]) -> str:
    return path if not parameters else f"{path}{'&' if '?' in path else '?'}{urlencode(parameters)}"


def _tls(config: Any) -> ssl.SSLContext:
    import base64
    import tempfile

    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    with tempfile.TemporaryDirectory() as folder:

        def file(of: Any, name: str) -> str:
            if name in of:
                return str(of[name])
            path = Path(folder) / name
            path.touch(mode=0o600)
            path.write_bytes(base64.b64decode(of[f"{name}-data"]))
            return str(path)

        context = ssl.create_default_context(cafile=file(cluster, "certificate-authority"))
        context.load_cert_chain(file(user, "client-certificate"), file(user, "client-key"))
    return context
