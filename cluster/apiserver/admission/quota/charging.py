"""What a write costs, and what the quotas of its namespace look like once it is paid.

Source: apiserver pkg/admission/plugin/resourcequota (controller.go, CheckRequest).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from oarlock.cluster.apiserver.admission.attributes import CREATE, Attributes
from oarlock.cluster.objects import pod_resources, quota_usage
from oarlock.cluster.objects.pod_resources import Amounts
from oarlock.cluster.objects.quota_usage import CLAIMS, PODS, SERVICES

Obj = dict[str, Any]
_CHARGED_ON_UPDATE: Final = frozenset({SERVICES, CLAIMS})
"""Kinds whose updates can raise what they use, besides pods that are resized."""


def concerns(attributes: Attributes) -> bool:
    """Tell whether a write can use up anything that a quota limits."""
    kind = attributes.kind
    if not attributes.namespace or kind in quota_usage.IGNORED:
        return False
    if attributes.operation == CREATE:
        return not attributes.subresource
    if kind == PODS:
        return attributes.subresource == "resize"
    return kind in _CHARGED_ON_UPDATE and not attributes.subresource


def charged(attributes: Attributes, quotas: Iterable[Obj]) -> list[Obj]:
    """Return those of `quotas` that the write changes, as it leaves them. Raises ApiError 403 for what is too much.

    All quotas are looked at before any is charged, so that what is demanded of the object comes first.
    """
    matching = [quota for quota in quotas if _matches(attributes, quota)]
    if not matching:
        return []
    used = quota_usage.usage(attributes.kind, attributes.obj)
    paid = [_charge(attributes, quota, _delta(attributes, quota, used)) for quota in matching]
    return [quota for quota in paid if quota is not None]


def _matches(attributes: Attributes, quota: Obj) -> bool:
    if not quota_usage.is_matched(quota, attributes.kind, attributes.obj):
        return False
    name, state = quota["metadata"]["name"], quota.get("status") or {}
    limited = quota_usage.counted(state.get("hard") or {}, attributes.kind)
    if attributes.kind == PODS:
        missing = quota_usage.unspecified(limited, attributes.obj)
        if missing:
            raise attributes.forbidden(f"failed quota: {name}: {missing}")
    if not limited <= (state.get("used") or {}).keys():
        names = ",".join(sorted(limited))
        raise attributes.forbidden(f"status unknown for quota: {name}, resources: {names}")
    return True


def _delta(attributes: Attributes, quota: Obj, used: Amounts) -> Amounts:
    """Return what is used beyond what the old object used of the same quota; nothing is given back here."""
    old = attributes.old
    before: Amounts = {}
    if old is not None and quota_usage.is_matched(quota, attributes.kind, old):
        before = quota_usage.usage(attributes.kind, old)
    more = {name: amount - before[name] if name in before else amount for name, amount in used.items()}
    return {name: amount for name, amount in more.items() if amount.nano > 0}


def _charge(attributes: Attributes, quota: Obj, delta: Amounts) -> Obj | None:
    state = quota["status"]
    hard = pod_resources.parsed(state["hard"])
    asked = {name: amount for name, amount in delta.items() if name in hard}
    if not asked:
        return None
    used = pod_resources.parsed(state.get("used"))
    total = pod_resources.added(used, asked)
    exceeded = sorted(name for name in asked if total[name] > hard[name])
    if exceeded:
        told = {"requested": asked, "used": used, "limited": hard}
        said = ", ".join(f"{word}: {_told(amounts, exceeded)}" for word, amounts in told.items())
        raise attributes.forbidden(f"exceeded quota: {quota['metadata']['name']}, {said}")
    return {**quota, "status": {**state, "used": {name: str(amount) for name, amount in total.items()}}}


def _told(amounts: Mapping[str, object], names: Iterable[str]) -> str:
    return ",".join(f"{name}={amounts[name]}" for name in names)
