"""Compile `data/schemas-*.json` out of the kubernetes-validate package: `python -m oarlock.cluster.objects.compile`.

The compiled form keeps what a server needs of a type (field types, required fields, merge and list keys) and leaves
out the descriptions, so that a process reads it in a few milliseconds. What OpenAPI cannot say (which optional scalars
are pointers in Go, so that their zero value is kept, and which optional fields it always writes) comes from
`data/go-facts.json`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

DATA: Final = Path(__file__).parent / "data"
RELEASE: Final = "1.36"
_REF: Final = "#/$defs/"
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_EXTENSIONS: Final = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."

#: Types that marshal themselves; everything else is an object with fields.
SCALAR_TYPES: Final[Mapping[str, str]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
    _META + "Time": "time",
    _META + "MicroTime": "micro-time",
    _META + "FieldsV1": "any",
    _META + "Patch": "any",
    _EXTENSIONS + "JSON": "any",
    _EXTENSIONS + "JSONSchemaPropsOrArray": "any",
    _EXTENSIONS + "JSONSchemaPropsOrBool": "any",
    _EXTENSIONS + "JSONSchemaPropsOrStringArray": "any",
}
#: Types that hold a schema or something else, by what that is.
WRAPPERS: Final[Mapping[str, str]] = {
    _EXTENSIONS + "JSONSchemaPropsOrArray": "list",
    _EXTENSIONS + "JSONSchemaPropsOrBool": "bool",
}
_PLAIN: Final = {"string": "string", "boolean": "bool", "number": "double"}


def definitions() -> dict[str, Any]:
    """The upstream definitions with descriptions, as kubernetes-validate ships them; its code is not imported."""
    package = importlib.util.find_spec("kubernetes_validate")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("kubernetes_validate")
    folder = Path(package.origin).parent / "kubernetes-json-schema" / f"v{RELEASE}.0-local"
    document: dict[str, Any] = orjson.loads((folder / "_definitions.json").read_bytes())
    found: dict[str, Any] = document["$defs"]
    return found


def type_text(spec: Mapping[str, Any]) -> str:
    """The type of a field as the compiled form writes it: `string`, `[]T`, `{}T`, `#Name`, …"""
    if "$ref" in spec:
        name = spec["$ref"].removeprefix(_REF)
        return SCALAR_TYPES.get(name) or "#" + name
    kind = spec.get("type", "any")
    kind = kind if isinstance(kind, str) else next(one for one in kind if one != "null")
    if kind == "array":
        return "[]" + type_text(spec["items"])
    if kind == "object":
        values = spec.get("additionalProperties")
        return "{}" + type_text(values) if values else "any"
    if kind == "integer":
        return str(spec.get("format", "int64"))
    if spec.get("format") == "byte":
        return "bytes"
    return _PLAIN[kind]


def compile_field(spec: Mapping[str, Any], keeps_zero: bool) -> str | list[Any]:
    """One field: its type, and a mapping of what else is known where there is more than the type."""
    more: dict[str, Any] = {
        "strategy": spec.get("x-kubernetes-patch-strategy"),
        "merge": spec.get("x-kubernetes-patch-merge-key"),
        "list": spec.get("x-kubernetes-list-type"),
        "keys": spec.get("x-kubernetes-list-map-keys"),
        "map": spec.get("x-kubernetes-map-type"),
        "zero": keeps_zero,
        "schema-or": WRAPPERS.get(spec.get("$ref", "").removeprefix(_REF)),
    }
    more = {key: value for key, value in more.items() if value}
    text = type_text(spec)
    return [text, more] if more else text


def _keeps_zero(owner: str, field: str, spec: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Whether an optional scalar's zero value is written out, that is: whether it is a pointer in Go.

    Of lists, only those are kept empty whose defaults upstream gives to absent ones alone.
    """
    path = f"{owner.rpartition('.')[2]}.{field}"
    text = type_text(spec)
    if text.startswith("[]"):
        return path in facts["empty"]
    if text == "string":
        return path in facts["pointers"]
    return text in {"bool", "int32", "int64", "double"} and path not in facts["plain"]


def compile_type(name: str, definition: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """One object type: `fields`, `required`, and `map` where the whole object is atomic."""
    required = definition.get("required", [])
    fields = {
        field: compile_field(spec, field in required or _keeps_zero(name, field, spec, facts))
        for field, spec in definition.get("properties", {}).items()
    }
    compiled: dict[str, Any] = {"fields": fields}
    if required:
        compiled["required"] = required
    short = name.rpartition(".")[2]
    written = [field for field in fields if f"{short}.{field}" in facts["written"]]
    if written:
        compiled["written"] = written
    if "x-kubernetes-map-type" in definition:
        compiled["map"] = definition["x-kubernetes-map-type"]
    return compiled


def compile_all() -> dict[str, Any]:
    """The whole document: `types` by definition name and `kinds`, from `group/version/kind` to definition name."""
    facts = orjson.loads((DATA / "go-facts.json").read_bytes())
    facts = {**facts, "pointers": frozenset(facts["pointers"]), "plain": frozenset(facts["plain"])}
    types: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    for name, definition in definitions().items():
        if name in SCALAR_TYPES:
            continue
        types[name] = compile_type(name, definition, facts)
        rows = definition.get("x-kubernetes-group-version-kind", ())
        if len(rows) == 1 or "kind" in definition.get("properties", {}):
            kinds.update({f"{row['group']}/{row['version']}/{row['kind']}": name for row in rows})
    return {"types": types, "kinds": kinds}


def main() -> int:
    """Write the compiled document beside the other data."""
    target = DATA / f"schemas-{RELEASE}.json"
    target.write_bytes(orjson.dumps(compile_all()) + b"\n")
    sys.stdout.write(f"{target.name}: {target.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
