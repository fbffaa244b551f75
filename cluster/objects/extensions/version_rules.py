"""Validate what belongs to a version of a CustomResourceDefinition: schema, subresources, columns, selectable fields.

Source: apiextensions `validateCustomResourceDefinitionVersion` and what it calls. Causes about what all versions share
are told at the top of the spec, by `definition_rules`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, required, too_many
from oarlock.cluster.objects.extensions import (
    expression_rules,
    field_paths,
    go_form,
    schema_defaults,
    schema_rules,
    structure_rules,
)
from oarlock.cluster.objects.extensions.schema_rules import Strictness
from oarlock.cluster.objects.extensions.structural import NotStructural, Structural, compiled
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS: Final = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
SELECTABLE_MAX: Final = 8
_SELECTABLE_TYPES: Final = frozenset({"string", "boolean", "integer"})
_SELECTABLE: Final = (
    "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
)
_OBJECT_ONLY: Final = (
    'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
)
_AT_ROOT: Final = (
    f"only [{' '.join(go_form.AT_ROOT_WITH_STATUS)}] fields are allowed at the root of the schema if the status "
    "subresource is enabled"
)
_WARNING_CHARS_MAX: Final = 256


def version(one: Obj, path: str, strictness: Strictness, *, has_status: bool) -> Iterator[Cause]:
    """What is wrong with what only this version has; `has_status` tells of its subresource, shared or not."""
    for why in _deprecation(one):
        yield invalid(f"{path}.deprecationWarning", one.get("deprecationWarning"), why)
    yield from validation(one.get("schema"), f"{path}.schema", strictness, has_status=has_status)
    yield from subresources(one.get("subresources"), f"{path}.subresources")
    yield from columns(one.get("additionalPrinterColumns") or (), f"{path}.additionalPrinterColumns")
    if one.get("selectableFields"):
        yield from selectable_fields(one["selectableFields"], one.get("schema"), path)


def _deprecation(one: Obj) -> Iterator[str]:
    warning = one.get("deprecationWarning")
    if warning is None:
        return
    if not one.get("deprecated"):
        yield "can only be set for deprecated versions"
        return
    if len(warning.encode()) > _WARNING_CHARS_MAX:
        yield f"must be <= {_WARNING_CHARS_MAX} characters long"
    if not warning:
        yield "must not be an empty string"
    for index, char in enumerate(warning):
        if not char.isprintable():
            where = len(warning[:index].encode())
            yield f"must only contain printable UTF-8 characters; non-printable character found at index {where}"
            return


def validation(holder: Obj | None, path: str, strictness: Strictness, *, has_status: bool) -> list[Cause]:
    """What is wrong with a schema in its holder, `schema` of a version or `validation` of the whole."""
    schema = (holder or {}).get("openAPIV3Schema")
    if schema is None:
        return []
    place = f"{path}.openAPIV3Schema"
    causes = list(_root(schema, place, has_status=has_status))
    unstructured: list[Cause] = []
    form: Structural | None = None
    if strictness.structural:
        try:
            form = compiled(schema)
        except NotStructural as error:
            unstructured.append(invalid(place, "", str(error)))
        else:
            wrong = structure_rules.structural(form, place) or schema_defaults.defaults(
                form, place, pruned_only=strictness.pruned_defaults
            )
            causes += wrong
            form = None if wrong else form
    found = schema_rules.schema(schema, place, strictness)
    causes += found
    if form is not None:
        limited = schema not in strictness.known_schemas
        causes += expression_rules.expressions(schema, form, place, found, each_limited=limited)
    return causes or unstructured


def _root(schema: Obj, path: str, *, has_status: bool) -> Iterator[Cause]:
    if has_status:
        for name in go_form.set_fields(schema):
            if name == "Type" and schema["type"] != "object":
                yield invalid(f"{path}.type", schema["type"], _OBJECT_ONLY)
                break
            if name not in go_form.AT_ROOT_WITH_STATUS:
                yield go_form.invalid(path, go_form.schema(schema), _AT_ROOT)
                break
    if schema.get("nullable"):
        yield forbidden(f"{path}.nullable", "nullable cannot be true at the root")


def subresources(given: Obj | None, path: str) -> Iterator[Cause]:
    """What is wrong with the paths of `scale`."""
    scale = (given or {}).get("scale")
    if scale is None:
        return
    for name, under in (("specReplicasPath", "spec"), ("statusReplicasPath", "status")):
        text = scale.get(name, "")
        if not text:
            yield required(f"{path}.scale.{name}")
        else:
            yield from _path_under(text, f"{path}.scale.{name}", (f".{under}.",), f"under .{under}")
    text = scale.get("labelSelectorPath")
    if text:
        place = f"{path}.scale.labelSelectorPath"
        yield from _path_under(text, place, (".spec.", ".status."), "under either .spec or .status")


def _path_under(text: str, path: str, starts: tuple[str, ...], where: str) -> Iterator[Cause]:
    wrong = list(_simple_path(text, path))
    yield from wrong
    if not wrong and not text.startswith(starts):
        yield invalid(path, text, f"should be a json path {where}")


def _simple_path(text: str, path: str) -> Iterator[Cause]:
    if not text.startswith("."):
        yield invalid(path, text, "must be a simple json path starting with .")


def columns(given: Sequence[Obj], path: str) -> Iterator[Cause]:
    """What is wrong with printer columns."""
    types = f"must be one of {','.join(COLUMN_TYPES)}"
    for index, column in enumerate(given):
        place = f"{path}[{index}]"
        kind, form, text = column.get("type", ""), column.get("format", ""), column.get("jsonPath", "")
        if not column.get("name"):
            yield required(f"{place}.name")
        if not kind:
            yield required(f"{place}.type", types)
        elif kind not in COLUMN_TYPES:
            yield invalid(f"{place}.type", kind, types)
        if form and form not in COLUMN_FORMATS:
            yield invalid(f"{place}.format", form, f"must be one of {','.join(COLUMN_FORMATS)}")
        if not text:
            yield required(f"{place}.JSONPath")
        else:
            yield from _simple_path(text, f"{place}.JSONPath")


def selectable_fields(given: Sequence[Obj], holder: Obj | None, path: str) -> Iterator[Cause]:
    """What is wrong with the fields that clients may select by; each must lead to a plain value of the schema."""
    schema = (holder or {}).get("openAPIV3Schema")
    place = f"{path}.selectableFields"
    if schema is None:
        why = (
            "may only be set when validations.schema is included"
            if path == "spec"
            else "may only be set when version.schema.openAPIV3Schema is not included"
        )
        yield invalid(place, "", why)
        return
    try:
        form = compiled(schema)
    except NotStructural as error:
        yield invalid(f"{path}.schema.openAPIV3Schema", "", str(error))
        return
    seen: set[tuple[str, ...]] = set()
    for index, one in enumerate(given):
        yield from _selectable(one.get("jsonPath", ""), form, f"{place}[{index}].jsonPath", seen)
    if len(seen) > SELECTABLE_MAX:
        yield too_many(place, len(seen), SELECTABLE_MAX)


def _selectable(text: str, schema: Structural, path: str, seen: set[tuple[str, ...]]) -> Iterator[Cause]:
    if not text:
        yield required(path)
        return
    try:
        steps, found = field_paths.resolve(text, schema, brackets=False)
    except field_paths.NoSuchField as error:
        yield invalid(path, text, f"is an invalid path: {error}")
        return
    if steps[0] == "metadata":
        yield invalid(path, text, "must not point to fields in metadata")
    if found is None or found.type not in _SELECTABLE_TYPES:
        yield invalid(path, text, _SELECTABLE)
    if steps in seen:
        yield duplicate(path, text)
    seen.add(steps)
