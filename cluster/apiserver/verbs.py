"""Which handler serves a verb of a resource or subresource, and how its outcome is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from oarlock.cluster.apiserver import clock, deleting, rendering
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.components import COMPONENT, Components
from oarlock.cluster.apiserver.deleting import Deleter
from oarlock.cluster.apiserver.exchange import Answer, Response
from oarlock.cluster.apiserver.listing import Reader
from oarlock.cluster.apiserver.negotiation import negotiate
from oarlock.cluster.apiserver.rendering import TableOptions
from oarlock.cluster.apiserver.reviews import Reviews
from oarlock.cluster.apiserver.serviceaccounts import ServiceAccounts
from oarlock.cluster.apiserver.subresources import binding, eviction, scale
from oarlock.cluster.apiserver.subresources.connecting import Connecting
from oarlock.cluster.apiserver.subresources.logs import Logs
from oarlock.cluster.apiserver.subresources.proxying import Proxying
from oarlock.cluster.apiserver.watching import Watching
from oarlock.cluster.apiserver.writing import Writer, Written
from oarlock.cluster.objects import status

#: Subresources that are a part of the object itself: read whole, written in part.
_PARTS = frozenset({"status", "finalize", "approval", "ephemeralcontainers", "resize"})

#: Verbs of one object; the others are of a collection.
_NAMED = frozenset({"get", "update", "patch", "delete"})

#: Verbs of the methods by which a stream is asked for: GET for WebSocket, POST for SPDY.
_CONNECTS = ("get", "create")

Serve = Callable[[Call], Awaitable[Answer]]


class Verbs:
    """Serves calls. Raises ApiError and StoreError."""

    def __init__(
        self,
        reader: Reader,
        watching: Watching,
        writer: Writer,
        deleter: Deleter,
        logs: Logs,
        connecting: Connecting,
        proxying: Proxying,
        reviews: Reviews,
        accounts: ServiceAccounts,
        components: Components,
        now: clock.Clock,
    ) -> None:
        self._components = components
        self._reviews = reviews
        self._accounts = accounts
        self._reader = reader
        self._watching = watching
        self._writer = writer
        self._deleter = deleter
        self._logs = logs
        self._connecting = connecting
        self._proxying = proxying
        self._now = now
        self._whole: dict[str, Serve] = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }
        self._special: dict[tuple[str, str], Serve] = {
            ("scale", "get"): self._get_scale,
            ("scale", "update"): self._update_scale,
            ("scale", "patch"): self._patch_scale,
            ("binding", "create"): self._bind,
            ("eviction", "create"): self._evict,
            ("log", "get"): self._log,
            **{("exec", verb): self._exec for verb in _CONNECTS},
            **{("attach", verb): self._attach for verb in _CONNECTS},
            **{("portforward", verb): self._port_forward for verb in _CONNECTS},
            ("token", "create"): self._token,
        }

    async def serve(self, call: Call) -> Answer:
        """Serve one call, or refuse what the resource does not have: 404 for paths, 405 for verbs."""
        info, resource = call.info, call.resource
        if info.subresource:
            return await self._subresource(call)
        if info.verb not in resource.verbs or info.verb not in self._whole:
            raise status.method_not_allowed()
        if resource.namespaced and not info.namespace and info.verb not in ("list", "watch"):
            raise status.method_not_allowed() if not info.name else status.path_not_found()
        if info.verb != "watch" and bool(info.name) != (info.verb in _NAMED):
            raise status.method_not_allowed()
        return await self._whole[info.verb](call)

    async def _subresource(self, call: Call) -> Answer:
        info = call.info
        known = call.resource.subresources.get(info.subresource)
        if known is None:
            raise status.path_not_found()
        if info.subresource == "proxy":
            return await self._proxying.serve(call)
        special = self._special.get((info.subresource, info.verb))
        if special is not None:
            return await special(call)
        if info.subresource in _PARTS and info.verb in known.verbs | {"get"}:
            return await self._whole[info.verb](call)
        raise status.method_not_allowed() if info.verb not in known.verbs else status.path_not_found()

    def _options(self, call: Call) -> TableOptions:
        include = call.request.query.get("includeObject")
        if include not in ("", "None", "Metadata", "Object"):
            raise status.bad_request(f"Invalid value: \"{include}\": must be 'Metadata', 'Object', 'None', or empty")
        return TableOptions(include, self._now)

    def _object(self, call: Call, written: Written, code: int = 200) -> Response:
        representation = negotiate(call.accept)
        return rendering.entry(call.resource, written.entry, representation, self._options(call), code)

    def _document(self, call: Call, body: dict[str, Any], code: int = 200) -> Response:
        return rendering.document(body, negotiate(call.accept, transforms=False), code)

    def _scale(self, call: Call, shown: dict[str, Any]) -> Response:
        return rendering.made(scale.RESOURCE, shown, negotiate(call.accept), self._options(call))

    async def _get(self, call: Call) -> Answer:
        representation = negotiate(call.accept)
        entry = await self._source(call).get(call)
        return rendering.entry(call.resource, entry, representation, self._options(call))

    async def _list(self, call: Call) -> Answer:
        representation = negotiate(call.accept, is_list=True)
        options = self._options(call)
        return rendering.page(call.resource, await self._source(call).page(call), representation, options)

    def _source(self, call: Call) -> Reader | Components:
        """Return who knows the resource's objects."""
        is_component = (call.resource.group, call.resource.kind) == COMPONENT
        return self._components if is_component else self._reader

    async def _watch(self, call: Call) -> Answer:
        return await self._watching.watch(call, self._options(call))

    async def _create(self, call: Call) -> Answer:
        negotiate(call.accept)
        if call.resource.kind == "Binding":
            return await self._bind(call)
        if call.resource.custom is not None and call.resource.custom.terminating:
            text = "create not allowed while custom resource definition is terminating"
            raise status.ApiError(
                405, "MethodNotAllowed", text, {"group": call.resource.group, "kind": call.resource.plural}
            )
        if (call.resource.group, call.resource.kind) in self._reviews.KINDS:
            return self._document(call, await self._reviews.create(call), 201)
        return self._object(call, await self._writer.create(call), 201)

    async def _update(self, call: Call) -> Answer:
        negotiate(call.accept)
        written = await self._writer.update(call)
        return self._object(call, written, 201 if written.created else 200)

    async def _patch(self, call: Call) -> Answer:
        negotiate(call.accept)
        written = await self._writer.patch(call)
        return self._object(call, written, 201 if written.created else 200)

    async def _delete(self, call: Call) -> Answer:
        negotiate(call.accept)
        deleted = await self._deleter.delete(call)
        if deleted.gone and not deleting.returns_object(call.resource):
            return self._document(call, deleting.success(call.resource, deleted.entry))
        return rendering.entry(call.resource, deleted.entry, negotiate(call.accept), self._options(call))

    async def _delete_collection(self, call: Call) -> Answer:
        page = await self._deleter.delete_collection(call)
        return rendering.page(call.resource, page, negotiate(call.accept, is_list=True), self._options(call))

    async def _get_scale(self, call: Call) -> Answer:
        return self._scale(call, scale.shown(call, await self._reader.get(call)))

    async def _update_scale(self, call: Call) -> Answer:
        return self._scale(call, await scale.update(call, self._writer))

    async def _patch_scale(self, call: Call) -> Answer:
        return self._scale(call, await scale.patch(call, self._writer))

    async def _bind(self, call: Call) -> Answer:
        return self._document(call, await binding.bind(call, self._writer, self._now), 201)

    async def _evict(self, call: Call) -> Answer:
        made = await eviction.evict(call, self._reader, self._writer, self._deleter, self._now)
        return self._document(call, made, 201)

    async def _token(self, call: Call) -> Answer:
        return self._document(call, await self._accounts.request(call), 201)

    async def _log(self, call: Call) -> Answer:
        pod = (await self._reader.get(call)).object()
        return await self._logs.read(call, pod)

    async def _exec(self, call: Call) -> Answer:
        return await self._connecting.exec(call, (await self._reader.get(call)).object())

    async def _attach(self, call: Call) -> Answer:
        return await self._connecting.attach(call, (await self._reader.get(call)).object())

    async def _port_forward(self, call: Call) -> Answer:
        return await self._connecting.port_forward(call, (await self._reader.get(call)).object())
