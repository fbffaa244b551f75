"""The rules of names, labels, ports and other short texts; each returns what is wrong, in upstream's words.

Source: apimachinery `util/validation/validation.go`. An empty list means that the text is fine.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final

LABEL_MAX: Final = 63
SUBDOMAIN_MAX: Final = 253
_LABEL_FORM: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_FORM: Final = _LABEL_FORM + r"(\." + _LABEL_FORM + ")*"
_UNDERSCORED_LABEL: Final = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_UNDERSCORED_FORM: Final = _UNDERSCORED_LABEL + r"(\." + _UNDERSCORED_LABEL + ")*"
_UNDERSCORED: Final = re.compile(_UNDERSCORED_FORM + r"\Z")
_QUALIFIED_FORM: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_DNS_1035_FORM: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_CONFIG_KEY_FORM: Final = "[-._a-zA-Z0-9]+"
_ENV_FORM: Final = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_LABEL: Final = re.compile(_LABEL_FORM + r"\Z")
_SUBDOMAIN: Final = re.compile(_SUBDOMAIN_FORM + r"\Z")
_DNS_1035: Final = re.compile(_DNS_1035_FORM + r"\Z")
_QUALIFIED: Final = re.compile(_QUALIFIED_FORM + r"\Z")
_LABEL_VALUE: Final = re.compile(f"({_QUALIFIED_FORM})?" + r"\Z")
_CONFIG_KEY: Final = re.compile(_CONFIG_KEY_FORM + r"\Z")
_PORT_CHARS: Final = re.compile(r"[-a-z0-9]+\Z")
_PERCENT: Final = re.compile(r"[0-9]+%\Z")

_LABEL_RULE: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character"
)
_SUBDOMAIN_RULE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character"
)
_DNS_1035_RULE: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character"
)
_QUALIFIED_RULE: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_LABEL_VALUE_RULE: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character"
)
_CONFIG_KEY_RULE: Final = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
INCLUSIVE: Final = "must be between {} and {}, inclusive"
NON_EMPTY: Final = "must be non-empty"


def _worded(rule: str, form: str, *examples: str) -> str:
    """Upstream's way to end a rule: examples and the regular expression."""
    listed = " or ".join(f"'{one}', " for one in examples)
    return f"{rule} (e.g. {listed}regex used for validation is '{form}')"


def no_longer_than(count: int, unit: str = "characters") -> str:
    """The message for a text that is too long."""
    return f"must be no more than {count} {unit}"


@lru_cache(maxsize=4096)
def dns_label(text: str) -> tuple[str, ...]:
    """A DNS label: at most 63 of a-z, 0-9 and inner dashes."""
    errors = [no_longer_than(LABEL_MAX)] if len(text) > LABEL_MAX else []
    if _SUBDOMAIN.match(text) and "." in text:
        errors.append("must not contain dots")
    elif not _LABEL.match(text):
        errors.append(_worded(_LABEL_RULE, _LABEL_FORM, "my-name", "123-abc"))
    return tuple(errors)


@lru_cache(maxsize=4096)
def dns_subdomain(text: str) -> tuple[str, ...]:
    """A DNS subdomain: labels with dots between, at most 253 in all."""
    return _subdomain(text, "characters")


def long_name(text: str) -> tuple[str, ...]:
    """The same, told of in bytes, as upstream's declared rules do."""
    return _subdomain(text, "bytes")


def _subdomain(text: str, unit: str) -> tuple[str, ...]:
    errors = [no_longer_than(SUBDOMAIN_MAX, unit)] if len(text) > SUBDOMAIN_MAX else []
    if not _SUBDOMAIN.match(text):
        errors.append(_worded(_SUBDOMAIN_RULE, _SUBDOMAIN_FORM, "example.com"))
    return tuple(errors)


def wildcard_subdomain(text: str) -> tuple[str, ...]:
    """A subdomain below a wildcard: `*.example.com`."""
    if re.match(r"\*\." + _SUBDOMAIN_FORM + r"\Z", text):
        return ()
    rule = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
        "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
    )
    return (_worded(rule, r"\*\." + _SUBDOMAIN_FORM, "*.example.com"),)


def domain_prefixed(text: str) -> tuple[str, ...]:
    """A path below a domain: `example.com/controller`."""
    domain, _, rest = text.partition("/")
    if not rest:
        return ('must be a domain-prefixed path (such as "acme.io/foo")',)
    errors = list(dns_subdomain(domain))
    if not re.match(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+\Z", rest):
        errors.append(_worded("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", "acme.io/foo"))
    return tuple(errors)


def search_domain(text: str) -> tuple[str, ...]:
    """A search path of the resolver: a subdomain that may have underscores and end in a dot; a lone dot is fine."""
    if text == ".":
        return ()
    text = text.removesuffix(".")
    errors = [no_longer_than(SUBDOMAIN_MAX)] if len(text) > SUBDOMAIN_MAX else []
    if not _UNDERSCORED.match(text):
        rule = _SUBDOMAIN_RULE.replace("characters, '-'", "characters, '_', '-'")
        errors.append(_worded(rule, _UNDERSCORED_FORM, "example.com"))
    return tuple(errors)


def dns_1035_label(text: str) -> tuple[str, ...]:
    """A DNS label that starts with a letter (ports' and older services' names)."""
    errors = [no_longer_than(LABEL_MAX)] if len(text) > LABEL_MAX else []
    if not _DNS_1035.match(text):
        errors.append(_worded(_DNS_1035_RULE, _DNS_1035_FORM, "my-name", "abc-123"))
    return tuple(errors)


@lru_cache(maxsize=4096)
def qualified_name(text: str) -> tuple[str, ...]:
    """A label or annotation key: an optional DNS prefix, a slash, a name."""
    prefix, slash, name = text.rpartition("/")
    errors: list[str] = []
    if slash:
        if "/" in prefix:
            message = _worded(f"a qualified name {_QUALIFIED_RULE}", _QUALIFIED_FORM, "MyName", "my.name", "123-abc")
            return (f"{message} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",)
        if not prefix:
            errors.append(f"prefix part {NON_EMPTY}")
        else:
            errors.extend(f"prefix part {message}" for message in _subdomain(prefix, "bytes"))
    if not name:
        errors.append(f"name part {NON_EMPTY}")
    elif len(name) > LABEL_MAX:
        errors.append("name part " + no_longer_than(LABEL_MAX, "bytes"))
    if not _QUALIFIED.match(name):
        errors.append("name part " + _worded(_QUALIFIED_RULE, _QUALIFIED_FORM, "MyName", "my.name", "123-abc"))
    return tuple(errors)


@lru_cache(maxsize=4096)
def label_value(text: str) -> tuple[str, ...]:
    """A label's value: empty, or at most 63 of the usual characters."""
    errors = [no_longer_than(LABEL_MAX, "bytes")] if len(text) > LABEL_MAX else []
    if not _LABEL_VALUE.match(text):
        errors.append(_worded(_LABEL_VALUE_RULE, f"({_QUALIFIED_FORM})?", "MyValue", "my_value", "12345"))
    return tuple(errors)


@lru_cache(maxsize=4096)
def config_key(text: str) -> tuple[str, ...]:
    """A key of a ConfigMap or Secret."""
    errors = [no_longer_than(SUBDOMAIN_MAX)] if len(text) > SUBDOMAIN_MAX else []
    if not _CONFIG_KEY.match(text):
        errors.append(_worded(_CONFIG_KEY_RULE, _CONFIG_KEY_FORM, "key.name", "KEY_NAME", "key-name"))
    if text == ".":
        errors.append("must not be '.'")
    elif text == "..":
        errors.append("must not be '..'")
    elif text.startswith(".."):
        errors.append("must not start with '..'")
    return tuple(errors)


@lru_cache(maxsize=4096)
def env_name(text: str) -> tuple[str, ...]:
    """A variable's name: any printable ASCII but `=`."""
    if not text or all(" " <= char <= "~" and char != "=" for char in text):
        return ()
    rule = "a valid environment variable name must consist only of printable ASCII characters other than '='"
    return (rule,)


def port_number(number: int) -> tuple[str, ...]:
    """A port that can be listened on."""
    return () if 1 <= number <= 65535 else (INCLUSIVE.format(1, 65535),)


@lru_cache(maxsize=4096)
def port_name(text: str) -> tuple[str, ...]:
    """A port's name (an IANA service name)."""
    errors = [no_longer_than(15)] if len(text) > 15 else []
    if not _PORT_CHARS.match(text):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= char <= "z" for char in text):
        errors.append("must contain at least one letter (a-z)")
    if "--" in text:
        errors.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return tuple(errors)


def percent(text: str) -> tuple[str, ...]:
    """A percentage such as `25%`."""
    if _PERCENT.match(text):
        return ()
    rule = "a valid percent string must be a numeric string followed by an ending '%'"
    return (_worded(rule, "[0-9]+%", "1%", "93%"),)


def path_segment(text: str) -> tuple[str, ...]:
    """A name that is only ever a step of a URL path (RBAC's names)."""
    if text in {".", ".."}:
        return (f"may not be '{text}'",)
    return tuple(f"may not contain '{char}'" for char in "/%" if char in text)


@lru_cache(maxsize=4096)
def ip_address(text: str) -> tuple[str, ...]:
    """An IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return ("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",)
    return ("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",) if "%" in text else ()


def canonical_address(text: str) -> tuple[str, ...]:
    """An address as it is written canonically (an IPAddress' name)."""
    wrong = ip_address(text)
    if wrong:
        return wrong
    found = ipaddress.ip_address(text)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return ("must not be an IPv4-mapped IPv6 address",)
    return () if str(found) == text else (f'must be in canonical form ("{found}")',)


def cidr(text: str) -> tuple[str, ...]:
    """An address range such as `10.9.8.0/24`."""
    try:
        if "/" not in text:
            raise ValueError
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return ("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",)
    return ()


def generated(text: str) -> str:
    """A generateName as names are made of it: upstream lets a trailing dash count as a letter."""
    return text[:-1] + "a" if text.endswith("-") else text
