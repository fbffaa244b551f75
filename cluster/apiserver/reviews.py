"""Kinds that are questions, answered at once and never stored: who am I, may I, whose token is this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oarlock.cluster.apiserver import authorization, bodies, clock
from oarlock.cluster.apiserver.authentication import Authenticator, User
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.options import write_options
from oarlock.cluster.apiserver.requests import RequestInfo
from oarlock.cluster.apiserver.serviceaccounts import ServiceAccounts
from oarlock.cluster.objects import review_validation, status

Obj = dict[str, Any]


class Reviews:
    """Answers the create of a review. The kinds it knows are in `KINDS`."""

    KINDS = frozenset(
        {
            ("authentication.k8s.io", "SelfSubjectReview"),
            ("authentication.k8s.io", "TokenReview"),
            ("authorization.k8s.io", "LocalSubjectAccessReview"),
            ("authorization.k8s.io", "SelfSubjectAccessReview"),
            ("authorization.k8s.io", "SelfSubjectRulesReview"),
            ("authorization.k8s.io", "SubjectAccessReview"),
        }
    )

    def __init__(self, authenticator: Authenticator, accounts: ServiceAccounts, now: clock.Clock) -> None:
        self._authenticator = authenticator
        self._accounts = accounts
        self._now = now
        self._answers: dict[str, Callable[[Call, Obj], Obj]] = {
            "SelfSubjectReview": lambda call, _: {"userInfo": _user_info(call.user)},
            "LocalSubjectAccessReview": _access_of_another,
            "SubjectAccessReview": _access_of_another,
            "SelfSubjectAccessReview": lambda call, review: _access(call.user, review),
            "SelfSubjectRulesReview": lambda call, _: authorization.rules(call.user),
        }

    async def create(self, call: Call) -> Obj:
        """Return the review with its status. Raises ApiError 400, 422."""
        wanted = write_options("CreateOptions", call.request.query)
        review = await bodies.read_object(call, wanted)
        if call.resource.namespaced:
            bodies.check_scope(call, review)
        if call.resource.kind == "SelfSubjectReview":
            review["metadata"].setdefault("creationTimestamp", clock.text(self._now()))
        review.setdefault("spec", {})
        _check(call, review)
        if call.resource.kind == "SelfSubjectReview":
            del review["spec"]
        if call.resource.kind == "TokenReview":
            review["status"] = await self._token(review)
        else:
            review["status"] = self._answers[call.resource.kind](call, review)
        return review

    async def _token(self, review: Obj) -> Obj:
        token, audiences = review["spec"].get("token") or "", review["spec"].get("audiences") or []
        user = self._authenticator.by_token(token)
        if user is not None:
            return {"authenticated": True, "user": _user_info(user)}
        user = await self._accounts.user(token, audiences)
        if user is None:
            return {"user": {}, "error": "invalid bearer token"}
        return {
            "authenticated": True,
            "user": _user_info(user),
            "audiences": self._accounts.accepted(token, audiences),
        }


def _check(call: Call, review: Obj) -> None:
    """Refuse a question that can't be answered. Raises ApiError 400, 422."""
    kind = call.resource.kind
    if kind == "TokenReview" and not review["spec"].get("token"):
        raise status.bad_request("token is required for TokenReview in authentication")
    if kind == "SelfSubjectRulesReview" and not review["spec"].get("namespace"):
        raise status.bad_request("no namespace on request")
    causes = review_validation.RULES[kind](review) if kind in review_validation.RULES else []
    if causes:
        raise status.invalid("", call.resource.group, "", causes)  # upstream forgets to say of what kind


def _user_info(user: User) -> Obj:
    info: Obj = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {name: list(values) for name, values in user.extra}
    return info


def _access_of_another(_: Call, review: Obj) -> Obj:
    spec = review["spec"]
    return _access(User(spec.get("user") or "", tuple(spec.get("groups") or ())), review)


def _access(user: User, review: Obj) -> Obj:
    return {"allowed": authorization.allowed(user, _asked(review["spec"]))}


def _asked(spec: Obj) -> RequestInfo:
    """Return the request that a review asks about."""
    if path := spec.get("nonResourceAttributes"):
        return RequestInfo(path.get("verb") or "", path.get("path") or "")
    about = spec.get("resourceAttributes") or {}
    named = {key: about.get(key) or "" for key in ("group", "version", "namespace", "resource", "name", "subresource")}
    return RequestInfo(about.get("verb") or "", "", is_resource=True, **named)
