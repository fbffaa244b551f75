"""JSON values as CEL sees them under a schema. Source: apiserver `pkg/cel/{escaping,common/values}.go`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from oarlock.cluster.objects.extensions.structural import Structural

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
RESERVED: Final = frozenset(
    {
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"),
        *("let", "loop", "package", "namespace", "return", "var", "void", "while"),
    }
)
"""Words of the language. A field that is called so is accessed as `__word__`, or as it is where the parser lets it."""
_ESCAPES: Final = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))
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


class Uint(int):
    """An unsigned number, which is another type than a signed one."""


class SetList(list[Any]):
    """A list whose order means nothing (list type `set`)."""


class MapList(list[Any]):
    """A list whose items have keys (list type `map`)."""

    def __init__(self, items: list[Any], keys: tuple[str, ...]) -> None:
        super().__init__(items)
        self.keys = keys

    def identity(self, item: Any) -> tuple[Any, ...]:
        """The values of an item's keys."""
        return tuple(item.get(key) for key in self.keys) if isinstance(item, Mapping) else (item,)


@dataclass(frozen=True, slots=True)
class Optional:
    """A value that may be missing."""

    value: Any = None
    is_there: bool = False


@dataclass(frozen=True, slots=True)
class TypeValue:
    """A type as a value, by CEL's name."""

    name: str


def escaped(name: str) -> str | None:
    """The identifier that a property is accessed by; None for one that can't be."""
    if name in RESERVED:
        return f"__{name}__"
    if not _IDENTIFIER.fullmatch(name):
        return None
    for sign, instead in _ESCAPES:
        name = name.replace(sign, instead)
    return name


def of(schema: Structural, given: Any, *, root: bool = False) -> Any:
    """A value in CEL's types; of a `root` only kind, apiVersion and the names in its metadata are seen for sure."""
    if isinstance(given, Mapping):
        return _map(schema, given, root=root or schema.embedded)
    if isinstance(given, list):
        return _list(schema, given)
    if schema.type == "number" and isinstance(given, int) and not isinstance(given, bool):
        return float(given)
    if isinstance(given, str) and schema.type == "string":
        read = _FORMATS.get(schema.limits.format)
        return given if read is None else read(given)
    return given


def _list(schema: Structural, given: list[Any]) -> list[Any]:
    found = [of(schema.items, one) if schema.items is not None else one for one in given]
    if schema.list_type == "set":
        return SetList(found)
    if schema.list_type == "map":
        return MapList(found, tuple(escaped(key) or key for key in schema.list_keys))
    return found


def _map(schema: Structural, given: Mapping[str, Any], *, root: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in given.items():
        known = schema.properties.get(name)
        if root and name in ("apiVersion", "kind"):
            found[name] = one
        elif root and name == "metadata" and isinstance(one, Mapping):
            found[name] = {key: one[key] for key in ("name", "generateName") if key in one}
        elif known is not None:
            identifier = escaped(name)
            if identifier is not None:
                found[identifier] = of(known, one)
        elif isinstance(schema.additional, Structural):
            found[name] = of(schema.additional, one)
    return found


def duration(text: str) -> timedelta | None:
    """The duration that a text writes in Go's form; None for one that is none."""
    if not _WHOLE_DURATION.fullmatch(text):
        return None
    try:
        seconds = sum(float(count) * _SECONDS[unit] for count, unit in _DURATION.findall(text))
        return timedelta(seconds=-seconds if text.startswith("-") else seconds)
    except OverflowError:
        return None


def timestamp(text: str) -> datetime | None:
    """The moment that a text writes as RFC 3339 has it; None for one that is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else None


# A text that doesn't parse stays a text, since the schema's own check has refused it.


def _bytes(text: str) -> Any:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return text


def _date(text: str) -> Any:
    return timestamp(f"{text}T00:00:00Z") or text


def _moment(text: str) -> Any:
    return timestamp(text.upper()) or text


def _duration(text: str) -> Any:
    found = duration(text)
    return text if found is None else found


_FORMATS: Final[Mapping[str, Callable[[str], Any]]] = {
    "byte": _bytes,
    "date": _date,
    "date-time": _moment,
    "duration": _duration,
}
