"""Validate what stands in `x-kubernetes-validations`, apart from the expressions (`expression_rules`).

Source: apiextensions `ValidateCustomResourceDefinitionOpenAPISchema`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from oarlock.cluster.objects.causes import invalid, not_supported, required
from oarlock.cluster.objects.extensions import field_paths
from oarlock.cluster.objects.extensions.structural import Json, NotStructural, compiled
from oarlock.cluster.objects.status import Cause

REASONS: Final = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")


def rule(one: Json, schema: Json, path: str) -> Iterator[Cause]:
    """What is wrong with one rule of a schema."""
    text, said, expression = one.get("rule", ""), one.get("message", ""), one.get("messageExpression", "")
    if not text.strip():
        yield required(f"{path}.rule", "rule is not specified")
    elif said and not said.strip():
        yield invalid(f"{path}.message", said, "message must be non-empty if specified")
    elif _breaks(said.strip()):
        yield invalid(f"{path}.message", said, "message must not contain line breaks")
    elif _breaks(text.strip()) and not said.strip():
        yield required(f"{path}.message", "message must be specified if rule contains line breaks")
    if expression and not expression.strip():
        yield required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
    if "reason" in one and one["reason"] not in REASONS:
        yield not_supported(f"{path}.reason", one["reason"], REASONS)
    yield from _field_path(one.get("fieldPath", ""), schema, f"{path}.fieldPath")


def _field_path(text: str, schema: Json, path: str) -> Iterator[Cause]:
    if text and not text.strip():
        yield invalid(path, text, "fieldPath must be non-empty if specified")
    if _breaks(text):
        yield invalid(path, text, "fieldPath must not contain line breaks")
    if text and not _leads_somewhere(text, schema):
        yield invalid(path, text, "fieldPath must be a valid path")


def _leads_somewhere(text: str, schema: Json) -> bool:
    try:
        field_paths.resolve(text, compiled(schema))
    except field_paths.NoSuchField:
        return False
    except NotStructural:
        return True
    return True


def _breaks(text: str) -> bool:
    return "\n" in text or "\r" in text
