"""Patches whose result is another version, another kind or no object of the kind at all, as upstream judges them."""

from __future__ import annotations

from typing import Any

import pytest

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def _deployment() -> dict[str, Any]:
    labels = {"app": "pat"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"paused": True, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "pat"}, "spec": spec}


def _patched(with_api: Any, kind: str, patch: Any, query: str = "") -> tuple[int, dict[str, Any]]:
    async def scenario(api: Any) -> tuple[int, dict[str, Any]]:
        await api.made(DEPLOYMENTS, _deployment())
        answered: tuple[int, dict[str, Any]] = await api("PATCH", f"{DEPLOYMENTS}/pat{query}", patch, kind)
        return answered

    answered: tuple[int, dict[str, Any]] = with_api(scenario)
    return answered


@pytest.mark.parametrize("version", ["apps/v1beta1", "extensions/v1beta1"])
def test_a_retired_version_gives_its_own_defaults(with_api: Any, version: str) -> None:
    code, answer = _patched(with_api, MERGE, {"apiVersion": version})
    assert (code, answer["apiVersion"]) == (200, "apps/v1")
    assert answer["metadata"]["labels"] == {"app": "pat"}


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        (MERGE, {"apiVersion": "apps/v1beta2"}),
        (MERGE, {"apiVersion": None}),
        (STRATEGIC, {"apiVersion": "apps/v1beta1"}),
        (STRATEGIC, {"kind": "Nope"}),
    ],
)
def test_what_has_no_defaults_of_its_own_changes_nothing(with_api: Any, kind: str, patch: Any) -> None:
    code, answer = _patched(with_api, kind, patch)
    assert (code, answer["kind"], answer["metadata"].get("labels")) == (200, "Deployment", None)


@pytest.mark.parametrize(
    ("kind", "patch", "query", "why"),
    [
        (MERGE, {"kind": "Nope"}, "", 'no kind "Nope" is registered for version "apps/v1" in scheme'),
        (MERGE, {"apiVersion": "apps/v9"}, "", 'no kind "Deployment" is registered for version "apps/v9"'),
        (MERGE, {"kind": "ReplicaSet"}, "", "converting (apps.ReplicaSet) to (apps.Deployment): unknown conversion"),
        (MERGE, {"spec": {"replicas": "x"}}, "", "cannot unmarshal string into Go struct field"),
        (MERGE, {"spec": {"nope": 1}}, "?fieldValidation=Strict", 'decoding error: unknown field "spec.nope"'),
        (STRATEGIC, {"spec": {"nope": 1}}, "?fieldValidation=Strict", 'Invalid value: "map[spec:map[nope:1]]": strict'),
    ],
)
def test_a_result_that_is_no_such_object_is_refused(with_api: Any, kind: str, patch: Any, query: str, why: str) -> None:
    code, answer = _patched(with_api, kind, patch, query)
    assert (code, answer["reason"]) == (422, "Invalid")
    assert [(cause["field"], cause["reason"]) for cause in answer["details"]["causes"]] == [
        ("patch", "FieldValueInvalid")
    ]
    assert why in answer["message"]


@pytest.mark.parametrize("patch", [{"metadata": None}, {"metadata": {"name": None}}])
def test_a_result_without_a_name_is_refused(with_api: Any, patch: Any) -> None:
    code, answer = _patched(with_api, MERGE, patch)
    assert (code, answer["reason"]) == (400, "BadRequest")
    assert "name must be provided" in answer["message"]


def test_a_number_that_no_encoder_writes_is_answered(with_api: Any, objects: Any) -> None:
    """YAML has integers of any size; an applied object is compared with the stored one by its text."""

    async def scenario(api: Any) -> None:
        path = "/api/v1/namespaces/default/pods/p"
        await api.made("/api/v1/namespaces/default/pods", objects.pod("p"))
        head = b"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
        huge = head + b"spec: {activeDeadlineSeconds: %s}\n" % (b"9" * 25)
        code, answer = await api("PATCH", f"{path}?fieldManager=m", huge, "application/apply-patch+yaml")
        assert (code, answer["kind"]) == (400, "Status"), answer
        merge = b'{"spec": {"activeDeadlineSeconds": %s}}' % (b"9" * 25)
        code, answer = await api("PATCH", path, merge, MERGE)
        assert (code, answer["reason"]) == (422, "Invalid"), answer

    with_api(scenario)
