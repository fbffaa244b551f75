"""The rules that claims, classes and slices of devices share: names, selectors, parameters, sized lists.

Source: upstream's pkg/apis/resource/validation. What a CEL expression may cost is bounded when it is evaluated
(decision 0020), not estimated ahead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, Final, TypeVar

import orjson

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import duplicate, invalid, not_supported, required, too_long, too_many
from oarlock.cluster.objects.cel import devices as device_expressions
from oarlock.cluster.objects.cel.engine import CompileError
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
Item = TypeVar("Item")
Rule = Callable[[Item, str], list[Cause]]
REQUESTS_MAX: Final = 32
CONFIGS_MAX: Final = 32
SELECTORS_MAX: Final = 32
CONDITIONS_MAX: Final = 4
PARAMETERS_BYTES_MAX: Final = 10 * 1024
_EXPRESSION_BYTES_MAX: Final = 10 * 1024
_IDENTIFIER_MAX: Final = 32
_TAINT_EFFECTS: Final = ("NoExecute", "NoSchedule", "None")
_OPERATORS: Final = ("Equal", "Exists")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_IDENTIFIER_RULE: Final = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters "
    "or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"
)
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_NO_EXPRESSION: Final = (
    "compilation failed: ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', "
    "'-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)


def items(given: Sequence[Item], path: str, rule: Rule[Item], count_max: int) -> list[Cause]:
    """What is wrong with a list: its length, or else its items."""
    if len(given) > count_max:
        return [too_many(path, len(given), count_max)]
    return [cause for index, one in enumerate(given) for cause in rule(one, f"{path}[{index}]")]


def unique(
    given: Sequence[Item], path: str, rule: Rule[Item], count_max: int, key: Callable[[Item], Hashable]
) -> list[Cause]:
    """The same for a list in which no key may come twice."""
    if len(given) > count_max:
        return [too_many(path, len(given), count_max)]
    keys = [key(one) for one in given]
    repeated = [duplicate(f"{path}[{index}]", one) for index, one in enumerate(keys) if one in keys[:index]]
    return items(given, path, rule, count_max) + repeated


def label(text: str, path: str) -> list[Cause]:
    """What is wrong with the name of a request, a device or a counter."""
    return [invalid(path, text, why) for why in names.dns_label(text)]


def label_key(text: str, path: str) -> list[Cause]:
    """What is wrong with a text that must be fit as the key of a label."""
    return [invalid(path, text, why) for why in names.qualified_name(text)]


def driver(text: str, path: str) -> list[Cause]:
    """What is wrong with the name of a driver."""
    if not text:
        return [required(path)]
    causes = [too_long(path, names.LABEL_MAX)] if len(text) > names.LABEL_MAX else []
    return causes + [invalid(path, text, why) for why in names.dns_subdomain(text.lower())]


def pool(text: str, path: str) -> list[Cause]:
    """What is wrong with the name of a pool: subdomains with slashes between."""
    if not text:
        return [required(path)]
    causes = [too_long(path, names.SUBDOMAIN_MAX)] if len(text) > names.SUBDOMAIN_MAX else []
    return causes + [invalid(path, part, why) for part in text.split("/") for why in names.dns_subdomain(part)]


def share(text: str, path: str) -> list[Cause]:
    """What is wrong with the id of a share."""
    if _UUID.match(text):
        return []
    if _UUID.match(text.lower()):
        form = "`xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters"
        return [invalid(path, text, f"uid must be in RFC 4122 normalized form, {form}")]
    return [invalid(path, text, f"error validating uid: invalid UUID length: {len(text)}")]


def qualified(text: str, path: str) -> list[Cause]:
    """What is wrong with the name of an attribute or a capacity: an identifier, with a domain or without."""
    parts = text.split("/")
    if len(parts) == 1:
        return _identifier(text, path)
    if len(parts) > 2:
        return []  # so upstream, too
    domain, name = parts
    causes = driver(domain, path) if domain else [invalid(path, "", "the domain must not be empty")]
    return causes + (_identifier(name, path) if name else [invalid(path, "", "the name must not be empty")])


def fully_qualified(text: str, path: str) -> list[Cause]:
    """The same for a name that must have its domain."""
    causes = qualified(text, path)
    if "/" not in text:
        why = "a fully qualified name must be a domain and a name separated by a slash"
        causes.append(invalid(path, text, why))
    return causes


def _identifier(text: str, path: str) -> list[Cause]:
    causes = [too_long(path, _IDENTIFIER_MAX)] if len(text) > _IDENTIFIER_MAX else []
    return causes if _IDENTIFIER.match(text) else [*causes, invalid(path, text, _IDENTIFIER_RULE)]


def selectors(given: Sequence[Obj], path: str, known: Collection[str] = ()) -> list[Cause]:
    """What is wrong with what chooses devices; `known` expressions, of the object as it was, aren't compiled again."""
    return items(given, path, lambda one, place: _selector(one, place, known), SELECTORS_MAX)


def expressions(given: Sequence[Obj]) -> frozenset[str]:
    """The expressions among selectors."""
    return frozenset((one.get("cel") or {}).get("expression", "") for one in given)


def _selector(one: Obj, path: str, known: Collection[str]) -> list[Cause]:
    cel = one.get("cel")
    if cel is None:
        return [required(f"{path}.cel")]
    text, place = cel.get("expression", ""), f"{path}.cel.expression"
    if len(text.encode()) > _EXPRESSION_BYTES_MAX:
        return [too_long(place, _EXPRESSION_BYTES_MAX)]
    if not text:
        return [invalid(place, text, _NO_EXPRESSION)]
    if text in known:
        return []
    try:
        device_expressions.selector(text)
    except CompileError as error:
        return [invalid(place, text, str(error))]
    return []


def configuration(one: Obj, path: str) -> list[Cause]:
    """What is wrong with parameters for a driver."""
    opaque = one.get("opaque")
    if opaque is None:
        return [required(f"{path}.opaque")]
    causes = driver(opaque.get("driver", ""), f"{path}.opaque.driver")
    return causes + parameters(opaque.get("parameters"), f"{path}.opaque.parameters", PARAMETERS_BYTES_MAX)


def parameters(given: Any, path: str, bytes_max: int) -> list[Cause]:
    """What is wrong with data of any form: an object it must be, and not too large."""
    if given is None:
        return [required(path)]
    if len(orjson.dumps(given)) > bytes_max:
        return [too_long(path, bytes_max)]
    return [] if isinstance(given, dict) else [invalid(path, "<value omitted>", "must be a valid JSON object")]


def toleration(one: Obj, path: str) -> list[Cause]:
    """What is wrong with a toleration of devices' taints."""
    key, operator, value = one.get("key", ""), one.get("operator", ""), one.get("value", "")
    causes = label_key(key, f"{path}.key") if key else []
    if operator == "Exists":
        if value:
            causes.append(invalid(f"{path}.value", value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        causes += [invalid(f"{path}.value", value, why) for why in names.label_value(value)]
    elif not operator:
        causes.append(required(f"{path}.operator"))
    else:
        causes.append(not_supported(f"{path}.operator", operator, _OPERATORS))
    effect = one.get("effect", "")
    return causes + (_effect(effect, path) if effect else [])


def taint(one: Obj, path: str) -> list[Cause]:
    """What is wrong with a taint of a device."""
    causes = label_key(one.get("key", ""), f"{path}.key")
    value, effect = one.get("value", ""), one.get("effect", "")
    causes += [invalid(f"{path}.value", value, why) for why in names.label_value(value)]
    return causes + (_effect(effect, path) if effect else [required(f"{path}.effect")])


def _effect(effect: str, path: str) -> list[Cause]:
    return [] if effect in _TAINT_EFFECTS else [not_supported(f"{path}.effect", effect, _TAINT_EFFECTS)]


def binding_conditions(holder: Obj, path: str) -> list[Cause]:
    """What is wrong with the conditions that a device waits for, or gives up on; it has both or none."""
    good, bad = (list(holder.get(name) or ()) for name in ("bindingConditions", "bindingFailureConditions"))
    place, failing = f"{path}.bindingConditions", f"{path}.bindingFailureConditions"
    causes = items(good, place, label_key, CONDITIONS_MAX) + items(bad, failing, label_key, CONDITIONS_MAX)
    causes += [duplicate(f"{place}[{index}]", one) for index, one in enumerate(good) if one in good[:index]]
    for index, one in enumerate(bad):
        if one in bad[:index]:
            causes.append(duplicate(f"{failing}[{index}]", one))
        if one in good:
            why = "bindingFailureConditions must not overlap with bindingConditions"
            causes.append(invalid(f"{failing}[{index}]", one, why))
    if bad and not good:
        why = "bindingConditions are required to use bindingFailureConditions"
        causes.append(invalid(place, None, why))
    if good and not bad:
        why = "bindingFailureConditions are required to use bindingConditions"
        causes.append(invalid(failing, None, why))
    return causes
