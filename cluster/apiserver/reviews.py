"""Kinds that are questions, answered at once and never stored: who am I, may I, whose token is this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oarlock.cluster.apiserver import bodies, clock
from oarlock.cluster.apiserver.authentication import MASTERS, Authenticator, User
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.options import write_options

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

    def __init__(self, authenticator: Authenticator, now: clock.Clock) -> None:
        self._authenticator = authenticator
        self._now = now
        self._answers: dict[str, Callable[[Call, Obj], Obj]] = {
            "SelfSubjectReview": lambda call, _: {"userInfo": _user_info(call.user)},
            "TokenReview": self._token,
            "LocalSubjectAccessReview": _access_of_another,
            "SubjectAccessReview": _access_of_another,
            "SelfSubjectAccessReview": lambda call, _: _access(call.user.groups),
            "SelfSubjectRulesReview": lambda call, _: _rules(call.user),
        }

    async def create(self, call: Call) -> Obj:
        """Return the review with its status. Raises ApiError 400."""
        wanted = write_options("CreateOptions", call.request.query)
        review = await bodies.read_object(call, wanted)
        if call.resource.namespaced:
            bodies.check_scope(call, review)
        if call.resource.kind == "SelfSubjectReview":
            review["metadata"].setdefault("creationTimestamp", clock.text(self._now()))
        review.setdefault("spec", {})
        if call.resource.kind == "SelfSubjectReview":
            del review["spec"]
        review["status"] = self._answers[call.resource.kind](call, review)
        return review

    def _token(self, _: Call, review: Obj) -> Obj:
        user = self._authenticator.by_token(review["spec"].get("token") or "")
        if user is None:
            return {"user": {}, "error": "invalid bearer token"}
        return {"authenticated": True, "user": _user_info(user)}


def _user_info(user: User) -> Obj:
    info: Obj = {"username": user.name, "groups": list(user.groups)}
    return {**info, "uid": user.uid} if user.uid else info


def _access_of_another(_: Call, review: Obj) -> Obj:
    return _access(tuple(review["spec"].get("groups") or ()))


def _access(groups: tuple[str, ...]) -> Obj:
    return {"allowed": True} if MASTERS in groups else {"allowed": False}


def _rules(user: User) -> Obj:
    if MASTERS not in user.groups:
        return {"resourceRules": [], "nonResourceRules": [], "incomplete": False}
    return {
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        "incomplete": False,
    }
