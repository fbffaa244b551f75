"""What a caller may do: members of system:masters everything, whoever is known what upstream's default roles let them.

Those are system:discovery (what there is to ask for) and system:basic-user (who am I, may I). Source:
plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go.
"""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver.authentication import AUTHENTICATED, MASTERS, User
from oarlock.cluster.apiserver.health import SERVING
from oarlock.cluster.apiserver.requests import RequestInfo

_OPEN_PATHS = frozenset({"/version", "/version/", "/healthz", "/livez", "/readyz", SERVING})
_OPEN_PREFIXES = ("/healthz/", "/livez/", "/readyz/")
_DISCOVERY = frozenset({"/api", "/apis", "/openapi"})
_DISCOVERY_PREFIXES = ("/api/", "/apis/", "/openapi/")
_ABOUT_ONESELF = frozenset(
    {
        ("authentication.k8s.io", "selfsubjectreviews"),
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
    }
)


def is_open(path: str) -> bool:
    """Tell whether `path` is answered to anybody: upstream's health and version paths, and one of ours.

    Source: upstream's system:public-info-viewer and health roles.
    """
    return path in _OPEN_PATHS or path.startswith(_OPEN_PREFIXES)


def allowed(user: User | None, info: RequestInfo) -> bool:
    """Tell whether `user` may make the request."""
    if is_open(info.path):
        return True
    return user is not None and (MASTERS in user.groups or (AUTHENTICATED in user.groups and _is_for_all_known(info)))


def _is_for_all_known(info: RequestInfo) -> bool:
    if info.is_resource:
        return info.verb == "create" and not info.subresource and (info.group, info.resource) in _ABOUT_ONESELF
    return info.verb == "get" and (info.path in _DISCOVERY or info.path.startswith(_DISCOVERY_PREFIXES))


def rules(user: User) -> dict[str, Any]:
    """Return what `user` may do as a SubjectRulesReviewStatus tells it."""
    resource_rules: list[dict[str, Any]] = []
    path_rules: list[dict[str, Any]] = []
    if MASTERS in user.groups:
        resource_rules.append({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
        path_rules.append({"verbs": ["*"], "nonResourceURLs": ["*"]})
    elif AUTHENTICATED in user.groups:
        for group, resource in sorted(_ABOUT_ONESELF):
            resource_rules.append({"verbs": ["create"], "apiGroups": [group], "resources": [resource]})
        below = (f"{prefix}*" for prefix in (*_OPEN_PREFIXES, *_DISCOVERY_PREFIXES))
        urls = [*_OPEN_PATHS, *_DISCOVERY, *below]
        path_rules.append({"verbs": ["get"], "nonResourceURLs": sorted(urls)})
    return {"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": False}


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
