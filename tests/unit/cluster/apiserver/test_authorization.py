"""Who may do what, until there are roles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oarlock.cluster.apiserver.authentication import AUTHENTICATED, MASTERS, User
from oarlock.cluster.apiserver.authorization import allowed
from oarlock.cluster.apiserver.exchange import Query
from oarlock.cluster.apiserver.requests import parse

MASTER, KNOWN = User("root", (MASTERS, AUTHENTICATED)), User("bob", (AUTHENTICATED,))
REVIEWS = "/apis/authorization.k8s.io/v1"


@pytest.mark.parametrize(
    ("method", "path", "known", "nobody"),
    [
        ("GET", "/version", True, True),
        ("GET", "/readyz", True, True),
        ("GET", "/livez/ping", True, True),
        ("GET", "/api", True, False),
        ("GET", "/api/v1", True, False),
        ("GET", "/apis/apps/v1", True, False),
        ("GET", "/openapi/v3/apis/apps/v1", True, False),
        ("POST", "/apis", False, False),
        ("GET", "/metrics", False, False),
        ("GET", "/apiserver", False, False),
        ("GET", "/api/v1/namespaces", False, False),
        ("GET", "/apis/apps/v1/deployments", False, False),
        ("POST", f"{REVIEWS}/selfsubjectaccessreviews", True, False),
        ("POST", f"{REVIEWS}/selfsubjectrulesreviews", True, False),
        ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", True, False),
        ("POST", f"{REVIEWS}/subjectaccessreviews", False, False),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", False, False),
        ("GET", f"{REVIEWS}/selfsubjectaccessreviews", False, False),
    ],
)
def test_whoever_is_known_may_find_out_what_there_is_and_who_they_are(
    method: str, path: str, known: bool, nobody: bool
) -> None:
    info = parse(method, path, Query(""))
    assert (allowed(MASTER, info), allowed(KNOWN, info), allowed(None, info)) == (True, known, nobody)


def test_reviews_tell_what_is_so(with_api: Any, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text("weak,bob,2\n")
    bearer = {"Authorization": "Bearer weak"}

    async def scenario(api: Any) -> None:
        async def may(**spec: Any) -> bool:
            review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
            code, answer = await api("POST", f"{REVIEWS}/selfsubjectaccessreviews", review, **bearer)
            assert code == 201
            return bool(answer["status"]["allowed"])

        assert await may(nonResourceAttributes={"verb": "get", "path": "/apis"})
        assert not await may(nonResourceAttributes={"verb": "get", "path": "/metrics"})
        assert not await may(resourceAttributes={"verb": "list", "resource": "pods", "namespace": "default"})
        reviews = {"group": "authorization.k8s.io", "resource": "selfsubjectaccessreviews", "version": "v1"}
        assert await may(resourceAttributes={"verb": "create", **reviews})

        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview"}
        path = f"{REVIEWS}/selfsubjectrulesreviews"
        code, answer = await api("POST", path, {**review, "spec": {"namespace": "default"}}, **bearer)
        assert code == 201
        assert {tuple(rule["verbs"]) for rule in answer["status"]["resourceRules"]} == {("create",)}
        assert {"/openapi/*", "/livez/*", "/api"} <= set(answer["status"]["nonResourceRules"][0]["nonResourceURLs"])

    with_api(scenario, token_file=str(tokens))
