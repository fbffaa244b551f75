"""What upstream answered to thousands of creates and updates, replayed against decode, default and validate alone.

Needs the recorded answers (`../shared/golden` beside the repository). Parts that the API server adds (allocation,
admission, controllers) are outside, so whole bodies are compared by the API server's own replay. Here: the status
code, and for refusals the causes' fields and reasons.
"""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oarlock.cluster.objects import (
    decoding,
    defaulting,
    service_families,
    service_strategy,
    status,
    strategy,
    validation,
    warnings,
)
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.resources import Resource, lookup
from oarlock.cluster.objects.status import ApiError, Cause

CASES = Path(__file__).parents[2].parent / "shared" / "golden" / "cases.jsonl.gz"
UID = "01ae1207-1c7a-4272-be7a-9351224d55f6"
#: The share of answers that agree in status, and in reason and causes too, which may rise and must not fall.
FLOOR = 0.99
Obj = dict[str, Any]
_VERSIONLESS = Cause("FieldValueInvalid", "must be specified for an update", "metadata.resourceVersion")


def _target(url: str) -> tuple[Resource, str, str]:
    steps = url.partition("?")[0].strip("/").split("/")
    group, version, rest = ("", steps[1], steps[2:]) if steps[0] == "api" else (steps[1], steps[2], steps[3:])
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    resource = lookup(group, version, rest[0])
    assert resource is not None, url
    return resource, namespace, rest[1] if len(rest) > 1 else ""


class Replay:
    """Answers requests with a dictionary for a store."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], Obj] = {}

    def answer(self, case: Obj) -> tuple[int, Obj]:
        try:
            return self._create(case) if case["method"] == "POST" else self._update(case)
        except ApiError as error:
            return error.code, error.status()

    def _decoded(self, case: Obj) -> Obj:
        resource, _, _ = _target(case["url"])
        raw = case["body"] if isinstance(case["body"], str) else json.dumps(case["body"])
        decoded = decoding.decode(resource, raw.encode(), case["ctype"])
        if "fieldValidation=Strict" in case["url"] and decoded.complaints():
            raise decoding.strict_error(resource.kind, resource.version, decoded.complaints())
        return decoded.object

    def _create(self, case: Obj) -> tuple[int, Obj]:
        resource, namespace, _ = _target(case["url"])
        obj = self._decoded(case)
        metadata = obj["metadata"]
        if namespace:
            metadata.setdefault("namespace", namespace)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + "abcde"
        defaulting.default(resource, obj)
        metadata |= {"uid": UID, "creationTimestamp": "2026-01-01T00:00:00Z"}
        _admit(resource, obj)
        strategy.prepare_create(resource, obj)
        causes = validation.validate_create(resource, obj)
        if causes:
            raise status.invalid(resource.kind, resource.group, metadata.get("name", ""), causes)
        if "name" in metadata and "dryRun" not in case["url"]:
            self.stored[resource.qualified, metadata["name"]] = copy.deepcopy(obj)
        return 201, obj

    def _update(self, case: Obj) -> tuple[int, Obj]:
        resource, namespace, name = _target(case["url"])
        obj = self._decoded(case)
        given = obj["metadata"].get("name")
        if not given:
            raise status.bad_request(f"the name of the object ({name} based on URL) was undeterminable")
        if given != name:
            raise status.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        if namespace:
            obj["metadata"].setdefault("namespace", namespace)
        if strategy.needs_version(resource) and not obj["metadata"].get("resourceVersion"):
            raise status.invalid(resource.plural, resource.group, name, [_VERSIONLESS])  # the store's own word
        defaulting.default(resource, obj)
        old = copy.deepcopy(self.stored[resource.qualified, name])
        if resource.kind == "Service":
            service_strategy.carry_over(obj["spec"], old["spec"])
        _admit(resource, obj)
        strategy.prepare_update(resource, obj, old)
        causes = validation.validate_update(resource, obj, old)
        if causes:
            raise status.invalid(resource.kind, resource.group, name, causes)
        return 200, obj


def _admit(resource: Resource, obj: Obj) -> None:
    """What admission and allocation would have added, as far as validation looks at it."""
    spec = obj.get("spec", {})
    if resource.kind == "Pod":
        for name, value in (("serviceAccountName", "default"), ("priority", 0)):
            spec.setdefault(name, value)
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    if resource.kind == "Service" and spec["type"] != "ExternalName":
        spec.setdefault("clusterIP", "10.0.0.7")
        service_strategy.same_address(spec, None)
        causes = service_families.settle(spec, None, ("IPv4",))
        if causes:
            raise status.invalid(resource.kind, resource.group, obj["metadata"].get("name", ""), causes)


def _causes(body: Obj) -> list[tuple[str, str]]:
    causes = (body.get("details") or {}).get("causes") or []
    return sorted((cause.get("field", ""), cause.get("reason", "")) for cause in causes)


def _warned(resource: Resource, obj: Obj, old: Obj | None) -> list[str]:
    """The Warning headers of a successful write."""
    told = [one for one in (warnings.of_kind(resource),) if one]
    told += warnings.of_create(resource, obj) if old is None else warnings.of_update(resource, obj, old, "")
    return [f"299 - {quote(one)}" for one in told]


def _agreement() -> Iterator[tuple[str, str, bool, bool]]:
    """(seed, phase, same code, same reason) of every case whose answer was recorded; successes by their warnings."""
    replay = Replay()
    with gzip.open(CASES, "rt") as lines:
        for line in lines:
            case = json.loads(line)
            seed, phase = [*case["id"].split("|"), "script"][:2]
            if seed == "script" or phase not in {"create", "update", "real"}:
                continue
            if phase == "update" and (_target(case["url"])[0].qualified, _target(case["url"])[2]) not in replay.stored:
                continue
            code, body = replay.answer(case)
            if phase == "real" or not case["code"]:
                continue
            same_code = code == case["code"]
            refused = code >= 400
            wanted = case["resp"]
            if refused:
                same = body.get("reason") == wanted.get("reason") and _causes(body) == _causes(wanted)
            else:
                resource, _, name = _target(case["url"])
                old = replay.stored.get((resource.qualified, name)) if phase == "update" else None
                same = _warned(resource, body, old) == (case["warnings"] or [])
            yield seed, phase, same_code, same_code and same


@pytest.mark.skipif(not CASES.exists(), reason="needs upstream's recorded answers (shared/golden)")
def test_creates_and_updates_agree_with_upstream() -> None:
    rows = list(_agreement())
    for phase in ("create", "update"):
        mine = [row for row in rows if row[1] == phase]
        code = sum(row[2] for row in mine) / len(mine)
        reason = sum(row[3] for row in mine) / len(mine)
        print(f"{phase}: {len(mine)} cases; code {code:.1%}, reason {reason:.1%}")
        assert min(code, reason) >= FLOOR
