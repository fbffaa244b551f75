"""Leader leases over HTTP: acquire, renew, release, watch. See ARCHITECTURE "Leases, fencing, shards".

A lease is a store key on a store lease; its epoch is the key's create revision, which renewals never change.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Any, NamedTuple

import orjson

from oarlock.cluster.apiserver.exchange import Answer, Query, Request, Response, Stream, Wire
from oarlock.cluster.apiserver.storage import LEASES
from oarlock.cluster.objects import status
from oarlock.consensus.model import (
    Compare,
    KeyValue,
    LeaseNotFound,
    Put,
    Range,
    RangeResult,
    Store,
    StoreError,
    Transaction,
)

PREFIX = "/oarlock/v1/leases"
TTL_MIN_MS = 100
TTL_MAX_MS = 3_600_000
ABANDONED_SHARE = 0.15
"""How much of the time to live a holder whose connection broke has to attach again before its lease is ended."""
ATTACHMENTS = b"/oarlock/attachments/"
"""Below this each lease has a key that its holder's last attachment wrote, through whichever server."""
_RESOURCE = "leases.oarlock"

_log = logging.getLogger(__name__)


class Attachment(NamedTuple):
    """A holder's own watch of its lease; the revision at which it began tells whether there has been a later one."""

    lease: KeyValue
    revision: int


class Leases:
    """Answers `/oarlock/v1/leases…`. Raises ApiError and StoreError.

    A watch that names the holder's `identity` and `epoch` is the holder's own: the end of its process ends its
    connection, and with that, unless it attaches again, here or elsewhere, the lease long before its time to live.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._streams: set[asyncio.Task[Any]] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._stopping = False

    def stop(self) -> None:
        """End every open lease watch, and each that is opened from now on at its beginning."""
        self._stopping = True
        for task in (*self._streams, *self._endings):
            task.cancel()

    async def handle(self, request: Request) -> Answer:
        """Serve one request below the prefix."""
        name, _, action = request.path.removeprefix(PREFIX).strip("/").partition("/")
        if request.method == "GET" and not action:
            if not name:
                return await self._list()
            if request.query.flag("watch"):
                return self._watch(name, await self._own(name, request.query))
            return _answer(name, await self._get(name))
        if request.method == "POST" and name:
            body = await _body(request)
            if action == "acquire":
                return _answer(name, await self._acquire(name, body))
            if action == "renew":
                return _answer(name, await self._renew(name, body))
            if action == "release":
                return await self._release(name, body)
        raise (
            status.path_not_found()
            if action not in ("", "acquire", "renew", "release")
            else status.method_not_allowed()
        )

    async def _list(self) -> Response:
        found = await self._store.range(Range(LEASES, LEASES[:-1] + b"0"))
        items = [_shown(kv.key[len(LEASES) :].decode(), kv) for kv in found.kvs]
        return Response(200, orjson.dumps({"items": items, "revision": found.revision}))

    async def _get(self, name: str) -> KeyValue:
        found = await self._store.range(Range(LEASES + name.encode()))
        if not found.kvs:
            raise status.not_found(_RESOURCE, name)
        return found.kvs[0]

    async def _acquire(self, name: str, body: dict[str, Any]) -> KeyValue:
        identity, ttl_ms = _identity(body), body.get("ttlMillis")
        if not isinstance(ttl_ms, int) or not TTL_MIN_MS <= ttl_ms <= TTL_MAX_MS:
            raise status.bad_request(f"ttlMillis: expected a number from {TTL_MIN_MS} to {TTL_MAX_MS}")
        key = LEASES + name.encode()
        held = await self._store.range(Range(key))
        if held.kvs:
            return await self._held(name, held.kvs[0], identity)
        granted = await self._store.lease_grant(ttl_ms)
        value = orjson.dumps({"holder": identity, "ttlMillis": ttl_ms})
        compares = (Compare(key, "version", "==", 0),)
        take = Transaction(compares, (Put(key, value, granted.lease),), (Range(key),))
        try:
            taken = await self._store.transact(take)
        except LeaseNotFound:
            raise status.conflict(_RESOURCE, name, "the lease expired before it was taken") from None
        if taken.succeeded:
            return KeyValue(key, value, taken.revision, taken.revision, 1, granted.lease)
        with contextlib.suppress(StoreError):  # it expires by itself
            await self._end(granted.lease)
        found = taken.responses[0]
        assert isinstance(found, RangeResult)
        return await self._held(name, found.kvs[0], identity)

    async def _held(self, name: str, kv: KeyValue, identity: str) -> KeyValue:
        holder = _value(kv)["holder"]
        if holder != identity:
            raise status.conflict(_RESOURCE, name, f"the lease is held by {holder}")
        await self._keep(name, kv)
        return kv

    async def _renew(self, name: str, body: dict[str, Any]) -> KeyValue:
        identity, epoch = _identity(body), body.get("epoch")
        # The key is read without a round of its own: keeping the lease alive is confirmed by the leader, and a lease
        # that is alive still holds the key that was attached to it when it was granted.
        found = await self._store.range(Range(LEASES + name.encode()), serializable=True)
        if not found.kvs or found.kvs[0].create_revision != epoch:
            found = await self._store.range(Range(LEASES + name.encode()))
        if not found.kvs:
            raise status.conflict(_RESOURCE, name, "the lease has expired")
        kv = found.kvs[0]
        if kv.create_revision != epoch or _value(kv)["holder"] != identity:
            raise status.conflict(_RESOURCE, name, f"the lease is held by {_value(kv)['holder']}")
        await self._keep(name, kv)
        return kv

    async def _keep(self, name: str, kv: KeyValue) -> None:
        try:
            await self._store.lease_keep_alive(kv.lease)
        except LeaseNotFound:
            raise status.conflict(_RESOURCE, name, "the lease has expired") from None

    async def _release(self, name: str, body: dict[str, Any]) -> Response:
        epoch = body.get("epoch")
        if not isinstance(epoch, int):
            raise status.bad_request("epoch: expected a number")
        kv = await self._get(name)
        if kv.create_revision != epoch or _value(kv)["holder"] != _identity(body):
            raise status.conflict(_RESOURCE, name, f"the lease is held by {_value(kv)['holder']}")
        await self._end(kv.lease)
        return Response(200, orjson.dumps({"name": name, "holder": "", "epoch": 0}))

    async def _end(self, lease: int) -> None:
        """End a term: its keys go with the store's lease, in one step, so that nothing is left to be renewed."""
        with contextlib.suppress(LeaseNotFound):
            await self._store.lease_revoke(lease)

    async def _own(self, name: str, query: Query) -> Attachment | None:
        """Renew the lease and take note if the watch is its holder's own."""
        identity, epoch = query.get("identity"), query.get("epoch")
        if not identity:
            return None
        if not epoch.isdecimal():
            raise status.bad_request("epoch: expected a number")
        kv = await self._renew(name, {"identity": identity, "epoch": int(epoch)})
        mine = Compare(kv.key, "create", "==", kv.create_revision)
        attached = Put(ATTACHMENTS + name.encode(), identity.encode(), kv.lease)
        try:
            done = await self._store.transact(Transaction((mine,), (attached,)))
        except LeaseNotFound:
            raise status.conflict(_RESOURCE, name, "the lease has expired") from None
        if not done.succeeded:
            raise status.conflict(_RESOURCE, name, "the lease has expired")
        return Attachment(kv, done.revision)

    def _watch(self, name: str, own: Attachment | None) -> Stream:
        async def run(wire: Wire) -> None:
            if self._stopping:
                return
            task = asyncio.current_task()
            assert task is not None
            self._streams.add(task)
            try:
                await self._follow(name, wire)
            except (asyncio.CancelledError, ConnectionError):
                if own is not None and not self._stopping:
                    ending = asyncio.get_running_loop().create_task(self._end_abandoned(name, own))
                    self._endings.add(ending)
                    ending.add_done_callback(self._endings.discard)
                raise
            finally:
                self._streams.discard(task)

        return Stream(run)

    async def _end_abandoned(self, name: str, own: Attachment) -> None:
        """End the lease of a holder whose connection broke now, unless it attaches again.

        Should the holder be alive and merely late, its fence fails its writes from then on.
        """
        await asyncio.sleep(_value(own.lease)["ttlMillis"] / 1000 * ABANDONED_SHARE)
        try:
            last = await self._store.range(Range(ATTACHMENTS + name.encode()))
            if last.kvs and last.kvs[0].mod_revision == own.revision:
                await self._end(own.lease.lease)
                _log.info("lease of a holder that went away ended name=%s epoch=%d", name, own.lease.create_revision)
        except StoreError as error:
            _log.debug("lease left to its time to live name=%s error=%r", name, str(error))

    async def _follow(self, name: str, wire: Wire) -> None:
        key = LEASES + name.encode()
        present = await self._store.range(Range(key))
        wire.write(_line(name, present.kvs[0] if present.kvs else None, present.revision))
        watch = self._store.watch(key, b"", present.revision + 1)
        try:
            async for batch in watch:
                for event in deque(batch.events, maxlen=1):
                    kv = event.kv if event.kv.value else None
                    wire.write(_line(name, kv, batch.revision))
                    await wire.drain()
        except StoreError:
            return  # the client asks again
        finally:
            await watch.close()


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise status.bad_request(f"the body is no JSON: {error.msg}") from None
    if not isinstance(body, dict):
        raise status.bad_request("the body is no JSON object")
    return body


def _identity(body: dict[str, Any]) -> str:
    identity = body.get("identity")
    if not isinstance(identity, str) or not identity:
        raise status.bad_request("identity: expected a name")
    return identity


def _value(kv: KeyValue) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(kv.value)
    return value


def _shown(name: str, kv: KeyValue) -> dict[str, Any]:
    return {"name": name, **_value(kv), "epoch": kv.create_revision, "revision": kv.mod_revision}


def _answer(name: str, kv: KeyValue) -> Response:
    return Response(200, orjson.dumps(_shown(name, kv)))


def _line(name: str, kv: KeyValue | None, revision: int) -> bytes:
    if kv is None:
        return orjson.dumps({"type": "FREE", "name": name, "revision": revision}) + b"\n"
    return orjson.dumps({"type": "HELD", **_shown(name, kv)}) + b"\n"
