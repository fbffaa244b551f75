"""Bootstrap tokens: what a joining node trusts is signed with them, and they go when their time is up.

Both act only where they are asked for by name, as upstream's do.
Source: kubernetes.io "Authenticating with Bootstrap Tokens"; upstream's pkg/controller/bootstrap and
k8s.io/cluster-bootstrap token/jws.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson

from oarlock.actors.controllers.actions import Action, Delete, Requeue, Update
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View, parse_time
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]

TYPE = "bootstrap.kubernetes.io/token"
CLUSTER_INFO = "kube-public/cluster-info"
_NAMESPACE, _NAME_PREFIX = "kube-system", "bootstrap-token-"
_SIGNATURE = "jws-kubeconfig-"
_ID, _SECRET = re.compile(r"[a-z0-9]{6}"), re.compile(r"[a-z0-9]{16}")


def reconcile_info(key: str, view: View) -> list[Action]:
    """Return what gives the config map with the cluster's address one signature for each good token."""
    held = view.get("configmaps", key)
    data = (held or {}).get("data") or {}
    if held is None or "kubeconfig" not in data:
        return []
    wanted = {name: value for name, value in data.items() if not name.startswith(_SIGNATURE)}
    for secret in sorted(_secrets(view), key=lambda one: str(one["metadata"]["name"])):
        found = _token(secret, view.now)
        if found is not None:
            wanted[_SIGNATURE + found[0]] = signature(data["kubeconfig"], *found)
    return [Update({**held, "data": wanted})] if wanted != data else []


def reconcile_token(key: str, view: View) -> list[Action]:
    """Return the deletion of a token whose time is up, or when to look again."""
    secret = view.get("secrets", key)
    if secret is None or secret["type"] != TYPE:
        return []
    left_s = _left_s(secret, view.now)
    if left_s is None:
        return []
    return [Requeue(left_s)] if left_s > 0 else [Delete(secret)]


def signature(content: str, token_id: str, token_secret: str) -> str:
    """Return the detached JWS of a text: head and signature, without what was signed."""
    head = _text(orjson.dumps({"alg": "HS256", "kid": token_id}))
    signed = f"{head}.{_text(content.encode())}".encode()
    return f"{head}..{_text(hmac.new(token_secret.encode(), signed, hashlib.sha256).digest())}"


def _token(secret: Mapping[str, Any], now: datetime) -> tuple[str, str] | None:
    """Return the id and the secret part of a token that may sign, as its name and its times allow."""
    token_id, token_secret = _value(secret, "token-id"), _value(secret, "token-secret")
    named = secret["metadata"]["name"] == _NAME_PREFIX + token_id
    good = named and _ID.fullmatch(token_id) and _SECRET.fullmatch(token_secret)
    left_s = _left_s(secret, now)
    signs = _value(secret, "usage-bootstrap-signing") == "true" and (left_s is None or left_s > 0)
    return (token_id, token_secret) if good and signs else None


def _left_s(secret: Mapping[str, Any], now: datetime) -> float | None:
    """Return the seconds that a token has left, None for ever; a time that can't be read is up."""
    written = _value(secret, "expiration")
    if not written:
        return None
    try:
        return (parse_time(written) - now).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _value(secret: Mapping[str, Any], name: str) -> str:
    return base64.b64decode((secret.get("data") or {}).get(name) or "").decode(errors="replace")


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _secrets(view: View) -> list[Object]:
    return [one for one in view.list("secrets", _NAMESPACE) if one["type"] == TYPE]


def _is_token(obj: Mapping[str, Any]) -> bool:
    return bool(obj["type"] == TYPE and obj["metadata"]["namespace"] == _NAMESPACE)


def _info_keys(plural: str, old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    present: Object = new or old or {}
    concerns = _is_token(present) if plural == "secrets" else key_of(present) == CLUSTER_INFO
    return [Due(CLUSTER_INFO)] if concerns else []


def _token_keys(_plural: str, _old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    return [Due(key_of(new))] if new is not None and _is_token(new) else []


BOOTSTRAP_SIGNER = Controller(
    name="bootstrapsigner",
    source="bootstrap-signer",
    reads=("configmaps", "secrets"),
    keys=_info_keys,
    reconcile=reconcile_info,
    workers=1,
)
TOKEN_CLEANER = Controller(
    name="tokencleaner",
    source="token-cleaner",
    reads=("secrets",),
    keys=_token_keys,
    reconcile=reconcile_token,
    workers=1,
)
