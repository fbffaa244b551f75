"""A conversion webhook on this machine, which does what a test wants, and the kind that it converts.

A Plug's v1 has `spec.address` ("host:port"), its v2 `spec.host` and `spec.port`.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from harness.authority import Authority

Obj = dict[str, Any]
Answering = Callable[[Obj], Awaitable[web.StreamResponse]]
GROUP = "example.com"


def version(name: str, *, storage: bool = False, **more: Any) -> Obj:
    """A version of the kind."""
    text, number = {"type": "string"}, {"type": "integer"}
    by_version = {"v1": {"address": text, "note": text}, "v2": {"host": text, "port": number, "note": text}}
    spec = {"type": "object", "properties": {**by_version.get(name, by_version["v2"]), "replicas": number}}
    status = {"type": "object", "properties": {"replicas": number}}
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        **more,
    }


def definition(conversion: Obj | None, *versions: Obj) -> Obj:
    """A definition of two versions, stored in v1 unless other versions are given."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"plugs.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": "plugs", "singular": "plug", "kind": "Plug"},
            "versions": list(versions) or [version("v1", storage=True), version("v2")],
            **({"conversion": conversion} if conversion else {}),
        },
    }


def plug(name: str, number: str = "v1", labels: dict[str, str] | None = None, **spec: Any) -> Obj:
    """An object of the kind."""
    wanted = spec or ({"address": "a:1"} if number == "v1" else {"host": "a", "port": 1})
    metadata: Obj = {"name": name, **({"labels": labels} if labels else {})}
    return {"apiVersion": f"{GROUP}/{number}", "kind": "Plug", "metadata": metadata, "spec": wanted}


def converted(obj: Obj, desired: str) -> Obj:
    """An object in the other version, as an honest webhook converts it."""
    spec = dict(obj.get("spec") or {})
    if desired.endswith("/v1"):
        host, port = spec.pop("host", None), spec.pop("port", None)
        if host is not None:
            spec["address"] = f"{host}:{port}"
    elif "address" in spec:
        host, _, port = spec.pop("address").rpartition(":")
        spec |= {"host": host, "port": int(port)}
    return {**obj, "apiVersion": desired, **({"spec": spec} if spec or "spec" in obj else {})}


def response(review: Obj, objects: list[Any], **changes: Any) -> Obj:
    """A review's answer with these objects."""
    body = {"uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": objects, **changes}
    return {"kind": review["kind"], "apiVersion": review["apiVersion"], "response": body}


def honest(review: Obj) -> Obj:
    """The answer of a webhook that does its work."""
    asked = review["request"]
    return response(review, [converted(one, asked["desiredAPIVersion"]) for one in asked["objects"]])


async def _honestly(review: Obj) -> web.StreamResponse:
    return web.json_response(honest(review))


@dataclass
class Webhook:
    """What was asked, and how to reach it. `answering` may be replaced at any time."""

    port: int
    ca: bytes
    answering: Answering = _honestly
    reviews: list[Obj] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def objects(self) -> int:
        """How many objects have come to be converted."""
        return sum(len(one["request"]["objects"]) for one in self.reviews)

    def conversion(self, *understood: str, ca: bytes | None = None, **place: Any) -> Obj:
        """The conversion that a definition names, by URL unless a service is given."""
        where = {"service": None, "url": None, **(place or {"url": f"https://127.0.0.1:{self.port}/convert"})}
        bundle = base64.b64encode(self.ca if ca is None else ca).decode()
        reviews = list(understood) or ["v1"]
        webhook = {"clientConfig": {**where, "caBundle": bundle}, "conversionReviewVersions": reviews}
        return {"strategy": "Webhook", "webhook": webhook}

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        review = orjson.loads(await request.read())
        self.reviews.append(review)
        self.hosts.append(request.headers["Host"])
        self.came.set()
        return await self.answering(review)


@asynccontextmanager
async def serving(authority: Authority, *hosts: str, secure: bool = True) -> AsyncIterator[Webhook]:
    """Serve a webhook whose certificate is for `hosts`, this machine's loopback address by default."""
    tls = authority.issue("webhook", file=f"webhook-{'-'.join(hosts) or 'local'}", hosts=hosts or ("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    webhook = Webhook(0, authority.pem)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/{path:.*}", webhook._handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context if secure else None)
    await site.start()
    assert site._server is not None
    webhook.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield webhook
    finally:
        await runner.cleanup()
