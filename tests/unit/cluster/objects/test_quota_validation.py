"""ResourceQuotas that are refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.objects import quota_validation

APPLIED = "unsupported scope applied to resource"


def quota(hard: dict[str, str], scopes: list[str] | None = None, *expressions: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {"hard": hard}
    if scopes:
        spec["scopes"] = scopes
    if expressions:
        spec["scopeSelector"] = {"matchExpressions": list(expressions)}
    return {"metadata": {"name": "q"}, "spec": spec}


PRIORITY = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
GOOD = {"pods": "1k", "requests.cpu": "2", "count/deployments.apps": "5", "requests.example.com/gpu": "1"}
EXPRESSIONS = "spec.scopeSelector.matchExpressions"


@pytest.mark.parametrize(
    ("document", "field", "said"),
    [
        (quota(GOOD), "", ""),
        (quota(GOOD, ["NotTerminating", "BestEffort"]), "spec.scopes", APPLIED),
        (quota(GOOD, ["NotTerminating"], PRIORITY), "", ""),
        (quota({"services.nodeports": "1"}, ["NotTerminating"]), "spec.scopes", f'["NotTerminating"]: {APPLIED}'),
        (quota({"pods": "1"}, ["Nope"]), "spec.scopes", '["Nope"]: unsupported scope'),
        (quota({"pods": "1"}, ["BestEffort", "NotBestEffort"]), "spec.scopes", "conflicting scopes"),
        (quota({"things": "1"}), "spec.hard[things]", '"things": must be a standard resource for quota'),
        (quota({"pods": "-1"}), "spec.hard[pods]", '"-1": must be greater than or equal to 0'),
        (quota({"pods": "500m"}), "spec.hard[pods]", '"500m": must be an integer'),
        (quota({"pods": "1"}, None, {**PRIORITY, "values": []}), f"{EXPRESSIONS}.values", "at least one value"),
        (quota({"pods": "1"}, None, {**PRIORITY, "operator": "Is"}), f"{EXPRESSIONS}.operator", "not a valid selector"),
        (quota({"secrets": "1"}, None, PRIORITY), EXPRESSIONS, APPLIED),
        (
            quota({"pods": "1"}, None, {"scopeName": "Terminating", "operator": "DoesNotExist"}),
            f"{EXPRESSIONS}.operator",
            "must be 'Exist' when scope is",
        ),
    ],
)
def test_what_may_be_limited(document: dict[str, Any], field: str, said: str) -> None:
    causes = quota_validation.quota(document)
    assert [cause.field for cause in causes] == ([field] if field else [])
    assert all(said in cause.message for cause in causes)


def test_scopes_stay() -> None:
    old, new = quota({"pods": "1"}, ["Terminating"]), quota({"pods": "2"}, ["NotTerminating"])
    assert quota_validation.quota_update(old, old) == []
    [cause] = quota_validation.quota_update(new, old)
    assert (cause.field, "field is immutable" in cause.message) == ("spec.scopes", True)
