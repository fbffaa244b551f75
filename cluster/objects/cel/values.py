"""JSON values as CEL sees them under a schema. Source: apiserver `pkg/cel/{escaping,common/values}.go`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from oarlock.cluster.objects.extensions.structural import Structural

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_RESERVED: Final = frozenset(
    {
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"),
        *("let", "loop", "package", "namespace", "return", "var", "void", "while"),
    }
)
_ESCAPES: Final = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))
_KINDS: Final[Mapping[str, str]] = {
    "string": "string",
    "integer": "int",
    "number": "double",
    "boolean": "bool",
    "array": "list",
    "object": "map",
}
_FORMATS: Final[Mapping[str, str]] = {
    "date": "timestamp",
    "date-time": "timestamp",
    "duration": "duration",
    "byte": "bytes",
}
_DURATION: Final = re.compile(r"([\d.]+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE_DURATION: Final = re.compile(r"[-+]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+|[-+]?0")
_SECONDS: Final[Mapping[str, float]] = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1,
    "m": 60,
    "h": 3600,
}


def escaped(name: str) -> str | None:
    """The identifier that a property is accessed by; None for one that can't be."""
    if name in _RESERVED:
        return f"__{name}__"
    if not _IDENTIFIER.fullmatch(name):
        return None
    for sign, instead in _ESCAPES:
        name = name.replace(sign, instead)
    return name


def kind(schema: Structural) -> str:
    """The type of a place's values, by CEL's name."""
    if schema.int_or_string or not schema.type:
        return "dyn"
    if schema.type == "string":
        return _FORMATS.get(schema.limits.format, "string")
    return _KINDS.get(schema.type, "dyn")


def of(schema: Structural, given: Any, *, root: bool = False) -> Any:
    """A rule's own value in CEL's types.

    Of a `root` only kind, apiVersion and the names in its metadata are seen beside its fields. Times and durations
    below the value stay texts: the library takes them as whole variables only (decision 0020).
    """
    if isinstance(given, str) and kind(schema) in ("timestamp", "duration"):
        return _time(schema.limits.format, given)
    return _value(schema, given, root=root)


def _value(schema: Structural, given: Any, *, root: bool = False) -> Any:
    if isinstance(given, Mapping):
        return _map(schema, given, root=root or schema.embedded)
    if isinstance(given, list):
        return [_value(schema.items, one) if schema.items is not None else one for one in given]
    if schema.type == "number" and isinstance(given, int) and not isinstance(given, bool):
        return float(given)
    if schema.limits.format == "byte" and isinstance(given, str):
        return _bytes(given)
    return given


def _map(schema: Structural, given: Mapping[str, Any], *, root: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in given.items():
        known = schema.properties.get(name)
        if root and name in ("apiVersion", "kind"):
            found[name] = one
        elif root and name == "metadata":
            found[name] = {key: one[key] for key in ("name", "generateName") if key in one}
        elif known is not None:
            identifier = escaped(name)
            if identifier is not None:
                found[identifier] = _value(known, one)
        elif isinstance(schema.additional, Structural):
            found[name] = _value(schema.additional, one)
        elif schema.additional is True:
            found[name] = one
    return found


def duration(text: str) -> timedelta | None:
    """The duration that a text writes in Go's form; None for one that is none."""
    if not _WHOLE_DURATION.fullmatch(text):
        return None
    seconds = sum(float(count) * _SECONDS[unit] for count, unit in _DURATION.findall(text))
    return timedelta(seconds=-seconds if text.startswith("-") else seconds)


def _bytes(text: str) -> Any:
    """The bytes of a base64 text; one that doesn't parse stays a text, since the schema's own check has refused it."""
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return text


def _time(name: str, text: str) -> Any:
    """A time or duration; one that doesn't parse stays a text, for the same reason."""
    if name == "duration":
        return timedelta(seconds=sum(float(count) * _SECONDS[unit] for count, unit in _DURATION.findall(text)))
    try:
        return datetime.fromisoformat(f"{text}T00:00:00+00:00" if name == "date" else text.replace("Z", "+00:00"))
    except ValueError:
        return text
