"""Where every process' metrics are: registered under a store lease, listed for Prometheus (http_sd)."""

from __future__ import annotations

from typing import Any

import orjson

from oarlock.cluster.apiserver.exchange import Request, Response
from oarlock.cluster.objects import status
from oarlock.consensus.model import LeaseNotFound, Put, Range, Store, Transaction

PREFIX = "/oarlock/v1/targets"
TARGETS = b"/oarlock/targets/"
TTL_DEFAULT_MS = 60_000


class Targets:
    """Answers `/oarlock/v1/targets…`. Raises ApiError and StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def handle(self, request: Request) -> Response:
        """Serve one request below the prefix."""
        name = request.path.removeprefix(PREFIX).strip("/")
        if request.method == "GET" and not name:
            return await self._list()
        if request.method == "PUT" and name and "/" not in name:
            return await self._register(name, await request.read())
        raise status.method_not_allowed()

    async def _list(self) -> Response:
        found = await self._store.range(Range(TARGETS, TARGETS[:-1] + b"0"))
        return Response(200, orjson.dumps([_shown(orjson.loads(kv.value)) for kv in found.kvs]))

    async def _register(self, name: str, raw: bytes) -> Response:
        value, ttl_ms = _read(name, raw)
        key = TARGETS + name.encode()
        present = await self._store.range(Range(key))
        if present.kvs and present.kvs[0].value == value and present.kvs[0].lease:
            try:
                # Renewing costs no log entry; only a changed target is written anew.
                await self._store.lease_keep_alive(present.kvs[0].lease)
                return Response(200, value)
            except LeaseNotFound:
                pass
        lease = await self._store.lease_grant(ttl_ms)
        await self._store.transact(Transaction((), (Put(key, value, lease.lease),)))
        return Response(200, value)


def _read(name: str, raw: bytes) -> tuple[bytes, int]:
    try:
        body: Any = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise status.bad_request(f"the body is no JSON: {error.msg}") from None
    address = body.get("address") if isinstance(body, dict) else None
    if not isinstance(address, str) or not address:
        raise status.bad_request("address: expected host:port")
    labels = body.get("labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise status.bad_request("labels: expected a map of strings")
    ttl_ms = body.get("ttlMillis", TTL_DEFAULT_MS)
    if not isinstance(ttl_ms, int) or ttl_ms <= 0:
        raise status.bad_request("ttlMillis: expected a positive number")
    value = {"name": name, "address": address, "labels": labels, "ttlMillis": ttl_ms}
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS), ttl_ms


def _shown(value: dict[str, Any]) -> dict[str, Any]:
    labels = {"__scheme__": "https", "job": value["name"], **value["labels"]}
    return {"targets": [value["address"]], "labels": labels}
