"""Tokens that were made of themselves for accounts, long ago: marked invalid after a year unused, then deleted.

A token that somebody made by hand is never touched: no account lists its Secret.
Source: kubernetes.io "Managing Service Accounts", legacy token cleaner; upstream's
legacy_serviceaccount_token_cleaner.go and legacytokentracking controller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from oarlock.actors.controllers.actions import Action, Create, Delete, Patch
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.token_secrets import TYPE, account_of, refers_to
from oarlock.actors.controllers.view import View, parse_time
from oarlock.cluster.client.cache import key_of
from oarlock.cluster.objects import secret_references
from oarlock.cluster.objects.tokens import INVALID_SINCE, LAST_USED, TRACKING

Object = dict[str, Any]

_UNUSED_S, _LOOK_S = 365 * 24 * 3600.0, 24 * 3600.0
_TRACKED = f"kube-system/{TRACKING}"
_DAY = "%Y-%m-%d"


def reconcile(key: str, view: View) -> list[Action]:
    """Return what is due to a token that nobody uses, and its mark first."""
    secret = view.get("secrets", key)
    if secret is None or secret["type"] != TYPE or not _may_go(view, secret):
        return []
    metadata = secret["metadata"]
    since = _day((metadata.get("labels") or {}).get(INVALID_SINCE))
    if since is None:
        today = view.now.strftime(_DAY)
        return [Patch(secret, {"metadata": {"uid": metadata["uid"], "labels": {INVALID_SINCE: today}}})]
    return [Delete(secret)] if since < _last_kept(view) else []


def reconcile_tracking(key: str, view: View) -> list[Action]:
    """Return what makes the config map tell since when the use of tokens is noted."""
    if key != _TRACKED or view.get("namespaces", "kube-system") is None:
        return []
    held = view.get("configmaps", key)
    data = {"since": view.now.strftime(_DAY)}
    if held is None:
        metadata = {"name": TRACKING, "namespace": "kube-system"}
        return [Create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})]
    return [] if _day((held.get("data") or {}).get("since")) else [Patch(held, {"data": data})]


def _may_go(view: View, secret: Object) -> bool:
    """Whether a token was made of itself, is old and unused, and has been looked at for long enough to know."""
    tracked = _day(((view.get("configmaps", _TRACKED) or {}).get("data") or {}).get("since"))
    kept_from = view.now - timedelta(seconds=_UNUSED_S)
    if tracked is None or tracked + timedelta(days=1) > kept_from:
        return False
    metadata = secret["metadata"]
    if metadata.get("deletionTimestamp") or parse_time(metadata["creationTimestamp"]) >= kept_from:
        return False
    said = (metadata.get("labels") or {}).get(LAST_USED)
    used = _day(said)
    if said is not None and (used is None or used >= _last_kept(view)):
        return False
    account = account_of(view, secret)
    if account is None or not refers_to(account, metadata["name"]):
        return False
    pods = view.list("pods", metadata["namespace"])
    return not any(metadata["name"] in secret_references.names(pod) for pod in pods)


def _last_kept(view: View) -> datetime:
    """Return the day before which a token must have been used, or marked, last."""
    day = (view.now - timedelta(seconds=_UNUSED_S)).astimezone(UTC)
    return day.replace(hour=0, minute=0, second=0, microsecond=0)


def _day(text: str | None) -> datetime | None:
    try:
        return datetime.strptime(text or "", _DAY).replace(tzinfo=UTC)
    except ValueError:
        return None


def _keys(_plural: str, _old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    return [Due(key_of(new))] if new is not None and new["type"] == TYPE else []


def _tokens(view: View) -> Iterable[str]:
    return [key_of(one) for one in view.list("secrets") if one["type"] == TYPE]


def _tracking_keys(_plural: str, old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    present: Mapping[str, Any] = new or old or {}
    metadata = present["metadata"]
    mine = metadata["name"] in (TRACKING, "kube-system")
    return [Due(_TRACKED)] if mine else []


LEGACY_TOKENS = Controller(
    name="legacy-serviceaccount-token-cleaner",
    source="legacy-service-account-token-cleaner",
    reads=("secrets",),
    looks_at=("serviceaccounts", "pods", "configmaps"),
    keys=_keys,
    reconcile=reconcile,
    workers=1,
    resync_s=_LOOK_S,
    all_keys=_tokens,
)
TOKEN_TRACKING = Controller(
    name="legacy-serviceaccount-token-tracking",
    source="legacy-token-tracking-controller",
    reads=("configmaps", "namespaces"),
    keys=_tracking_keys,
    reconcile=reconcile_tracking,
    workers=1,
)
