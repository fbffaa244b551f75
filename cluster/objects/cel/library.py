"""Kubernetes' own functions, beside those that come with the language.

Source: apiserver `pkg/cel/library/{lists,regex,urls,quantity,ip,cidr,semverlib}.go` and CEL's sets extension.
Quantities, versions, URLs, addresses and ranges are maps that say what they are.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from oarlock.cluster.objects import quantity
from oarlock.cluster.objects.cel import semver
from oarlock.cluster.objects.extensions import patterns
from oarlock.cluster.objects.quantity import Quantity

Value = Mapping[str, Any]
_KIND: Final = "kind"


@dataclass(frozen=True, slots=True)
class Function:
    """One overload: types it takes and gives, by CEL's names in lower case. A member is called on its first value."""

    name: str
    takes: tuple[str, ...]
    gives: str
    call: Callable[..., Any]
    is_member: bool = True


def functions() -> Iterator[tuple[str, list[Function]]]:
    """All functions, overloads of a name together."""
    by_name: dict[str, list[Function]] = {}
    for one in _FUNCTIONS:
        by_name.setdefault(one.name, []).append(one)
    yield from by_name.items()


# Lists and sets


def _is_sorted(values: Sequence[Any]) -> bool:
    return all(one <= other for one, other in pairwise(values))


def _least(values: Sequence[Any]) -> Any:
    if not values:
        raise ValueError("min called on empty list")
    return min(values)


def _greatest(values: Sequence[Any]) -> Any:
    if not values:
        raise ValueError("max called on empty list")
    return max(values)


def _contains(values: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(one in values for one in others)


def _same(values: Sequence[Any], others: Sequence[Any]) -> bool:
    return _contains(values, others) and _contains(others, values)


def _meet(values: Sequence[Any], others: Sequence[Any]) -> bool:
    return any(one in values for one in others)


# Regular expressions


def _find(text: str, pattern: str) -> str:
    return next(iter(patterns.found(pattern, text)), "")


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = patterns.found(pattern, text)
    return found if limit < 0 else found[:limit]


# Quantities


def _quantity(text: str) -> Value:
    return {_KIND: "quantity", "text": quantity.canonical(text)}


def _is_quantity(text: str) -> bool:
    try:
        quantity.parse(text)
    except quantity.QuantityError:
        return False
    return True


def _amount(value: Value | int) -> Quantity:
    if isinstance(value, int):
        return quantity.parse(value)
    if value.get(_KIND) != "quantity":
        raise TypeError("no such overload")
    return quantity.parse(value["text"])


def _add(value: Value, other: Value | int) -> Value:
    return {_KIND: "quantity", "text": str(_amount(value) + _amount(other))}


def _sub(value: Value, other: Value | int) -> Value:
    return {_KIND: "quantity", "text": str(_amount(value) - _amount(other))}


def _compare(value: Value, other: Value) -> int:
    if value.get(_KIND) == semver.KIND:
        return semver.compare(value, other)
    one, two = _amount(value), _amount(other)
    return (two < one) - (one < two)


def _as_integer(value: Value) -> int:
    if not _is_integer(value):
        raise ValueError("cannot convert value to integer")
    return _amount(value).whole()


def _sign(value: Value) -> int:
    nano = _amount(value).nano
    return (nano > 0) - (nano < 0)


def _is_integer(value: Value) -> bool:
    amount = _amount(value)
    return amount.nano % quantity.NANO == 0 and -(1 << 63) <= amount.whole() < 1 << 63


# URLs


def _split(text: str) -> SplitResult:
    found = urlsplit(text)
    if not (found.scheme and found.netloc) and not text.startswith("/"):
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    _ = found.port  # raises for one that is no number
    return found


def _is_url(text: str) -> bool:
    try:
        _split(text)
    except ValueError:
        return False
    return True


def _url(text: str) -> Value:
    _split(text)
    return {_KIND: "url", "text": text}


def _of_url(read: Callable[[SplitResult], Any]) -> Callable[[Value], Any]:
    def call(value: Value) -> Any:
        if value.get(_KIND) != "url":
            raise TypeError("no such overload")
        return read(_split(value["text"]))

    return call


def _host(found: SplitResult) -> str:
    return found.netloc.rpartition("@")[2]


def _hostname(found: SplitResult) -> str:
    return _host(found) if not found.port else _host(found).rpartition(":")[0]


# Addresses and ranges


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    found = ipaddress.ip_address(text)
    if "%" in text or (found.version == 6 and found.ipv4_mapped is not None):
        raise ValueError(f'IP Address "{text}" parse error during conversion from string')
    return found


def _range(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if "/" not in text:
        raise ValueError(f'network address parse error during conversion from string: "{text}"')
    return ipaddress.ip_network(text, strict=False)


def _parses(read: Callable[[str], Any]) -> Callable[[str], bool]:
    def call(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return call


def _ip(value: Any) -> Value:
    if isinstance(value, str):
        return {_KIND: "ip", "text": str(_address(value))}
    return {_KIND: "ip", "text": str(_range(value["text"]).network_address)}


def _cidr(text: str) -> Value:
    _range(text)
    return {_KIND: "cidr", "text": text}


def _of_ip(read: Callable[[Any], Any]) -> Callable[[Value], Any]:
    def call(value: Value) -> Any:
        if value.get(_KIND) != "ip":
            raise TypeError("no such overload")
        return read(_address(value["text"]))

    return call


def _in_range(value: Value, other: Any) -> bool:
    return _address(other if isinstance(other, str) else other["text"]) in _range(value["text"])


def _has_range(value: Value, other: Any) -> bool:
    inner, outer = _range(other if isinstance(other, str) else other["text"]), _range(value["text"])
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _masked(value: Value) -> Value:
    return {_KIND: "cidr", "text": str(_range(value["text"]))}


_FUNCTIONS: Final = (
    Function("isSorted", ("list",), "bool", _is_sorted),
    Function("sum", ("list",), "dyn", sum),
    Function("min", ("list",), "dyn", _least),
    Function("max", ("list",), "dyn", _greatest),
    Function("sets.contains", ("list", "list"), "bool", _contains, is_member=False),
    Function("sets.equivalent", ("list", "list"), "bool", _same, is_member=False),
    Function("sets.intersects", ("list", "list"), "bool", _meet, is_member=False),
    Function("find", ("string", "string"), "string", _find),
    Function("findAll", ("string", "string"), "list", _find_all),
    Function("findAll", ("string", "string", "int"), "list", _find_all),
    Function("isQuantity", ("string",), "bool", _is_quantity, is_member=False),
    Function("quantity", ("string",), "map", _quantity, is_member=False),
    Function("sign", ("map",), "int", _sign),
    Function("isInteger", ("map",), "bool", _is_integer),
    Function("asInteger", ("map",), "int", _as_integer),
    Function("asApproximateFloat", ("map",), "double", lambda value: _amount(value).nano / quantity.NANO),
    Function("add", ("map", "map"), "map", _add),
    Function("add", ("map", "int"), "map", _add),
    Function("sub", ("map", "map"), "map", _sub),
    Function("sub", ("map", "int"), "map", _sub),
    Function("compareTo", ("map", "map"), "int", _compare),
    Function("isGreaterThan", ("map", "map"), "bool", lambda one, other: _compare(one, other) > 0),
    Function("isLessThan", ("map", "map"), "bool", lambda one, other: _compare(one, other) < 0),
    Function("isSemver", ("string",), "bool", semver.is_version, is_member=False),
    Function("isSemver", ("string", "bool"), "bool", semver.is_version, is_member=False),
    Function("semver", ("string",), "map", semver.version, is_member=False),
    Function("semver", ("string", "bool"), "map", semver.version, is_member=False),
    Function("major", ("map",), "int", lambda value: semver.number(value, 0)),
    Function("minor", ("map",), "int", lambda value: semver.number(value, 1)),
    Function("patch", ("map",), "int", lambda value: semver.number(value, 2)),
    Function("isURL", ("string",), "bool", _is_url, is_member=False),
    Function("url", ("string",), "map", _url, is_member=False),
    Function("getScheme", ("map",), "string", _of_url(lambda found: found.scheme)),
    Function("getHost", ("map",), "string", _of_url(_host)),
    Function("getHostname", ("map",), "string", _of_url(_hostname)),
    Function("getPort", ("map",), "string", _of_url(lambda found: str(found.port or ""))),
    Function("getEscapedPath", ("map",), "string", _of_url(lambda found: found.path)),
    Function("isIP", ("string",), "bool", _parses(_address), is_member=False),
    Function("ip", ("string",), "map", _ip, is_member=False),
    Function("ip", ("map",), "map", _ip),
    Function("family", ("map",), "int", _of_ip(lambda found: found.version)),
    Function("isUnspecified", ("map",), "bool", _of_ip(lambda found: found.is_unspecified)),
    Function("isLoopback", ("map",), "bool", _of_ip(lambda found: found.is_loopback)),
    Function("isLinkLocalUnicast", ("map",), "bool", _of_ip(lambda found: found.is_link_local)),
    Function("isGlobalUnicast", ("map",), "bool", _of_ip(lambda found: not _is_special(found))),
    Function("isCIDR", ("string",), "bool", _parses(_range), is_member=False),
    Function("cidr", ("string",), "map", _cidr, is_member=False),
    Function("containsIP", ("map", "string"), "bool", _in_range),
    Function("containsIP", ("map", "map"), "bool", _in_range),
    Function("containsCIDR", ("map", "string"), "bool", _has_range),
    Function("containsCIDR", ("map", "map"), "bool", _has_range),
    Function("masked", ("map",), "map", _masked),
    Function("prefixLength", ("map",), "int", lambda value: _range(value["text"]).prefixlen),
)


def _is_special(found: Any) -> bool:
    return bool(found.is_unspecified or found.is_loopback or found.is_multicast or found.is_link_local)
