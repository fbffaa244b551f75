"""Parts of a CustomResourceDefinition as upstream's messages show them: its internal Go structs, written as JSON.

Source: apiextensions `pkg/apis/apiextensions/{types,types_jsonschema}.go`, which name no JSON fields: every field is
there, under its Go name and in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
Field = tuple[str, str, Any, Callable[[Any], Any]]


def invalid(path: str, form: Any, why: str) -> Cause:
    """A part of a definition that breaks a rule, shown in its Go form."""
    text = orjson.dumps(form).decode()
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Cause("FieldValueInvalid", f"Invalid value: {text}: {why}", path)


def _same(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


def _struct(fields: Sequence[Field], value: Obj | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {name: form(value[key]) if value.get(key) is not None else zero for name, key, zero, form in fields}


def versions(given: Sequence[Obj]) -> list[dict[str, Any] | None] | None:
    """The versions of a definition; none at all are null."""
    return [_struct(_VERSION, one) for one in given] or None


def rule(given: Obj) -> dict[str, Any] | None:
    """One of a schema's rules."""
    return _struct(_RULE, given)


def schema(given: Obj) -> dict[str, Any] | None:
    """A schema, with all that is in it."""
    return _struct(_SCHEMA, given)


def _each(form: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda items: [form(one) for one in items]


def _by_name(items: Obj) -> dict[str, Any]:
    return {name: schema(items[name]) for name in sorted(items)}


def _schema_or_list(value: Any) -> dict[str, Any]:
    is_list = isinstance(value, list)
    return {
        "Schema": None if is_list else schema(value),
        "JSONSchemas": [schema(one) for one in value] if is_list else None,
    }


def _schema_or_bool(value: Any) -> dict[str, Any]:
    is_schema = isinstance(value, Mapping)
    return {"Allows": is_schema or value, "Schema": schema(value) if is_schema else None}


def _plain(*names: tuple[str, str], zero: Any = "") -> tuple[Field, ...]:
    return tuple((name, key, zero, _same) for name, key in names)


_RULE: Final[Sequence[Field]] = (
    *_plain(("Rule", "rule"), ("Message", "message"), ("MessageExpression", "messageExpression")),
    *_plain(("Reason", "reason"), zero=None),
    *_plain(("FieldPath", "fieldPath")),
    *_plain(("OptionalOldSelf", "optionalOldSelf"), zero=None),
)
_SCHEMA: Final[Sequence[Field]] = (
    *_plain(("ID", "id"), ("Schema", "$schema")),
    *_plain(("Ref", "$ref"), zero=None),
    *_plain(("Description", "description"), ("Type", "type")),
    *_plain(("Nullable", "nullable"), zero=False),
    *_plain(("Format", "format"), ("Title", "title")),
    *_plain(("Default", "default"), ("Maximum", "maximum"), zero=None),
    *_plain(("ExclusiveMaximum", "exclusiveMaximum"), zero=False),
    *_plain(("Minimum", "minimum"), zero=None),
    *_plain(("ExclusiveMinimum", "exclusiveMinimum"), zero=False),
    *_plain(("MaxLength", "maxLength"), ("MinLength", "minLength"), zero=None),
    *_plain(("Pattern", "pattern")),
    *_plain(("MaxItems", "maxItems"), ("MinItems", "minItems"), zero=None),
    *_plain(("UniqueItems", "uniqueItems"), zero=False),
    *_plain(("MultipleOf", "multipleOf"), ("Enum", "enum"), ("MaxProperties", "maxProperties"), zero=None),
    *_plain(("MinProperties", "minProperties"), ("Required", "required"), zero=None),
    ("Items", "items", None, _schema_or_list),
    ("AllOf", "allOf", None, _each(schema)),
    ("OneOf", "oneOf", None, _each(schema)),
    ("AnyOf", "anyOf", None, _each(schema)),
    ("Not", "not", None, schema),
    ("Properties", "properties", None, _by_name),
    ("AdditionalProperties", "additionalProperties", None, _schema_or_bool),
    ("PatternProperties", "patternProperties", None, _by_name),
    *_plain(("Dependencies", "dependencies"), zero=None),
    ("AdditionalItems", "additionalItems", None, _schema_or_bool),
    ("Definitions", "definitions", None, _by_name),
    (
        "ExternalDocs",
        "externalDocs",
        None,
        lambda one: _struct(_plain(("Description", "description"), ("URL", "url")), one),
    ),
    *_plain(("Example", "example"), ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields"), zero=None),
    *_plain(("XEmbeddedResource", "x-kubernetes-embedded-resource"), zero=False),
    *_plain(("XIntOrString", "x-kubernetes-int-or-string"), zero=False),
    *_plain(("XListMapKeys", "x-kubernetes-list-map-keys"), ("XListType", "x-kubernetes-list-type"), zero=None),
    *_plain(("XMapType", "x-kubernetes-map-type"), zero=None),
    ("XValidations", "x-kubernetes-validations", None, _each(rule)),
)
_COLUMN: Final[Sequence[Field]] = (
    *_plain(("Name", "name"), ("Type", "type"), ("Format", "format"), ("Description", "description")),
    *_plain(("Priority", "priority"), zero=0),
    *_plain(("JSONPath", "jsonPath")),
)
_SCALE: Final[Sequence[Field]] = (
    *_plain(("SpecReplicasPath", "specReplicasPath"), ("StatusReplicasPath", "statusReplicasPath")),
    *_plain(("LabelSelectorPath", "labelSelectorPath"), zero=None),
)
_SUBRESOURCES: Final[Sequence[Field]] = (
    ("Status", "status", None, lambda _: {}),
    ("Scale", "scale", None, lambda one: _struct(_SCALE, one)),
)
_VERSION: Final[Sequence[Field]] = (
    *_plain(("Name", "name")),
    *_plain(("Served", "served"), ("Storage", "storage"), ("Deprecated", "deprecated"), zero=False),
    *_plain(("DeprecationWarning", "deprecationWarning"), zero=None),
    ("Schema", "schema", None, lambda one: _struct((("OpenAPIV3Schema", "openAPIV3Schema", None, schema),), one)),
    ("Subresources", "subresources", None, lambda one: _struct(_SUBRESOURCES, one)),
    ("AdditionalPrinterColumns", "additionalPrinterColumns", None, _each(lambda one: _struct(_COLUMN, one))),
    (
        "SelectableFields",
        "selectableFields",
        None,
        _each(lambda one: _struct(_plain(("JSONPath", "jsonPath")), one)),
    ),
)
#: The fields that a whole schema may have where the status is a subresource, by Go name.
AT_ROOT_WITH_STATUS: Final = (
    *("Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum", "ExclusiveMinimum"),
    *("MaxLength", "MinLength", "Pattern", "MaxItems", "MinItems", "UniqueItems", "MultipleOf", "Required", "Items"),
    *("Properties", "ExternalDocs", "Example", "XPreserveUnknownFields", "XValidations"),
)


def set_fields(given: Obj) -> list[str]:
    """The Go names of the fields that a schema sets, in their order."""
    return [name for name, key, zero, _ in _SCHEMA if given.get(key) not in (None, zero, [], {})]
