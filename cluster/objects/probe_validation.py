"""Validate probes and lifecycle hooks: one action each, with sensible numbers.

Source: upstream's `validateProbe`, `validateHandler` and `validateLifecycle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required
from oarlock.cluster.objects.resource_validation import NOT_NEGATIVE
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
SCHEMES: Final = ("HTTP", "HTTPS")
_NUMBERS: Final = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def probes(item: Obj, path: str, grace_period_s: int | None) -> list[Cause]:
    """What is wrong with a container's probes."""
    causes: list[Cause] = []
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name not in item:
            continue
        place = f"{path}.{name}"
        causes += probe(item[name], place, grace_period_s)
        if name != "readinessProbe" and item[name].get("successThreshold", 1) != 1:
            causes.append(invalid(f"{place}.successThreshold", item[name].get("successThreshold"), "must be 1"))
        if name == "readinessProbe" and "terminationGracePeriodSeconds" in item[name]:
            value = item[name]["terminationGracePeriodSeconds"]
            why = "must not be set for readinessProbes"
            causes.append(invalid(f"{place}.terminationGracePeriodSeconds", value, why))
    return causes


def probe(item: Obj, path: str, grace_period_s: int | None) -> list[Cause]:
    """What is wrong with one probe."""
    causes = handler(item, path, grace_period_s)
    causes += [invalid(f"{path}.{name}", item[name], NOT_NEGATIVE) for name in _NUMBERS if item.get(name, 0) < 0]
    grace = item.get("terminationGracePeriodSeconds", 1)
    if grace <= 0:
        causes.append(invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    return causes


def handler(item: Obj, path: str, grace_period_s: int | None) -> list[Cause]:
    """What is wrong with the one action of a probe or lifecycle hook."""
    given = [name for name in _HANDLERS if name in item]
    if not given:
        return [required(path, "must specify a handler type")]
    name, *more = given
    causes = [forbidden(f"{path}.{other}", "may not specify more than 1 handler type") for other in more]
    return causes + _ACTIONS[name](item[name], f"{path}.{name}", grace_period_s)


def _exec(action: Obj, path: str, _grace_period_s: int | None) -> list[Cause]:
    return [] if action.get("command") else [required(f"{path}.command")]


def _http(action: Obj, path: str, _grace_period_s: int | None) -> list[Cause]:
    causes = [] if action.get("path") else [required(f"{path}.path")]
    causes += port(action.get("port", 0), f"{path}.port")
    if action.get("scheme") not in SCHEMES:
        causes.append(not_supported(f"{path}.scheme", action.get("scheme", ""), SCHEMES))
    for header in action.get("httpHeaders", ()):
        name = header.get("name", "")
        if not name or not all((char.isalnum() and char.isascii()) or char == "-" for char in name):
            why = "a valid HTTP header must consist of alphanumeric characters or '-'"
            form = "(e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"
            causes.append(invalid(f"{path}.httpHeaders", name, f"{why} {form}"))
    return causes


def _tcp(action: Obj, path: str, _grace_period_s: int | None) -> list[Cause]:
    return port(action.get("port", 0), f"{path}.port")


def _grpc(action: Obj, path: str, _grace_period_s: int | None) -> list[Cause]:
    return port(action.get("port", 0), f"{path}.port")


def _sleep(action: Obj, path: str, grace_period_s: int | None) -> list[Cause]:
    seconds = action.get("seconds", 0)
    if grace_period_s is None or 0 <= seconds <= grace_period_s:
        return []
    why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_period_s})"
    return [invalid(path, seconds, why)]


_ACTIONS: Final = {"exec": _exec, "httpGet": _http, "tcpSocket": _tcp, "grpc": _grpc, "sleep": _sleep}


def port(value: int | str, path: str) -> list[Cause]:
    """What is wrong with a port that is a number or a name."""
    rule = names.port_name(value) if isinstance(value, str) else names.port_number(value)
    return [invalid(path, value, why) for why in rule]


def lifecycle(item: Obj, path: str, grace_period_s: int | None) -> list[Cause]:
    """What is wrong with a container's lifecycle hooks."""
    hooks = ((name, item[name]) for name in ("postStart", "preStop") if name in item)
    return [cause for name, hook in hooks for cause in handler(hook, f"{path}.{name}", grace_period_s)]
