"""Validate ValidatingWebhookConfigurations and MutatingWebhookConfigurations.

Source: upstream's `pkg/apis/admissionregistration/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from oarlock.cluster.objects import names, webhook_client_validation
from oarlock.cluster.objects.admission_rules_validation import (
    FAILURE_POLICIES,
    MATCH_POLICIES,
    choice,
    match_conditions,
    rule,
)
from oarlock.cluster.objects.causes import duplicate, invalid, not_supported, required
from oarlock.cluster.objects.scheduling_validation import label_selector
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

_NO_SIDE_EFFECTS: Final = ("None", "NoneOnDryRun")
_SIDE_EFFECTS: Final = ("None", "NoneOnDryRun", "Some", "Unknown")
_REINVOCATION: Final = ("IfNeeded", "Never")
_REVIEW_VERSIONS: Final = ("v1", "v1beta1")
_SELECTORS: Final = ("namespaceSelector", "objectSelector")


@dataclass(frozen=True, slots=True)
class Demands:
    """What is asked of a configuration; one that replaces another that didn't meet a demand needn't either."""

    no_side_effects: bool = True
    known_versions: bool = True
    unique_names: bool = True
    right_labels: bool = True
    conditions: bool = True


def configuration(obj: Obj) -> list[Cause]:
    """What is wrong with a new configuration of either kind beyond its metadata."""
    return _webhooks(obj.get("webhooks") or (), Demands())


def configuration_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a configuration that replaces `old`."""
    hooks, before = new.get("webhooks") or (), old.get("webhooks") or ()
    return _webhooks(hooks, _met(before, hooks))


def _met(hooks: Sequence[Obj], later: Sequence[Obj]) -> Demands:
    """What stored webhooks meet, and so will have to; conditions that stay as they are aren't looked at again."""
    called = [hook.get("name", "") for hook in hooks]
    stay = [hook.get("matchConditions") or [] for hook in hooks]
    return Demands(
        no_side_effects=all(hook.get("sideEffects") in _NO_SIDE_EFFECTS for hook in hooks),
        known_versions=all(
            set(hook.get("admissionReviewVersions") or _REVIEW_VERSIONS) & set(_REVIEW_VERSIONS) for hook in hooks
        ),
        unique_names=len(set(called)) == len(called),
        right_labels=not any(label_selector(hook[name], "") for hook in hooks for name in _SELECTORS if name in hook),
        conditions=stay != [hook.get("matchConditions") or [] for hook in later],
    )


def _webhooks(hooks: Sequence[Obj], demands: Demands) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, hook in enumerate(hooks):
        path, name = f"webhooks[{index}]", hook.get("name", "")
        causes += _webhook(hook, path, demands)
        versions = hook.get("admissionReviewVersions") or ()
        causes += _review_versions(versions, f"{path}.admissionReviewVersions", known=demands.known_versions)
        if demands.unique_names and name in seen:
            causes.append(duplicate(f"{path}.name", name))
        if name:
            seen.add(name)
    return causes


def _webhook(hook: Obj, path: str, demands: Demands) -> list[Cause]:
    causes = _full_name(hook.get("name", ""), f"{path}.name")
    for index, one in enumerate(hook.get("rules") or ()):
        causes += rule(one, f"{path}.rules[{index}]")
    causes += choice(hook, "failurePolicy", path, FAILURE_POLICIES)
    causes += choice(hook, "matchPolicy", path, MATCH_POLICIES)
    causes += _side_effects(hook.get("sideEffects"), f"{path}.sideEffects", none=demands.no_side_effects)
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        why = "the timeout value must be between 1 and 30 seconds"
        causes.append(invalid(f"{path}.timeoutSeconds", seconds, why))
    for name in _SELECTORS:
        if name in hook:
            causes += label_selector(hook[name], f"{path}.{name}", check_values=demands.right_labels)
    causes += choice(hook, "reinvocationPolicy", path, _REINVOCATION)
    causes += _client(hook.get("clientConfig", {}), f"{path}.clientConfig")
    if demands.conditions:
        causes += match_conditions(hook.get("matchConditions") or (), f"{path}.matchConditions")
    return causes


def _full_name(name: str, path: str) -> list[Cause]:
    """A webhook's name is a domain of its own."""
    if not name:
        return [required(path)]
    wrong = names.dns_subdomain(name)
    if wrong:
        return [invalid(path, name, ",".join(wrong))]
    if name.count(".") < 2:
        return [invalid(path, name, "should be a domain with at least three segments separated by dots")]
    return []


def _side_effects(value: str | None, path: str, *, none: bool) -> list[Cause]:
    allowed = _NO_SIDE_EFFECTS if none else _SIDE_EFFECTS
    if value is None:
        return [required(path, f"must specify one of {', '.join(allowed)}")]
    return [] if value in allowed else [not_supported(path, value, allowed)]


def _client(config: Obj, path: str) -> list[Cause]:
    if ("url" in config) == ("service" in config):
        return [required(path, "exactly one of url or service is required")]
    if "url" in config:
        return webhook_client_validation.url(config["url"], f"{path}.url")
    return webhook_client_validation.service(config["service"], f"{path}.service")


def _review_versions(versions: Sequence[str], path: str, *, known: bool) -> list[Cause]:
    listed = ", ".join(_REVIEW_VERSIONS)
    if not versions:
        return [required(path, f"must specify one of {listed}")]
    causes: list[Cause] = []
    for index, version in enumerate(versions):
        if version in versions[:index]:
            causes.append(invalid(f"{path}[{index}]", version, "duplicate version"))
        else:
            causes += [invalid(f"{path}[{index}]", version, why) for why in names.dns_1035_label(version)]
    if known and not set(versions) & set(_REVIEW_VERSIONS):
        causes.append(invalid(path, versions, f"must include at least one of {listed}"))
    return causes
