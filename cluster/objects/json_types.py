"""What Go calls the types of decoded JSON, for messages that people know from upstream."""

from __future__ import annotations

from typing import Final

OBJECT: Final = "map[string]interface {}"
LIST: Final = "[]interface {}"

_GO_TYPES: Final[tuple[tuple[type, str], ...]] = (
    (bool, "bool"),
    (int, "int64"),
    (float, "float64"),
    (str, "string"),
    (dict, OBJECT),
    (list, LIST),
)
_JSON_NAMES: Final[tuple[tuple[type, str], ...]] = (
    (bool, "bool"),
    (int, "number"),
    (float, "number"),
    (str, "string"),
    (dict, "object"),
    (list, "array"),
)


def go_type(value: object) -> str:
    """The Go type a decoded value has, e.g. `map[string]interface {}`."""
    return _first(_GO_TYPES, value) or "<nil>"


def json_name(value: object) -> str:
    """What Go's decoder calls a value in its errors: object, array, string, number, bool, null."""
    return _first(_JSON_NAMES, value) or "null"


def _first(table: tuple[tuple[type, str], ...], value: object) -> str:
    return next((name for kind, name in table if isinstance(value, kind)), "")
