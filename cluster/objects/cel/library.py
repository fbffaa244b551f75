"""Kubernetes' own functions and CEL's sets, by the names of their overloads.

Source: apiserver `pkg/cel/library/{lists,regex,urls,quantity,ip,cidr,semverlib,format}.go`; cel-go `ext/sets.go`.
Quantities, URLs, addresses, ranges, versions and formats are values of classes of their own.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import total_ordering
from itertools import pairwise, zip_longest
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from oarlock.cluster.objects import names, quantity
from oarlock.cluster.objects.cel.equality import equal
from oarlock.cluster.objects.cel.values import Optional
from oarlock.cluster.objects.extensions import patterns
from oarlock.cluster.objects.extensions.formats import FORMATS
from oarlock.cluster.objects.quantity import Quantity

INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1

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


def _sum(values: Sequence[Any]) -> Any:
    total = values[0] if values else 0
    for one in values[1:]:
        total = total + one
    return total


def _index_of(values: Sequence[Any], wanted: Any) -> int:
    return next((index for index, one in enumerate(values) if equal(one, wanted)), -1)


def _last_index_of(values: Sequence[Any], wanted: Any) -> int:
    return next((index for index in range(len(values) - 1, -1, -1) if equal(values[index], wanted)), -1)


def _contains(values: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(_index_of(values, one) >= 0 for one in others)


def _same(values: Sequence[Any], others: Sequence[Any]) -> bool:
    return _contains(values, others) and _contains(others, values)


def _meet(values: Sequence[Any], others: Sequence[Any]) -> bool:
    return any(_index_of(values, one) >= 0 for one in others)


# Regular expressions


def _find(text: str, pattern: str) -> str:
    return next(iter(patterns.found(pattern, text)), "")


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = patterns.found(pattern, text)
    return found if limit < 0 else found[:limit]


# Quantities


def _quantity(text: str) -> Quantity:
    try:
        return quantity.parse(text)
    except quantity.QuantityError:
        told = r"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        raise ValueError(told) from None


def _is_quantity(text: str) -> bool:
    try:
        quantity.parse(text)
    except quantity.QuantityError:
        return False
    return True


def _compare(one: Any, two: Any) -> int:
    return int(two < one) - int(one < two)


def _as_integer(value: Quantity) -> int:
    if not _is_integer(value):
        raise ValueError("cannot convert value to integer")
    return value.whole()


def _sign(value: Quantity) -> int:
    return (value.nano > 0) - (value.nano < 0)


def _is_integer(value: Quantity) -> bool:
    return value.nano % quantity.NANO == 0 and INT_MIN <= value.whole() <= INT_MAX


# URLs


@dataclass(frozen=True, slots=True)
class Url:
    """A URL with a scheme, or an absolute path."""

    parts: SplitResult


def _url(text: str) -> Url:
    found = urlsplit(text)
    if not found.scheme and not text.startswith("/"):
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    _ = found.port  # raises for one that is no number
    return Url(found)


def _host(url: Url) -> str:
    return url.parts.netloc.rpartition("@")[2]


def _port(url: Url) -> str:
    return _host(url).rpartition("]")[2].rpartition(":")[2] if ":" in _host(url).rpartition("]")[2] else ""


def _hostname(url: Url) -> str:
    return (_host(url).removesuffix(f":{_port(url)}") if _port(url) else _host(url)).strip("[]")


def _query(url: Url) -> dict[str, list[str]]:
    return parse_qs(url.parts.query, keep_blank_values=True)


def _escaped_path(url: Url) -> str:
    return url.parts.path if "%" in url.parts.path else unquote(url.parts.path)


# Addresses and ranges

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Range:
    """A range of addresses as it was written: any address in it, and how many bits count."""

    address: Address
    network: ipaddress.IPv4Network | ipaddress.IPv6Network


def _address(text: str) -> Address:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        why = f'ParseAddr("{text}"): unable to parse IP'
        raise ValueError(f'IP Address "{text}" parse error during conversion from string: {why}') from None
    if "%" in text:
        raise ValueError(f'IP address "{text}" with zone value is not allowed')
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        raise ValueError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return found


def _is_canonical(text: str) -> bool:
    return str(_address(text)) == text


def _range(text: str) -> Range:
    try:
        if "/" not in text:
            raise ValueError("no bits")
        network = ipaddress.ip_network(text, strict=False)
        return Range(_address(text.partition("/")[0]), network)
    except ValueError:
        raise ValueError(f'network address parse error during conversion from string: "{text}"') from None


def _parses(read: Callable[..., Any]) -> Callable[..., bool]:
    def call(*args: Any) -> bool:
        try:
            read(*args)
        except ValueError:
            return False
        return True

    return call


def _in_range(value: Range, other: Address) -> bool:
    return other in value.network


def _has_range(value: Range, other: Range) -> bool:
    inner, outer = other.network, value.network
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _range_text(value: Range) -> str:
    return f"{value.address}/{value.network.prefixlen}"


def _is_local_multicast(found: Address) -> bool:
    local = ipaddress.ip_network("224.0.0.0/24") if found.version == 4 else ipaddress.ip_network("ff02::/16")
    return found in local


def _is_global(found: Address) -> bool:
    broadcast = str(found) == "255.255.255.255"
    return not (found.is_unspecified or found.is_loopback or found.is_multicast or found.is_link_local or broadcast)


# Versions

_SEMVER: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][\dA-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][\dA-Za-z-]*))*))?"
    r"(?:\+([\dA-Za-z-]+(?:\.[\dA-Za-z-]+)*))?"
)


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A semantic version; what was built from is no part of its order."""

    numbers: tuple[int, int, int]
    before: tuple[str, ...]

    def __lt__(self, other: Version) -> bool:
        if self.numbers != other.numbers:
            return self.numbers < other.numbers
        if not self.before or not other.before:
            return bool(self.before) and not other.before
        for one, two in zip_longest(self.before, other.before):
            if one != two:
                return one is None or (two is not None and _precedes(one, two))
        return False


def _precedes(one: str, two: str) -> bool:
    if one.isdigit() and two.isdigit():
        return int(one) < int(two)
    return one.isdigit() if one.isdigit() != two.isdigit() else one < two


def version(text: str, normalize: bool = False) -> Version:
    """Return the version that a text tells. Raises ValueError."""
    found = _SEMVER.fullmatch(_normalized(text) if normalize else text)
    if found is None:
        raise ValueError(f"No Major.Minor.Patch elements found: {text!r}" if text else "Version string empty")
    major, minor, patch = (int(found[index]) for index in (1, 2, 3))
    return Version((major, minor, patch), tuple(found[4].split(".")) if found[4] else ())


def _normalized(text: str) -> str:
    """Without `v` and leading zeros, with minor and patch."""
    parts = text.removeprefix("v").split(".", 2)
    for index, part in enumerate(parts):
        if len(part) > 1:
            stripped = part.lstrip("0")
            parts[index] = stripped if stripped[:1].isdigit() else f"0{stripped}"
    if len(parts) < 3 and ("+" in parts[-1] or "-" in parts[-1]):
        raise ValueError("short version cannot contain PreRelease/Build meta data")
    return ".".join([*parts, "0", "0"][: max(3, len(parts))])


# Formats


@dataclass(frozen=True, slots=True)
class NamedFormat:
    """A form that texts may have."""

    name: str


def _prefix(check: Callable[[str], Sequence[str]]) -> Callable[[str], Sequence[str]]:
    """Judge what a name begins with: it may end in a dash."""
    return lambda text: check(f"{text[:-1]}a" if text.endswith("-") else text)


def _formatted(name: str, told: str) -> Callable[[str], Sequence[str]]:
    return lambda text: () if FORMATS[name](text) else (told,)


def _uri(text: str) -> Sequence[str]:
    try:
        _url(text)
    except ValueError:
        return (f'parse "{text}": invalid URI for request',)
    return ()


_NAMED: Final[Mapping[str, Callable[[str], Sequence[str]]]] = {
    "dns1123Label": names.dns_label,
    "dns1123Subdomain": names.dns_subdomain,
    "dns1035Label": names.dns_1035_label,
    "qualifiedName": names.qualified_name,
    "dns1123LabelPrefix": _prefix(names.dns_label),
    "dns1123SubdomainPrefix": _prefix(names.dns_subdomain),
    "dns1035LabelPrefix": _prefix(names.dns_1035_label),
    "labelValue": names.label_value,
    "uri": _uri,
    "uuid": _formatted("uuid", "does not match the UUID format"),
    "byte": _formatted("byte", "invalid base64"),
    "date": _formatted("date", "invalid date"),
    "datetime": _formatted("datetime", "invalid datetime"),
}


def _format_named(name: str) -> Optional:
    return Optional(NamedFormat(name), is_there=True) if name in _NAMED else Optional()


def _validate(value: NamedFormat, text: str) -> Optional:
    wrong = list(_NAMED[value.name](text))
    return Optional(wrong, is_there=True) if wrong else Optional()


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    **{
        f"list_{kind}_{name}": call
        for kind in ("int", "uint", "double", "bool", "string", "bytes", "timestamp", "duration")
        for name, call in (
            ("is_sorted_bool", _is_sorted),
            (f"min_{kind}", _least),
            (f"max_{kind}", _greatest),
            (f"sum_{kind}", _sum),
        )
    },
    "list_a_index_of_int": _index_of,
    "list_a_last_index_of_int": _last_index_of,
    "list_sets_contains_list": _contains,
    "list_sets_equivalent_list": _same,
    "list_sets_intersects_list": _meet,
    "string_find_string": _find,
    "string_find_all_string": _find_all,
    "string_find_all_string_int": _find_all,
    "string_to_quantity": _quantity,
    "is_quantity_string": _is_quantity,
    "quantity_sign": _sign,
    "quantity_is_integer": _is_integer,
    "quantity_get_int": _as_integer,
    "quantity_get_float": lambda value: value.nano / quantity.NANO,
    "quantity_add": lambda one, two: one + two,
    "quantity_add_int": lambda one, two: one + quantity.parse(two),
    "quantity_sub": lambda one, two: one - two,
    "quantity_sub_int": lambda one, two: one - quantity.parse(two),
    "quantity_compare_to": _compare,
    "quantity_is_greater_than": lambda one, two: two < one,
    "quantity_is_less_than": lambda one, two: one < two,
    "string_to_url": _url,
    "is_url_string": _parses(_url),
    "url_get_scheme": lambda url: url.parts.scheme,
    "url_get_host": _host,
    "url_get_hostname": _hostname,
    "url_get_port": _port,
    "url_get_escaped_path": _escaped_path,
    "url_get_query": _query,
    "string_to_ip": _address,
    "is_ip": _parses(_address),
    "ip_is_canonical": _is_canonical,
    "ip_to_string": str,
    "family": lambda found: found.version,
    "is_unspecified": lambda found: found.is_unspecified,
    "is_loopback": lambda found: found.is_loopback,
    "is_link_local_multicast": _is_local_multicast,
    "is_link_local_unicast": lambda found: found.is_link_local,
    "is_global_unicast": _is_global,
    "string_to_cidr": _range,
    "is_cidr": _parses(_range),
    "cidr_to_string": _range_text,
    "cidr_contains_ip_string": lambda one, two: _in_range(one, _address(two)),
    "cidr_contains_ip_ip": _in_range,
    "cidr_contains_cidr_string": lambda one, two: _has_range(one, _range(two)),
    "cidr_contains_cidr": _has_range,
    "cidr_ip": lambda one: one.address,
    "cidr_masked": lambda one: Range(one.network.network_address, one.network),
    "cidr_prefix_length": lambda one: one.network.prefixlen,
    "string_to_semver": version,
    "string_bool_to_semver": version,
    "is_semver_string": _parses(version),
    "is_semver_string_bool": _parses(version),
    "semver_major": lambda one: one.numbers[0],
    "semver_minor": lambda one: one.numbers[1],
    "semver_patch": lambda one: one.numbers[2],
    "semver_compare_to": _compare,
    "semver_is_greater_than": lambda one, two: two < one,
    "semver_is_less_than": lambda one, two: one < two,
    "format_named": _format_named,
    "format_validate": _validate,
    **{f"format_{name}": (lambda name=name: NamedFormat(name)) for name in _NAMED},
}
