"""Validate a ResourceClaim's status: what was allocated, for whom it is reserved, how its devices are.

Source: upstream's `validateResourceClaimStatusUpdate` and what it calls.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import device_validation as devices
from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required, too_long, too_many
from oarlock.cluster.objects.device_claim_validation import Requests, reference, references, requests
from oarlock.cluster.objects.metadata_validation import IMMUTABLE
from oarlock.cluster.objects.scheduling_validation import node_selector
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
_RESERVATIONS_MAX: Final = 256
_RESULTS_MAX: Final = 32
_UNBOUNDED: Final = 2**31
_CONDITIONS_MAX: Final = 8
_ADDRESSES_MAX: Final = 16
_INTERFACE_BYTES_MAX: Final = 256
_HARDWARE_BYTES_MAX: Final = 128
_SOURCES: Final = ("FromClaim", "FromClass")


def claim_status(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a ResourceClaim's new status: an allocation is made once and doesn't change."""
    state, had = new.get("status") or {}, old.get("status") or {}
    known = requests((new.get("spec") or {}).get("devices") or {})
    allocation = state.get("allocation")
    allocated = {_device(one) for one in ((allocation or {}).get("devices") or {}).get("results") or ()}

    def device(one: Obj, path: str) -> list[Cause]:
        return _device_status(one, path, allocated)

    reserved = state.get("reservedFor") or ()
    causes = devices.unique(
        reserved, "status.reservedFor", _consumer, _RESERVATIONS_MAX, lambda one: one.get("uid", "")
    )
    causes += devices.unique(state.get("devices") or (), "status.devices", device, _UNBOUNDED, _device)
    if reserved and allocation is None:
        causes.append(forbidden("status.reservedFor", "may not be specified when `allocated` is not set"))
    elif new["metadata"].get("deletionTimestamp") and any(
        one not in (had.get("reservedFor") or ()) for one in reserved
    ):
        why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        causes.append(forbidden("status.reservedFor", why))
    if allocation is None:
        return causes
    if had.get("allocation") is None:
        return causes + _allocation(allocation, "status.allocation", known)
    same = allocation == had["allocation"]
    return causes if same else [*causes, invalid("status.allocation", allocation, IMMUTABLE)]


def _device(one: Obj) -> tuple[str, ...]:
    return tuple(one.get(name) or "" for name in ("driver", "pool", "device", "shareID"))


def _consumer(one: Obj, path: str) -> list[Cause]:
    return [required(f"{path}.{name}") for name in ("resource", "name", "uid") if not one.get(name)]


def _allocation(given: Obj, path: str, known: Requests) -> list[Cause]:
    def result(one: Obj, at: str) -> list[Cause]:
        return _result(one, at, known)

    def configuration(one: Obj, at: str) -> list[Cause]:
        source = one.get("source", "")
        causes = [] if source else [required(f"{at}.source")]
        if source and source not in _SOURCES:
            causes.append(not_supported(f"{at}.source", source, _SOURCES))
        return causes + references(one, at, known) + devices.configuration(one, at)

    place, made = f"{path}.devices", given.get("devices") or {}
    causes = devices.items(made.get("results") or (), f"{place}.results", result, _RESULTS_MAX)
    causes += devices.items(made.get("config") or (), f"{place}.config", configuration, 2 * devices.CONFIGS_MAX)
    if "nodeSelector" in given:
        causes += node_selector(given["nodeSelector"], f"{path}.nodeSelector")
    return causes


def _result(one: Obj, path: str, known: Requests) -> list[Cause]:
    causes = reference(one.get("request", ""), f"{path}.request", known)
    causes += _names(one, path)
    causes += devices.binding_conditions(one, path)
    return causes + (devices.share(one["shareID"], f"{path}.shareID") if "shareID" in one else [])


def _names(one: Obj, path: str) -> list[Cause]:
    causes = devices.driver(one.get("driver", ""), f"{path}.driver")
    causes += devices.pool(one.get("pool", ""), f"{path}.pool")
    return causes + devices.label(one.get("device", ""), f"{path}.device")


def _device_status(one: Obj, path: str, allocated: set[tuple[str, ...]]) -> list[Cause]:
    causes = _names(one, path)
    if "shareID" in one:
        causes += devices.share(one["shareID"], f"{path}.shareID")
    if _device(one) not in allocated:
        told = dict(zip(("Driver", "Pool", "Device", "ShareID"), _device(one), strict=True))
        causes.append(invalid(path, told, "must be an allocated device in the claim"))
    conditions = one.get("conditions") or ()
    if len(conditions) > _CONDITIONS_MAX:
        causes.append(too_many(f"{path}.conditions", len(conditions), _CONDITIONS_MAX))
    if one.get("data") is not None:
        causes += devices.parameters(one["data"], f"{path}.data", devices.PARAMETERS_BYTES_MAX)
    return causes + _network(one.get("networkData") or {}, f"{path}.networkData")


def _network(given: Obj, path: str) -> list[Cause]:
    causes = []
    for name, bytes_max in (("interfaceName", _INTERFACE_BYTES_MAX), ("hardwareAddress", _HARDWARE_BYTES_MAX)):
        if len(given.get(name, "").encode()) > bytes_max:
            causes.append(too_long(f"{path}.{name}", bytes_max))
    return causes + devices.unique(given.get("ips") or (), f"{path}.ips", _address, _ADDRESSES_MAX, str)


def _address(text: str, path: str) -> list[Cause]:
    example = "(e.g. 10.9.8.7/24 or 2001:db8::ffff/64)"
    try:
        canonical = str(ipaddress.ip_interface(text)) if "/" in text else ""
    except ValueError:
        canonical = ""
    if not canonical:
        return [invalid(path, text, f"must be a valid address in CIDR form, {example}")]
    return [] if canonical == text else [invalid(path, text, f'must be in canonical form ("{canonical}")')]
