"""Selectors of devices: expressions over one `device`, compiled once.

Source: dynamic-resource-allocation `cel/compile.go`. A domain that a device has nothing of is an empty map to an
expression that looks something up in it; whether it is there (`in`) is told truly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from oarlock.cluster.objects import quantity
from oarlock.cluster.objects.cel import checking, engine, evaluation, library
from oarlock.cluster.objects.cel.declared import Declared
from oarlock.cluster.objects.cel.engine import CompileError
from oarlock.cluster.objects.cel.evaluation import CostExceeded, EvaluationError, Meter
from oarlock.cluster.objects.cel.types import BOOL, DYN, OPAQUE, STRING, Type, map_of

Json = Mapping[str, Any]
_COST_MAX: Final = 1_000_000
"""Source: resource/v1's CELSelectorExpressionMaxCost."""
_DEVICE: Final = Type("object", "kubernetes.DRADevice")
_FIELDS: Final = {
    "driver": Declared(STRING),
    "allowMultipleAllocations": Declared(BOOL),
    "attributes": Declared(map_of(STRING, map_of(STRING, DYN))),
    "capacity": Declared(map_of(STRING, map_of(STRING, Type("opaque", OPAQUE["quantity"])))),
}
_KINDS: Final = ("bool", "dyn")
_TEXT: Final = r"""(?:"([^"\\]*)"|'([^'\\]*)')"""
_LOOKED_UP: Final = re.compile(rf"\bdevice\.(attributes|capacity)\s*\[\s*{_TEXT}\s*\]")
_ASKED_FOR: Final = re.compile(rf"{_TEXT}\s+in\s+device\.(attributes|capacity)\b")


class Selector:
    """A compiled expression. Raises CompileError when made, its message as upstream's."""

    def __init__(self, expression: str) -> None:
        try:
            parsed = engine.parsed(expression, binds=True)
        except CompileError as error:
            raise CompileError(f"compilation failed: {error}") from None
        checked = checking.check(parsed, {"device": _DEVICE}, {_DEVICE.name: Declared(_DEVICE, fields=_FIELDS)})
        complaint = checked.complaint()
        if complaint:
            raise CompileError(f"compilation failed: {complaint}")
        if checked.type.kind not in _KINDS:
            raise CompileError(f"must evaluate to bool or the unknown type, not {checked.type}")
        self._run = evaluation.compiled(checked)
        asked = {(part, one or other) for one, other, part in _ASKED_FOR.findall(expression)}
        found = {(part, one or other) for part, one, other in _LOOKED_UP.findall(expression)}
        self._domains = found - asked

    def matches(self, device: Json) -> bool:
        """Whether the expression holds for a device as `seen` returns it. Raises EvaluationError."""
        for part, domain in self._domains:
            if domain not in device[part]:
                device = {**device, part: {**device[part], domain: {}}}
        try:
            found = self._run({"device": device}, Meter(_COST_MAX))
        except CostExceeded:
            raise EvaluationError("operation cancelled: actual cost limit exceeded") from None
        if not isinstance(found, bool):
            raise EvaluationError(f"CEL result of type {type(found).__name__} could not be converted to bool")
        return found


@lru_cache(1024)
def selector(expression: str) -> Selector:
    """Return the compiled expression. Raises CompileError."""
    return Selector(expression)


def seen(driver: str, device: Json) -> Json:
    """A device of a ResourceSlice as expressions see it. Raises EvaluationError for an attribute of an unknown type."""
    attributes: dict[str, dict[str, Any]] = {}
    for domain, name, value in _by_domain(driver, device.get("attributes") or {}):
        attributes.setdefault(domain, {})[name] = _attribute(name, value)
    capacity: dict[str, dict[str, Any]] = {}
    for domain, name, value in _by_domain(driver, device.get("capacity") or {}):
        capacity.setdefault(domain, {})[name] = quantity.parse(value["value"])
    return {
        "driver": driver,
        "allowMultipleAllocations": bool(device.get("allowMultipleAllocations")),
        "attributes": attributes,
        "capacity": capacity,
    }


def _by_domain(driver: str, given: Json) -> Iterator[tuple[str, str, Any]]:
    for qualified, value in given.items():
        domain, slash, name = qualified.partition("/")
        yield (domain, name, value) if slash else (driver, qualified, value)


def _attribute(name: str, value: Json) -> Any:
    for kind in ("int", "bool", "string"):
        if kind in value:
            return value[kind]
    if "version" not in value:
        raise EvaluationError(f"attribute {name}: unsupported attribute value")
    try:
        return library.version(value["version"])
    except ValueError as error:
        raise EvaluationError(f"attribute {name}: parse semantic version: {error}") from None
