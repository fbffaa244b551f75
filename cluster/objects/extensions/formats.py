"""The string formats that a schema may ask for, each a function that tells whether a text has it.

Source: kube-openapi `pkg/validation/strfmt` and apiextensions `pkg/apiserver/validation/formats.go`. A format that
isn't here asks for nothing.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final
from urllib.parse import urlsplit

_UUID: Final = "[0-9a-f]{8}-?[0-9a-f]{4}-?%s[0-9a-f]{3}-?%s[0-9a-f]{3}-?[0-9a-f]{12}"
_TIME: Final = r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})"
_DURATION: Final = r"[-+]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+|[-+]?0"
_UNITS: Final = "ns|nanos?|us|µs|micros?|ms|millis?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?"
_WORDY_DURATION: Final = rf"\s*(\d+\s*({_UNITS})\s*)+"


def _matches(pattern: str, flags: int = re.IGNORECASE) -> Callable[[str], bool]:
    whole = re.compile(f"(?:{pattern})" + r"\Z", flags)
    return lambda text: whole.match(text) is not None


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _network(text: str) -> object:
    if "/" not in text:
        raise ValueError(text)
    return ipaddress.ip_network(text, strict=False)


def _uri(text: str) -> bool:
    return text.startswith("/") or bool(urlsplit(text).scheme)


FORMATS: Final[Mapping[str, Callable[[str], bool]]] = {
    "bsonobjectid": _matches("[0-9a-f]{24}"),
    "byte": _parses(lambda text: base64.b64decode(text, validate=True)),
    "cidr": _parses(_network),
    "date": _parses(date.fromisoformat),
    "datetime": _matches(_TIME, 0),
    "date-time": _matches(_TIME, 0),
    "duration": lambda text: bool(_matches(_DURATION)(text) or _matches(_WORDY_DURATION)(text)),
    "email": _matches(r"[^@\s]+@[^@\s]+"),
    "hexcolor": _matches("#?([0-9a-f]{3}|[0-9a-f]{6})"),
    "hostname": lambda text: (
        len(text) <= 255 and _matches(r"[a-z0-9]([-a-z0-9]{0,62})(\.[a-z0-9]([-a-z0-9]{0,62}))*\.?")(text)
    ),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "mac": _matches("([0-9a-f]{2}[:-]){5}[0-9a-f]{2}"),
    "uri": _uri,
    "uuid": _matches(_UUID % ("[0-9a-f]", "[0-9a-f]")),
    "uuid3": _matches(_UUID % ("3", "[0-9a-f]")),
    "uuid4": _matches(_UUID % ("4", "[89ab]")),
    "uuid5": _matches(_UUID % ("5", "[89ab]")),
}
