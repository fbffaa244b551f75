"""Validate ResourceSlices: the devices that a driver offers, and from which nodes they can be used.

Source: upstream's `validateResourceSliceSpec` and what it calls in pkg/apis/resource/validation.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import device_validation as devices
from oarlock.cluster.objects import names, quantity
from oarlock.cluster.objects.causes import forbidden, invalid, required, too_long, too_many
from oarlock.cluster.objects.metadata_validation import IMMUTABLE
from oarlock.cluster.objects.scheduling_validation import node_selector
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
_DEVICES_MAX: Final = 128
_BUSY_DEVICES_MAX: Final = 64
_COUNTER_SETS_MAX: Final = 8
_COUNTERS_MAX: Final = 32
_CONSUMPTIONS_MAX: Final = 2
_TAINTS_MAX: Final = 16
_OPTIONS_MAX: Final = 10
_PROPERTIES_MAX: Final = 32
_VALUE_BYTES_MAX: Final = 64
_KEY_SHOWN_MAX: Final = 96
_NUMBER: Final = r"(0|[1-9]\d*)"
_PRE_RELEASE: Final = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMANTIC_VERSION: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PRE_RELEASE}(\.{_PRE_RELEASE})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?\Z",
    re.ASCII,
)
_ONE_OF_ALL: Final = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_ONE_EACH: Final = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
_NONE_EACH: Final = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)


def resource_slice(obj: Obj) -> list[Cause]:
    """What is wrong with a ResourceSlice beyond its metadata."""
    return _spec(obj.get("spec") or {}, None)


def resource_slice_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a ResourceSlice that replaces `old`: whose it is and where stays."""
    return _spec(new.get("spec") or {}, old.get("spec") or {})


def _spec(spec: Obj, had: Obj | None) -> list[Cause]:
    pool = spec.get("pool") or {}
    causes = devices.driver(spec.get("driver", ""), "spec.driver") + _pool(pool)
    if had is not None:
        causes += _fixed(pool, had.get("pool") or {}, "name", "spec.pool.name")
        causes += _fixed(spec, had, "driver", "spec.driver") + _fixed(spec, had, "nodeName", "spec.nodeName")
    causes += _nodes(spec)
    given, counters = spec.get("devices"), spec.get("sharedCounters")
    if given is not None and counters is not None:
        causes.append(invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    busy = any(one.get("taints") or one.get("consumesCounters") for one in given or ())
    before = {one.get("name"): one for one in (had or {}).get("devices") or ()}
    each = bool(spec.get("perDeviceNodeSelection"))

    def device(one: Obj, path: str) -> list[Cause]:
        return _device(one, before.get(one.get("name")), path, each=each)

    count_max = _BUSY_DEVICES_MAX if busy else _DEVICES_MAX
    causes += devices.unique(given or (), "spec.devices", device, count_max, _name_of)
    return causes + devices.unique(counters or (), "spec.sharedCounters", _counter_set, _COUNTER_SETS_MAX, _name_of)


def _name_of(one: Obj) -> str:
    return str(one.get("name", ""))


def _fixed(new: Obj, old: Obj, name: str, path: str) -> list[Cause]:
    return [] if new.get(name) == old.get(name) else [invalid(path, new.get(name), IMMUTABLE)]


def _pool(pool: Obj) -> list[Cause]:
    causes = devices.pool(pool.get("name", ""), "spec.pool.name")
    count, generation = pool.get("resourceSliceCount", 0), pool.get("generation", 0)
    if count <= 0:
        causes.append(invalid("spec.pool.resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        causes.append(invalid("spec.pool.generation", generation, "must be greater than or equal to zero"))
    return causes


def _nodes(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    chosen: list[str] = []
    name, selector = spec.get("nodeName"), spec.get("nodeSelector")
    if name:
        chosen.append("`nodeName`")
        causes += [invalid("spec.nodeName", name, why) for why in names.dns_subdomain(name)]
    elif name is not None:
        causes.append(invalid("spec.nodeName", name, "must be either unset or set to a non-empty string"))
    if selector is not None:
        chosen.append("`nodeSelector`")
        causes += node_selector(selector, "spec.nodeSelector")
        terms = selector.get("nodeSelectorTerms") or []
        if len(terms) != 1:
            why = "must have exactly one node selector term"
            causes.append(invalid("spec.nodeSelector.nodeSelectorTerms", terms, why))
    for field in ("allNodes", "perDeviceNodeSelection"):
        causes += _true_or_unset(spec, field, "spec", chosen)
    if not chosen:
        causes.append(required("spec", _ONE_OF_ALL))
    elif len(chosen) > 1:
        why = f"{_ONE_OF_ALL}, but multiple fields are set"
        causes.append(invalid("spec", f"{{{', '.join(chosen)}}}", why))
    return causes


def _true_or_unset(holder: Obj, field: str, path: str, chosen: list[str]) -> list[Cause]:
    if holder.get(field):
        chosen.append(f"`{field}`")
    elif holder.get(field) is not None:
        return [invalid(f"{path}.{field}", value=False, detail="must be either unset or set to true")]
    return []


def _device(one: Obj, before: Obj | None, path: str, *, each: bool) -> list[Cause]:
    attributes, capacity = one.get("attributes") or {}, one.get("capacity") or {}
    causes = devices.label(_name_of(one), f"{path}.name")
    total = len(attributes) + len(capacity)
    if total > _PROPERTIES_MAX:
        why = f"the total number of attributes and capacities must not exceed {_PROPERTIES_MAX}"
        causes.append(invalid(path, total, why))
    causes += _map(attributes, f"{path}.attributes", devices.qualified, _attribute)
    limit = _shared_capacity if one.get("allowMultipleAllocations") else _plain_capacity
    causes += _map(capacity, f"{path}.capacity", devices.qualified, limit)
    if before is None or before.get("taints") != one.get("taints"):
        causes += devices.items(one.get("taints") or (), f"{path}.taints", devices.taint, _TAINTS_MAX)
    consumed = one.get("consumesCounters") or ()
    place = f"{path}.consumesCounters"
    causes += devices.unique(
        consumed, place, _consumption, _CONSUMPTIONS_MAX, lambda item: str(item.get("counterSet", ""))
    )
    causes += _device_nodes(one, path) if each else _no_device_nodes(one, path)
    return causes + devices.binding_conditions(one, path)


def _device_nodes(one: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    chosen: list[str] = []
    name = one.get("nodeName")
    if name:
        chosen.append("`nodeName`")
        causes += [invalid(f"{path}.nodeName", name, why) for why in names.dns_subdomain(name)]
    elif name is not None:
        causes.append(invalid(f"{path}.nodeName", name, "must not be empty"))
    if one.get("nodeSelector") is not None:
        chosen.append("`nodeSelector`")
        causes += node_selector(one["nodeSelector"], f"{path}.nodeSelector")
    causes += _true_or_unset(one, "allNodes", path, chosen)
    if not chosen:
        causes.append(required(path, _ONE_EACH))
    elif len(chosen) > 1:
        causes.append(invalid(path, f"{{{', '.join(chosen)}}}", _ONE_EACH))
    return causes


def _no_device_nodes(one: Obj, path: str) -> list[Cause]:
    given = any(one.get(name) is not None for name in ("nodeName", "nodeSelector", "allNodes"))
    return [invalid(path, None, _NONE_EACH)] if given else []


def _map(
    given: Mapping[str, Any],
    path: str,
    key_rule: Callable[[str, str], list[Cause]],
    rule: Callable[[Obj, str], list[Cause]],
    count_max: int | None = None,
) -> list[Cause]:
    if count_max is not None and len(given) > count_max:
        return [too_many(path, len(given), count_max)]
    causes: list[Cause] = []
    for key, one in given.items():
        place = f"{path}[{_shortened(key)}]"
        causes += key_rule(key, place) + rule(one, place)
    return causes


def _shortened(key: str) -> str:
    if len(key) <= _KEY_SHOWN_MAX:
        return key
    left = _KEY_SHOWN_MAX - 3
    return f"{key[: (left + 1) // 2]}...{key[len(key) - left // 2 :]}"


def _attribute(one: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    version = one.get("version")
    for name in ("string", "version"):
        if name == "version" and version is not None and not _SEMANTIC_VERSION.match(version):
            why = "must be a string compatible with semver.org spec 2.0.0"
            causes.append(invalid(f"{path}.version", version, why))
        if len(one.get(name, "").encode()) > _VALUE_BYTES_MAX:
            causes.append(too_long(f"{path}.{name}", _VALUE_BYTES_MAX))
    if len(one) != 1:
        causes.append(invalid(path, dict(one) or "", "exactly one value must be specified"))
    return causes


def _plain_capacity(one: Obj, path: str) -> list[Cause]:
    if one.get("requestPolicy") is None:
        return []
    return [forbidden(f"{path}.requestPolicy", "allowMultipleAllocations must be true")]


def _shared_capacity(one: Obj, path: str) -> list[Cause]:
    policy, place = one.get("requestPolicy") or {}, f"{path}.requestPolicy"
    values, span = policy.get("validValues") or (), policy.get("validRange")
    if values and span is not None:
        why = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        return [forbidden(place, why)]
    if not values and span is None:
        return []
    if "default" not in policy:
        named = "validValues" if values else "validRange"
        return [required(f"{place}.default", f"required when {named} is defined")]
    whole, usual = quantity.parse(one.get("value", "0")), quantity.parse(policy["default"])
    if span is not None:
        return _range(span, f"{place}.validRange", whole, usual)
    return _options([quantity.parse(value) for value in values], f"{place}.validValues", whole, usual)


Amount = quantity.Quantity


def _options(given: Sequence[Amount], path: str, whole: Amount, usual: Amount) -> list[Cause]:
    causes = [
        invalid(f"{path}[{index + 1}]", str(after), "values must be sorted in ascending order")
        for index, (one, after) in enumerate(itertools.pairwise(given))
        if one > after
    ]

    def option(one: Amount, place: str) -> list[Cause]:
        why = f"option is larger than capacity value: {whole}"
        return [invalid(place, str(one), why)] if one > whole else []

    causes += devices.unique(given, path, option, _OPTIONS_MAX, lambda one: str(one.whole()))
    if usual not in given:
        why = "default value is not valid according to the requestPolicy"
        causes.append(invalid(path, str(usual), why))
    return causes


def _range(span: Obj, path: str, whole: Amount, usual: Amount) -> list[Cause]:
    if "min" not in span:
        return [required(f"{path}.min", "required when validRange is defined")]
    low = quantity.parse(span["min"])
    high = quantity.parse(span["max"]) if "max" in span else None
    checks: list[tuple[bool, str, Amount, str]] = [
        (low > whole, "min", low, f"min is larger than capacity value: {whole}"),
        (usual < low, "min", usual, f"default is less than min: {low}"),
    ]
    if high is not None:
        checks += [
            (low > high, "max", low, f"min is larger than max: {high}"),
            (high > whole, "max", high, f"max is larger than capacity value: {whole}"),
            (usual > high, "max", usual, f"default is more than max: {high}"),
        ]
    if "step" in span:
        step = quantity.parse(span["step"])
        why = f"value is not a multiple of a given step ({step}) from ({low})"
        first = low + step
        checks.append((first > whole, "step", step, f"one step {first} is larger than capacity value: {whole}"))
        checks += [
            (bool(step.whole() and (value.whole() - low.whole()) % step.whole()), "step", value, why)
            for value in ((usual,) if high is None else (usual, high))
        ]
    return [invalid(f"{path}.{name}", str(value), why) for wrong, name, value, why in checks if wrong]


def _counter_set(one: Obj, path: str) -> list[Cause]:
    return _counters(one, path, "name")


def _consumption(one: Obj, path: str) -> list[Cause]:
    return _counters(one, path, "counterSet")


def _counters(one: Obj, path: str, name: str) -> list[Cause]:
    text, counters = one.get(name, ""), one.get("counters") or {}
    causes = devices.label(text, f"{path}.{name}") if text else [required(f"{path}.{name}")]
    if not counters:
        return [*causes, required(f"{path}.counters")]
    return causes + _map(counters, f"{path}.counters", devices.label, lambda _, __: [], _COUNTERS_MAX)
