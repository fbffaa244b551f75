"""The language's own functions and its string functions, by the names of their overloads.

Source: cel-spec `doc/langdef.md`; cel-go `common/{stdlib,types}`, `ext/strings.go`. What isn't here is the library's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from operator import add, ge, gt, le, lt, mul, sub
from typing import Any, Final
from zoneinfo import ZoneInfo

from oarlock.cluster.objects.cel import values
from oarlock.cluster.objects.cel.equality import contains, equal, joined
from oarlock.cluster.objects.cel.values import Optional, Uint

_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 63) - 1
_UINT_MAX: Final = (1 << 64) - 1
_WHOLE: Final = re.compile(r"[+-]?\d+")
_OFFSET: Final = re.compile(r"([+-]?)(\d{2}):(\d{2})")


# Numbers


def _int(number: int) -> int:
    if not _INT_MIN <= number <= _INT_MAX:
        raise ValueError("integer overflow")
    return number


def _uint(number: int) -> Uint:
    if not 0 <= number <= _UINT_MAX:
        raise ValueError("unsigned integer overflow")
    return Uint(number)


def _of_ints(call: Callable[[int, int], int], checked: Callable[[int], int]) -> Callable[[int, int], int]:
    return lambda one, two: checked(call(one, two))


def _divided(one: int, two: int) -> int:
    if two == 0:
        raise ValueError("division by zero")
    return abs(one) // abs(two) * (1 if (one < 0) == (two < 0) else -1)


def _remainder(one: int, two: int) -> int:
    if two == 0:
        raise ValueError("modulus by zero")
    return one - two * _divided(one, two)


def _divided_doubles(one: float, two: float) -> float:
    if two:
        return one / two
    return math.nan if one == 0 or math.isnan(one) else math.copysign(math.inf, one) * math.copysign(1, two)


# Conversions


def _int_of_text(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return _int(int(text))


def _int_of_double(number: float) -> int:
    if not _INT_MIN < number < _INT_MAX:
        raise ValueError("integer overflow")
    return int(number)


def _uint_of_text(text: str) -> Uint:
    if not text.isdecimal():
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    return _uint(int(text))


def _double_of_text(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f'strconv.ParseFloat: parsing "{text}": invalid syntax') from None


def _bool_of_text(text: str) -> bool:
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def _text_of_double(number: float) -> str:
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    if math.isnan(number):
        return "NaN"
    return str(int(number)) if number.is_integer() and abs(number) < 1e21 else repr(number)


def _text_of_bytes(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError("invalid UTF-8 in bytes, cannot convert to string") from None


def _text_of_duration(one: timedelta) -> str:
    return f"{_text_of_double(one.total_seconds())}s"


def _text_of_timestamp(one: datetime) -> str:
    fraction = f".{one.microsecond:06d}".rstrip("0") if one.microsecond else ""
    return f"{one:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _timestamp(text: str) -> datetime:
    found = values.timestamp(text)
    if found is None:
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"')
    return found


def _duration(text: str) -> timedelta:
    found = values.duration(text)
    if found is None:
        raise ValueError(f'time: invalid duration "{text}"')
    return found


# Times


def _zone(name: str) -> Any:
    offset = _OFFSET.fullmatch(name)
    if offset is None:
        try:
            return ZoneInfo(name or "UTC")
        except (KeyError, ValueError, OSError):
            raise ValueError(f"unknown time zone {name}") from None
    length = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
    return timezone(-length if offset[1] == "-" else length)


def _in_zone(read: Callable[[datetime], int]) -> Callable[[datetime, str], int]:
    return lambda one, name: read(one.astimezone(_zone(name)))


_CALENDAR: Final[Mapping[str, Callable[[datetime], int]]] = {
    "FullYear": lambda one: one.year,
    "Month": lambda one: one.month - 1,
    "Date": lambda one: one.day,
    "DayOfMonth": lambda one: one.day - 1,
    "DayOfWeek": lambda one: one.isoweekday() % 7,
    "DayOfYear": lambda one: one.timetuple().tm_yday - 1,
    "Hours": lambda one: one.hour,
    "Minutes": lambda one: one.minute,
    "Seconds": lambda one: one.second,
    "Milliseconds": lambda one: one.microsecond // 1000,
}


def _units(unit: timedelta) -> Callable[[timedelta], int]:
    return lambda one: int(one / unit)


# Texts


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise ValueError(f"index out of range: {index}")
    return text[index : index + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if not part:
        return start
    if not 0 <= start <= len(text):
        raise ValueError(f"index out of range: {start}")
    return text.find(part, start)


def _last_index_of(text: str, part: str, start: int | None = None) -> int:
    if not part:
        return len(text) if start is None else start
    if start is None:
        return text.rfind(part)
    if not 0 <= start <= len(text):
        raise ValueError(f"index out of range: {start}")
    return text.rfind(part, 0, start + len(part))


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= len(text):
        raise ValueError(f"index out of range: {start}")
    if not 0 <= stop <= len(text):
        raise ValueError(f"index out of range: {stop}")
    if start > stop:
        raise ValueError(f"invalid substring range. start: {start}, end: {stop}")
    return text[start:stop]


def _split(text: str, by: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if by:
        return text.split(by, limit - 1 if limit > 0 else -1)
    chars = list(text)
    return [*chars[: limit - 1], "".join(chars[limit - 1 :])] if 0 < limit < len(chars) else chars


def _join(texts: list[str], by: str = "") -> str:
    if not all(isinstance(one, str) for one in texts):
        raise TypeError("no such overload")
    return by.join(texts)


def _lower(text: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in text)


def _upper(text: str) -> str:
    return "".join(char.upper() if char.isascii() else char for char in text)


# Maps


def _with_key(one: Mapping[Any, Any], key: Any, value: Any) -> dict[Any, Any]:
    if key in one:
        raise ValueError(f"insert failed: key {key} already exists")
    return {**one, key: value}


def _with_entries(one: Mapping[Any, Any], more: Mapping[Any, Any]) -> dict[Any, Any]:
    for key in more:
        if key in one:
            raise ValueError(f"insert failed: key {key} already exists")
    return {**one, **more}


# Optionals


def _some(value: Any) -> Optional:
    return Optional(value, is_there=True)


def _value(one: Optional) -> Any:
    if not one.is_there:
        raise ValueError("optional.none() dereference")
    return one.value


def _some_non_zero(value: Any) -> Optional:
    return _some(value) if value else Optional()


def _same(value: Any) -> Any:
    return value


_ORDER: Final = {"less": lt, "less_equals": le, "greater": gt, "greater_equals": ge}
_KINDS: Final = ("bool", "int64", "uint64", "double", "string", "bytes", "timestamp", "duration")
_NUMBERS: Final = ("int64", "uint64", "double")

FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    **{f"{name}_{kind}": call for name, call in _ORDER.items() for kind in _KINDS},
    **{f"{name}_{one}_{two}": call for name, call in _ORDER.items() for one in _NUMBERS for two in _NUMBERS},
    **{f"timestamp_to_{name}": read for name, read in _CALENDAR.items()},
    **{f"timestamp_to_{name}_with_tz": _in_zone(read) for name, read in _CALENDAR.items()},
    "logical_not": lambda one: not one,
    "equals": equal,
    "not_equals": lambda one, two: not equal(one, two),
    "in_list": lambda one, two: contains(two, one),
    "in_map": lambda one, two: one in two,
    "add_bytes": add,
    "add_double": add,
    "add_duration_duration": add,
    "add_duration_timestamp": add,
    "add_timestamp_duration": add,
    "add_int64": _of_ints(add, _int),
    "add_uint64": _of_ints(add, _uint),
    "add_list": joined,
    "add_string": add,
    "subtract_double": sub,
    "subtract_duration_duration": sub,
    "subtract_int64": _of_ints(sub, _int),
    "subtract_uint64": _of_ints(sub, _uint),
    "subtract_timestamp_duration": sub,
    "subtract_timestamp_timestamp": sub,
    "multiply_double": mul,
    "multiply_int64": _of_ints(mul, _int),
    "multiply_uint64": _of_ints(mul, _uint),
    "divide_double": _divided_doubles,
    "divide_int64": _of_ints(_divided, _int),
    "divide_uint64": _of_ints(_divided, _uint),
    "modulo_int64": _of_ints(_remainder, _int),
    "modulo_uint64": _of_ints(_remainder, _uint),
    "negate_double": lambda one: -one,
    "negate_int64": lambda one: _int(-one),
    **dict.fromkeys(("size_string", "size_bytes", "size_list", "size_map"), len),
    **dict.fromkeys(("string_size", "bytes_size", "list_size", "map_size"), len),
    **{f"{kind}_to_{kind}": _same for kind in (*_KINDS, "bool")},
    "to_dyn": _same,
    "string_to_bool": _bool_of_text,
    "string_to_bytes": str.encode,
    "int64_to_double": float,
    "uint64_to_double": float,
    "string_to_double": _double_of_text,
    "int64_to_duration": lambda one: timedelta(microseconds=one / 1000),
    "string_to_duration": _duration,
    "double_to_int64": _int_of_double,
    "duration_to_int64": lambda one: int(one.total_seconds() * 1_000_000_000),
    "string_to_int64": _int_of_text,
    "timestamp_to_int64": lambda one: int(one.timestamp()),
    "uint64_to_int64": lambda one: _int(int(one)),
    "bool_to_string": lambda one: "true" if one else "false",
    "bytes_to_string": _text_of_bytes,
    "double_to_string": _text_of_double,
    "duration_to_string": _text_of_duration,
    "int64_to_string": str,
    "uint64_to_string": lambda one: str(int(one)),
    "timestamp_to_string": _text_of_timestamp,
    "int64_to_timestamp": lambda one: datetime.fromtimestamp(one, UTC),
    "string_to_timestamp": _timestamp,
    "double_to_uint64": lambda one: _uint(_int_of_double(one)),
    "int64_to_uint64": _uint,
    "string_to_uint64": _uint_of_text,
    "contains_string": lambda text, part: part in text,
    "ends_with_string": str.endswith,
    "starts_with_string": str.startswith,
    "duration_to_hours": _units(timedelta(hours=1)),
    "duration_to_minutes": _units(timedelta(minutes=1)),
    "duration_to_seconds": _units(timedelta(seconds=1)),
    "duration_to_milliseconds": _units(timedelta(milliseconds=1)),
    "@mapInsert_map_key_value": _with_key,
    "@mapInsert_map_map": _with_entries,
    "optional_of": _some,
    "optional_ofNonZeroValue": _some_non_zero,
    "optional_none": Optional,
    "optional_hasValue": lambda one: one.is_there,
    "optional_value": _value,
    "optional_or_optional": lambda one, two: one if one.is_there else two,
    "optional_orValue_value": lambda one, two: one.value if one.is_there else two,
    "string_char_at_int": _char_at,
    "string_index_of_string": _index_of,
    "string_index_of_string_int": _index_of,
    "string_last_index_of_string": _last_index_of,
    "string_last_index_of_string_int": _last_index_of,
    "string_lower_ascii": _lower,
    "string_upper_ascii": _upper,
    "string_trim": str.strip,
    "string_replace_string_string": str.replace,
    "string_replace_string_string_int": str.replace,
    "string_split_string": _split,
    "string_split_string_int": _split,
    "string_substring_int": _substring,
    "string_substring_int_int": _substring,
    "list_join": _join,
    "list_join_string": _join,
}
