"""What a caller may do: members of system:masters everything, everyone else the open paths."""

from __future__ import annotations

from oarlock.cluster.apiserver.authentication import MASTERS, User
from oarlock.cluster.apiserver.health import SERVING
from oarlock.cluster.apiserver.requests import RequestInfo

_OPEN_PATHS = frozenset({"/version", "/version/", "/healthz", "/livez", "/readyz", SERVING})
_OPEN_PREFIXES = ("/healthz/", "/livez/", "/readyz/")


def is_open(path: str) -> bool:
    """Tell whether `path` is answered to anybody: upstream's health and version paths, and one of ours.

    Source: upstream's system:public-info-viewer and health roles.
    """
    return path in _OPEN_PATHS or path.startswith(_OPEN_PREFIXES)


def allowed(user: User | None, info: RequestInfo) -> bool:
    """Tell whether `user` may make the request."""
    return is_open(info.path) or (user is not None and MASTERS in user.groups)


def refusal(user: User, info: RequestInfo) -> str:
    """Return upstream's words for a denied request.

    Source: apiserver pkg/endpoints/handlers/responsewriters/errors.go.
    """
    if not info.is_resource:
        return f'User "{user.name}" cannot {info.verb} path "{info.path}"'
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    text = f'User "{user.name}" cannot {info.verb} resource "{resource}" in API group "{info.group}"'
    if info.namespace:
        return f'{text} in the namespace "{info.namespace}"'
    return f"{text} at the cluster scope"
