"""Discovery, OpenAPI and version: what clients read to find out what is here."""

from __future__ import annotations

import asyncio
import hashlib
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial

import orjson

from oarlock.cluster.apiserver.exchange import JSON, TEXT, Request, Response
from oarlock.cluster.apiserver.extensions import Extensions, unavailable
from oarlock.cluster.apiserver.negotiation import clauses
from oarlock.cluster.apiserver.served import Served
from oarlock.cluster.objects import discovery, openapi, status
from oarlock.cluster.objects.resources import Resource

VERSION = "v1.36.2"
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_OPENAPI_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_OPENAPI_V2_TYPES = {
    JSON: JSON,
    "application/*": JSON,
    "*/*": JSON,
    _OPENAPI_V2_PROTOBUF: _OPENAPI_V2_PROTOBUF,
    openapi.V2_PROTOBUF: _OPENAPI_V2_PROTOBUF,
}
_KEPT_FOR = timedelta(days=365)
_OPENAPI_V3_TYPES = {JSON: JSON, "application/*": JSON, "*/*": JSON}
_GO_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_PATHS = (
    "/.well-known/openid-configuration",
    "/api",
    "/apis",
    "/apis/",
    "/flagz",
    "/metrics",
    "/metrics/slis",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/",
    "/openid/v1/jwks",
    "/statusz",
    "/version",
)


#: Documents of built-in groups alone, which never change while the server runs.
_FIXED = frozenset(
    f"/apis/{group}/{one}" if group else f"/api/{one}"
    for group, versions in discovery.group_versions().items()
    for one in versions
)


class Documents:
    """Serves documents that change with the definitions of custom resources only, each encoded once, with an ETag.

    `paths` are those that others answer and the index of all paths names too.
    """

    def __init__(self, server_address: str, served: Served, extensions: Extensions, paths: Iterable[str] = ()) -> None:
        self._server_address = server_address
        self._served = served
        self._extensions = extensions
        self._other_paths = frozenset(paths)
        self._stamp = (served.stamp(), extensions.stamp())
        self._made: dict[str, tuple[bytes, str]] = {}
        self._hashes: dict[str, str] = {}

    async def serve(self, request: Request) -> Response | None:
        """Answer a document's path; None for any other path. Raises ApiError 404."""
        self._forget_outdated()
        path = request.path.rstrip("/") or "/"
        if path == "/version":
            return Response(200, orjson.dumps(version(), option=orjson.OPT_INDENT_2))
        if path == "/":
            return Response(200, orjson.dumps({"paths": self._paths()}, option=orjson.OPT_INDENT_2))
        if path.startswith("/openapi/"):
            return await self._openapi(path, request)
        parts = path.strip("/").split("/")
        if parts[0] == "api" and len(parts) <= 2:
            return self._core(parts, request)
        if parts[0] == "apis" and len(parts) <= 3:
            return self._groups(parts, request)
        return None

    def _forget_outdated(self) -> None:
        """Documents of a group and version stay until another hash is asked for, or the group is gone."""
        stamp = (self._served.stamp(), self._extensions.stamp())
        if stamp == self._stamp:
            return
        self._stamp = stamp
        self._hashes.clear()
        kept = _FIXED.union(self._group_version_paths())
        for name in [name for name in self._made if name not in kept]:
            del self._made[name]

    @property
    def _resources_served(self) -> tuple[Resource, ...]:
        return self._served.everything()

    def _core(self, parts: list[str], request: Request) -> Response | None:
        if len(parts) == 2:
            return self._resources("", parts[1], request)
        if _wants_aggregated(request):
            return self._aggregated(request, core=True)
        return self._document("/api", request, lambda: orjson.dumps(discovery.legacy_versions(self._server_address)))

    def _groups(self, parts: list[str], request: Request) -> Response | None:
        if len(parts) == 3:
            return self._resources(parts[1], parts[2], request)
        if len(parts) == 2:
            found = discovery.legacy_group(parts[1], self._resources_served, self._extensions.groups())
            return None if found is None else Response(200, orjson.dumps(found))
        if _wants_aggregated(request):
            return self._aggregated(request, core=False)
        return self._document("/apis", request, self._group_list)

    def _group_list(self) -> bytes:
        return orjson.dumps(discovery.legacy_groups(self._resources_served, self._extensions.groups()))

    def _resources(self, group: str, version_name: str, request: Request) -> Response:
        resources = self._resources_served
        if discovery.legacy_resources(group, version_name, resources) is None:
            if self._extensions.holds(group, version_name):
                return unavailable()
            raise status.path_not_found()
        return self._document(
            f"{group}/{version_name}",
            request,
            lambda: orjson.dumps(discovery.legacy_resources(group, version_name, resources)),
        )

    def _aggregated(self, request: Request, *, core: bool) -> Response:
        resources = self._resources_served
        answer = self._document(
            f"aggregated {core}",
            request,
            lambda: orjson.dumps(
                discovery.aggregated(core=core, resources=resources, extensions=self._extensions.groups())
            ),
            _AGGREGATED,
        )
        answer.headers["Cache-Control"] = "public"
        return answer

    async def _openapi(self, path: str, request: Request) -> Response | None:
        resources = self._resources_served
        if path == "/openapi/v2":
            media_type = _negotiated(request, _OPENAPI_V2_TYPES)
            if media_type == _OPENAPI_V2_PROTOBUF:
                protobuf = partial(openapi.v2_protobuf, resources)
                await self._make("openapi v2 protobuf", protobuf)
                return self._document("openapi v2 protobuf", request, protobuf, _OPENAPI_V2_PROTOBUF)
            if media_type is None:
                return _not_acceptable()
            await self._make("openapi v2", partial(openapi.v2, resources))
            return self._document("openapi v2", request, partial(openapi.v2, resources))
        if path == "/openapi/v3":
            return self._document("openapi v3", request, lambda: orjson.dumps(openapi.v3_index(resources)))
        served = path.removeprefix("/openapi/v3")
        if served not in self._group_version_paths():
            return None
        if _negotiated(request, _OPENAPI_V3_TYPES) is None:
            return _not_acceptable()
        return await self._group_version(served, request)

    async def _make(self, name: str, make: Callable[[], bytes], etag: str = "") -> None:
        """Make a large document beside the loop, where it would stall everybody for up to 0.1 s."""
        made = self._made.get(name)
        if made is None or (etag and made[1] != etag):
            body = await asyncio.get_running_loop().run_in_executor(None, make)
            self._made[name] = (body, etag or _etag(body))

    async def _group_version(self, served: str, request: Request) -> Response:
        """The v3 document of a group and version. A URL with an old hash leads to the one with today's."""
        group_version = served.split("/", 2)[2]
        resources = self._resources_served
        current = self._hashes.get(group_version)
        if current is None:
            current = self._hashes[group_version] = openapi.v3_hash(group_version, resources)
        asked = request.query.get("hash")
        if asked and asked != current:
            return Response(301, b"", TEXT, {"Location": f"/openapi/v3{served}?hash={current}", "Vary": "Accept"})
        make = partial(_v3, group_version, resources)
        await self._make(served, make, f'"{current}"')
        answer = self._document(served, request, make)
        if asked:
            expires = datetime.now(UTC) + _KEPT_FOR
            answer.headers["Cache-Control"] = "public, immutable"
            answer.headers["Expires"] = format_datetime(expires, usegmt=True)
        return answer

    def _document(
        self,
        name: str,
        request: Request,
        make: Callable[[], bytes],
        content_type: str = JSON,
    ) -> Response:
        made = self._made.get(name)
        if made is None:
            body = make()
            made = self._made[name] = (body, _etag(body))
        body, etag = made
        headers = {"ETag": etag, "Vary": "Accept"}
        if request.headers.get("If-None-Match") == etag:
            return Response(304, b"", content_type, headers)
        return Response(200, body, content_type, headers)

    def _group_version_paths(self) -> list[str]:
        return [
            f"/apis/{group}/{one}" if group else f"/api/{one}"
            for group, versions in discovery.group_versions(self._resources_served).items()
            for one in versions
        ]

    def _paths(self) -> list[str]:
        groups = [f"/apis/{group}" for group in discovery.group_versions(self._resources_served) if group]
        others = [
            f"/apis/{group}{rest}"
            for group, extension in self._extensions.groups().items()
            for rest in ("", *(f"/{version}" for version in extension.versions))
        ]
        return sorted({*_PATHS, *self._other_paths, *groups, *self._group_version_paths(), *others})


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha512(body).hexdigest().upper()}"'


def _v3(group_version: str, resources: tuple[Resource, ...]) -> bytes:
    return orjson.dumps(openapi.v3(group_version, resources))


def _negotiated(request: Request, types: Mapping[str, str]) -> str | None:
    """The first wanted media type that there is, or None."""
    wanted = clauses(request.headers.get("Accept") or "*/*")
    return next((types[clause.media_type] for clause in wanted if clause.media_type in types), None)


def _not_acceptable() -> Response:
    """The OpenAPI handlers' refusal has no words. Source: kube-openapi pkg/handler and handler3."""
    return Response(406, b"", TEXT, {"Vary": "Accept"})


def _wants_aggregated(request: Request) -> bool:
    """Whether aggregated discovery's only served form (v2) comes before plain JSON in the Accept header."""
    for clause in clauses(request.headers.get("Accept", "")):
        asked = (clause.get("g"), clause.get("v"), clause.get("as"))
        if asked == ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList"):
            return True
        if clause.media_type in ("application/json", "*/*") and not any(asked):
            return False
    return False


def version() -> dict[str, str]:
    """Return the body of /version."""
    major, minor, _ = VERSION.removeprefix("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": f"{VERSION}+oarlock",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": sys.implementation.name,
        "platform": f"linux/{_GO_MACHINES.get(platform.machine(), platform.machine())}",
    }
