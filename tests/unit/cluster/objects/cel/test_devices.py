"""Expressions that choose devices: what they see of one, and what is said of those that can't be."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from oarlock.cluster.objects.cel.devices import seen, selector
from oarlock.cluster.objects.cel.engine import CompileError
from oarlock.cluster.objects.cel.evaluation import EvaluationError

DRIVER = "gpu.example.com"
DEVICE: dict[str, Any] = {
    "name": "gpu-0",
    "attributes": {
        "model": {"string": "a100"},
        "index": {"int": 3},
        "healthy": {"bool": True},
        "driverVersion": {"version": "1.20.3-rc.1"},
        "numa.example.org/node": {"int": 1},
    },
    "capacity": {"memory": {"value": "40960Mi"}},
}
OURS = f'device.attributes["{DRIVER}"]'


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        (f'device.driver == "{DRIVER}"', True),
        (f'{OURS}.model == "a100" && {OURS}.index > 2 && {OURS}.healthy', True),
        (f'{OURS}.model in ["h100", "b200"]', False),
        ('device.attributes["numa.example.org"].node == 1', True),
        (f'device.capacity["{DRIVER}"].memory == quantity("40Gi")', True),
        (f'device.capacity["{DRIVER}"].memory.compareTo(quantity("80Gi")) >= 0', False),
        (f'{OURS}.driverVersion.isLessThan(semver("1.20.3")) && {OURS}.driverVersion.minor() == 20', True),
        (f'{OURS}.driverVersion == semver("v1.20.3-rc.1", true)', True),
        ('isSemver("1.2") || !isSemver("1.2", true)', False),
        (f'cel.bind(ours, {OURS}, ours.model == "a100" && ours.index == 3)', True),
        ('"no.example.org" in device.attributes && device.attributes["no.example.org"].node == 1', False),
        ('has(device.attributes["no.example.org"].node)', False),
        ("device.attributes['no.example.org'].?node.orValue(7) == 7", True),
        ("device.allowMultipleAllocations", False),
    ],
)
def test_an_expression_sees_what_a_driver_publishes(expression: str, chosen: bool) -> None:
    assert selector(expression).matches(seen(DRIVER, DEVICE)) is chosen


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ('device.attributes["no.example.org"].node == 1', "no such key: node"),
        (f"{OURS}.model > 3", "no such overload"),
        (f"{OURS}.model", "CEL result of type str could not be converted to bool"),
    ],
)
def test_what_has_no_answer_is_said(expression: str, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        selector(expression).matches(seen(DRIVER, DEVICE))


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("nobody", "compilation failed: ERROR: <input>:1:1: undeclared reference to 'nobody'"),
        ("1 + 1", "must evaluate to bool or the unknown type, not int"),
    ],
)
def test_what_can_choose_nothing_is_refused(expression: str, said: str) -> None:
    with pytest.raises(CompileError) as refused:
        selector(expression)
    assert str(refused.value).startswith(said)


def test_versions_are_sorted_as_the_specification_sorts_them() -> None:
    given = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.10.0"]
    for lower, higher in pairwise(given):
        assert selector(f'semver("{lower}").isLessThan(semver("{higher}"))').matches(seen(DRIVER, DEVICE))
