"""What a URL asks for, as kube-apiserver's RequestInfo resolves it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from oarlock.cluster.apiserver.exchange import Query

_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_LONG_RUNNING = frozenset({"log", "exec", "attach", "portforward", "proxy"})
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """A request's target. For paths that are no resource only `verb` (the method in lower case) and `path` count.

    `namespace` of a namespace object is its own name.
    """

    verb: str
    path: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def is_long_running(self) -> bool:
        """Tell whether the request may take as long as its client likes."""
        return self.verb == "watch" or self.subresource in _LONG_RUNNING


def parse(method: str, path: str, query: Query) -> RequestInfo:
    """Resolve a percent-encoded `path`. Never fails: what is no resource path comes back as a plain path.

    Source: apiserver pkg/endpoints/request/requestinfo.go.
    """
    parts = path.strip("/").split("/")
    if "%" in path:
        parts = [unquote(part) for part in parts]
    if parts[0] == "api" and len(parts) > 2:
        group, version, parts = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        return RequestInfo(method.lower(), unquote(path))
    verb = _VERBS.get(method, "")
    if parts[0] == "watch" and len(parts) > 1:
        verb, parts = "watch", parts[1:]
    elif parts[0] == "proxy" and len(parts) > 1:
        return RequestInfo(method.lower(), unquote(path))
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in _NAMESPACE_SUBRESOURCES:
            parts = parts[2:]
    name = parts[1] if len(parts) > 1 else ""
    if not name and verb == "get":
        verb = "watch" if query.flag("watch") else "list"
    elif not name and verb == "delete":
        verb = "deletecollection"
    return RequestInfo(
        verb=verb,
        path=unquote(path),
        is_resource=True,
        group=group,
        version=version,
        namespace=namespace,
        resource=parts[0],
        name=name,
        subresource=parts[2] if len(parts) > 2 else "",
    )
