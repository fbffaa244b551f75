"""A node agent's surroundings: an API in memory, certificates, and pods to run."""

from __future__ import annotations

import asyncio
import copy
import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from oarlock.cluster.boot.pki import Authority, CertificateFiles
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]


class FakeApi:
    """What the agent uses of ApiClient, on objects in memory: merge patches, graceful deletion of pods, watches."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.requests: list[tuple[str, str]] = []
        self.down: Exception | None = None
        self._revisions = itertools.count(1)
        self._revision = 0
        self._watches: list[tuple[str, Mapping[str, str], asyncio.Queue[Object]]] = []
        self._news = asyncio.Event()

    async def until(self, path: str, holds: Any) -> Object:
        """Return the object once `holds(object)` is true; `holds` gets None while there is none."""
        while not holds(self.objects.get(path)):
            await self._news.wait()
            self._news.clear()
        return self.objects.get(path) or {}

    def put(self, path: str, obj: Object) -> Object:
        known = self.objects.get(path)
        self._revision = next(self._revisions)
        obj["metadata"]["resourceVersion"] = str(self._revision)
        obj["metadata"].setdefault("uid", str(uuid.uuid4()))
        self.objects[path] = obj
        self._tell("MODIFIED" if known else "ADDED", path, obj)
        return copy.deepcopy(obj)

    def drop(self, path: str) -> None:
        obj = self.objects.pop(path)
        self._revision = next(self._revisions)
        obj["metadata"]["resourceVersion"] = str(self._revision)
        self._tell("DELETED", path, obj)

    async def told(self, holds: Callable[[list[tuple[str, str]]], bool]) -> None:
        """Return once `holds` of the reasons and messages of all Events: they come a little after what they tell."""
        while not holds([(o["reason"], o["message"]) for p, o in self.objects.items() if "/events/" in p]):
            await self._news.wait()
            self._news.clear()

    async def get(self, path: str, params: Any = None, **_: Any) -> Object:
        self._enter("GET", path)
        if path not in self.objects:
            raise ApiError(404, "NotFound", f"{path} not found")
        return copy.deepcopy(self.objects[path])

    async def list(self, path: str, params: Mapping[str, str] | None = None, **_: Any) -> Object:
        self._enter("LIST", path)
        items = [copy.deepcopy(o) for p, o in self.objects.items() if _within(p, path) and _selected(o, params or {})]
        return {
            "kind": "List",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": str(self._revision)},
            "items": items,
        }

    async def create(self, path: str, obj: Mapping[str, Any], params: Any = None) -> Object:
        self._enter("POST", path)
        return self.put(f"{path}/{obj['metadata']['name']}", copy.deepcopy(dict(obj)))

    async def update(self, path: str, obj: Mapping[str, Any], params: Any = None) -> Object:
        self._enter("PUT", path)
        return self.put(path, copy.deepcopy(dict(obj)))

    async def patch(self, path: str, patch: Object, content_type: str = "", params: Any = None) -> Object:
        self._enter("PATCH", path)
        path = path.removesuffix("/status")
        if path not in self.objects:
            raise ApiError(404, "NotFound", f"{path} not found")
        obj = copy.deepcopy(self.objects[path])
        _merge(obj, patch)
        return self.put(path, obj)

    async def delete(self, path: str, options: Mapping[str, Any] | None = None, params: Any = None) -> Object:
        self._enter("DELETE", path)
        obj = copy.deepcopy(self.objects[path])
        grace_s = (options or {}).get("gracePeriodSeconds", obj["spec"].get("terminationGracePeriodSeconds", 30))
        if grace_s == 0:
            self.drop(path)
            return obj
        obj["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace_s}
        return self.put(path, obj)

    async def pieces(self, path: str, params: Mapping[str, str] | None = None, **_: Any) -> AsyncIterator[list[bytes]]:
        """Yield the events of a watch, each by itself."""
        self._enter("WATCH", path)
        queue: asyncio.Queue[Object] = asyncio.Queue()
        entry = (path, dict(params or {}), queue)
        self._watches.append(entry)
        since = int((params or {}).get("resourceVersion", 0))
        for known, obj in self.objects.items():
            newer = int(obj["metadata"]["resourceVersion"]) > since
            if newer and _within(known, path) and _selected(obj, params or {}):
                queue.put_nowait({"type": "MODIFIED", "object": copy.deepcopy(obj)})
        if "sendInitialEvents" in (params or {}):
            end = {"resourceVersion": str(self._revision), "annotations": {"k8s.io/initial-events-end": "true"}}
            queue.put_nowait({"type": "BOOKMARK", "object": {"metadata": end}})
        try:
            while True:
                yield [orjson.dumps(await queue.get())]
        finally:
            self._watches.remove(entry)

    async def close(self) -> None:
        """Nothing is open."""

    def _enter(self, verb: str, path: str) -> None:
        self.requests.append((verb, path))
        if self.down is not None:
            raise self.down

    def _tell(self, change: str, path: str, obj: Object) -> None:
        self._news.set()
        for collection, params, queue in self._watches:
            if _within(path, collection) and _selected(obj, params):
                queue.put_nowait({"type": change, "object": copy.deepcopy(obj)})


def _within(path: str, collection: str) -> bool:
    kind = collection.rpartition("/")[2]
    parts = path.split("/")
    return len(parts) > 2 and parts[-2] == kind


def _selected(obj: Object, params: Mapping[str, str]) -> bool:
    _, _, node = params.get("fieldSelector", "").partition("spec.nodeName=")
    return not node or obj.get("spec", {}).get("nodeName") == node


def _merge(target: Object, patch: Object) -> None:
    for key, value in patch.items():
        if key == "conditions":
            merged = {c["type"]: c for c in target.get(key, [])} | {c["type"]: c for c in value}
            target[key] = list(merged.values())
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = copy.deepcopy(value)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    authority = Authority(tmp_path_factory.mktemp("pki"))
    return authority.issue("node", "system:node:n1", ["system:nodes"], ["127.0.0.1", "localhost"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "node"
