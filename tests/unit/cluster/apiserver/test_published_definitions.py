"""What well-known projects publish is accepted without a complaint, and their objects are judged as upstream judges."""

from __future__ import annotations

from typing import Any

import pytest
from harness.published import Object, Published, published

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE = "application/merge-patch+json"
PATCHES = {"application/json-patch+json", MERGE, "application/apply-patch+yaml"}

pytestmark = pytest.mark.parametrize("kind", published(), ids=lambda kind: kind.name)


async def install(api: Any, kind: Published) -> Object:
    """Create the definition and return it once it is served."""
    made: Object = await api.made(DEFINITIONS, kind.definition)
    query = f"?watch=1&resourceVersion={made['metadata']['resourceVersion']}"
    async with api.watch(DEFINITIONS + query) as event:
        while "Established" not in conditions(made):
            made = (await event())["object"]
    return made


async def patches(api: Any, kind: Published, version: str) -> set[str]:
    """The kinds of patches that the OpenAPI document says are taken: kubectl chooses by it what `apply` sends."""
    group = kind.definition["spec"]["group"]
    _, document = await api("GET", f"/openapi/v3/apis/{group}/{version}")
    path = kind.path(version).replace("/default/", "/{namespace}/") + "/{name}"
    return set(document["paths"][path]["patch"]["requestBody"]["content"])


def conditions(definition: Object) -> dict[str, str]:
    return {one["type"]: one["status"] for one in definition["status"].get("conditions") or []}


def judged(answer: tuple[int, Any], causes: list[list[str]], about: str) -> None:
    """Hold an answer to the causes: each once, by field and reason, with its part of the message; none else."""
    code, body = answer
    if not causes:
        assert code < 300, (about, body)
        return
    assert code == 422, (about, body)
    told = [(one["field"], one["reason"], one["message"]) for one in body["details"]["causes"]]
    assert sorted(one[:2] for one in told) == sorted((field, reason) for field, reason, _ in causes), (about, told)
    for field, reason, part in causes:
        assert any((field, reason) == one[:2] and part in one[2] for one in told), (about, part, told)


def test_its_definition_is_served_without_a_complaint(kind: Published, with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await install(api, kind)
        wanted = {"NamesAccepted": "True", "Established": "True"}
        if "approval" in kind.table:
            wanted["KubernetesAPIApprovalPolicyConformant"] = "True"
        assert conditions(made) == wanted
        for version in kind.definition["spec"]["versions"]:
            code, found = await api("GET", kind.path(version["name"]))
            assert (code, found["items"]) == (200, [])
            assert await patches(api, kind, version["name"]) == PATCHES

    with_api(scenario)


def test_its_objects_are_judged_rightly(kind: Published, with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await install(api, kind)
        for number, case in enumerate(kind.table["valid"]):
            made = await api.made(kind.path(case.get("version")), kind.obj(f"valid-{number}", case))
            assert made["spec"] == case.get("stored", case["spec"]), case["about"]
            code, again = await api("GET", f"{kind.path()}/valid-{number}")
            assert (code, again["spec"]) == (200, made["spec"]), case["about"]
        for case in kind.table["invalid"]:
            judged(await api("POST", kind.path(), kind.obj("invalid", case)), case["causes"], case["about"])
        for case in kind.table.get("statuses", ()):
            patched = await api("PATCH", f"{kind.path()}/valid-0/status", {"status": case["status"]}, MERGE)
            judged(patched, case["causes"], case["about"])
        for case in kind.table.get("changes", ()):
            patched = await api("PATCH", f"{kind.path()}/valid-0", {"spec": case["patch"]}, MERGE)
            judged(patched, case["causes"], case["about"])

    with_api(scenario)
