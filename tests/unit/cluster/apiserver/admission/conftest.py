"""Writes as plugins are told of them, over a view of given objects, without a server."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from oarlock.cluster.apiserver.admission.attributes import CREATE, UPDATE, Attributes, shown_name
from oarlock.cluster.apiserver.admission.view import View, resource
from oarlock.cluster.apiserver.authentication import User
from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import codec
from oarlock.cluster.objects.status import ApiError
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.model import Put, Transaction

Obj = dict[str, Any]
USER = User("somebody", ("system:authenticated",))


class World:
    """Others' objects, and what a plugin makes of a write beside them."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._others: list[Obj] = []

    def add(self, *objects: Obj) -> None:
        """Have objects in the store and in the cache."""
        self._others += objects

    def admit(
        self, step: Any, plural: str, obj: Obj, old: Obj | None = None, group: str = "", **told: Any
    ) -> tuple[Obj, str]:
        """Return the object as the step leaves it, and the message with which it refuses it, or ""."""
        new = copy.deepcopy(obj)
        attributes = Attributes(
            CREATE if old is None else UPDATE,
            resource(group, plural),
            "",
            new["metadata"].get("namespace", "default"),
            shown_name(new),
            USER,
            False,
            self.warnings.extend,
            new,
            old,
        )
        attributes = replace(attributes, **told)
        return new, asyncio.run(self._run(step, attributes))

    async def _run(self, step: Any, attributes: Attributes) -> str:
        store = MemoryStore()
        for one in self._others:
            key = _key(one)
            await store.transact(Transaction((), (Put(key, codec.encode(one)),), ()))
        cache = WatchCache(store)
        await cache.start()
        try:
            waiting: Awaitable[None] | None = step(attributes, View(Storage(store, cache)))
            if waiting is not None:
                await waiting
        except ApiError as error:
            return error.message
        finally:
            await cache.stop()
            await store.close()
        return ""


def _key(obj: Obj) -> bytes:
    from oarlock.cluster.objects import resources

    group, _, version = obj["apiVersion"].rpartition("/")
    found = resources.by_kind(group, version, obj["kind"])
    assert found is not None
    return found.key(obj["metadata"].get("namespace", "default"), obj["metadata"]["name"])


@pytest.fixture
def world() -> World:
    return World()


def made(kind: str, name: str, version: str = "v1", **parts: Any) -> Obj:
    """Return an object; `metadata` among its parts is added to its name."""
    metadata = {"name": name, **parts.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **parts}


def pod(*containers: Obj, metadata: Obj | None = None, **spec: Any) -> Obj:
    """Return a Pod of `containers`, or of one that says nothing."""
    given = [{"name": "c", "image": "x", **one} for one in containers or ({},)]
    return made("Pod", "p", metadata=metadata or {}, spec={"containers": given, **spec})


@pytest.fixture
def objects() -> Any:
    """Return the makers of objects."""

    class Objects:
        made = staticmethod(made)
        pod = staticmethod(pod)

    return Objects
