"""Secrets that hold a service account's token: filled in, kept current, and gone with their account.

Source: kubernetes.io "Manage Secrets for ServiceAccounts"; upstream's tokens_controller.go.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from oarlock.actors.controllers import bootstrap_tokens
from oarlock.actors.controllers.actions import Action, CatchUp, Delete, Update
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of
from oarlock.cluster.client.reflector import metadata_only, without_managed_fields
from oarlock.cluster.objects.tokens import LEGACY_CLAIMS, LEGACY_ISSUER, TokenKey

Object = dict[str, Any]

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
NAME = "serviceaccount-token"


def kept(secret: Object) -> Object:
    """Return what controllers keep of a Secret: all of one that holds a token, else nothing that is secret."""
    if secret.get("type") in (TYPE, bootstrap_tokens.TYPE):
        return without_managed_fields(secret)
    return {**metadata_only(secret), "type": secret.get("type", "")}


def account_of(view: View, secret: Mapping[str, Any]) -> Object | None:
    """Return the account that a Secret's annotations name, this very one if they tell its uid."""
    annotations = secret["metadata"].get("annotations") or {}
    found = view.get("serviceaccounts", f"{secret['metadata']['namespace']}/{annotations.get(ACCOUNT_NAME, '')}")
    uid = annotations.get(ACCOUNT_UID)
    return found if found is not None and uid in (None, "", found["metadata"]["uid"]) else None


def refers_to(account: Mapping[str, Any], name: str) -> bool:
    """Whether an account lists a Secret."""
    return any(one.get("name") == name for one in account.get("secrets") or ())


class TokenSecrets:
    """Signs with the cluster's key; `ca_pem` goes beside every token."""

    def __init__(self, key: TokenKey, ca_pem: str) -> None:
        self._key, self._ca = key, _encoded(ca_pem)

    def reconcile(self, key: str, view: View) -> list[Action]:
        """Return what a Secret lacks, its deletion without an account, or the end of references to one that is gone."""
        secret = view.get("secrets", key)
        if secret is None:
            return _unlisted(view, key)
        if secret["type"] != TYPE:
            return []
        account = account_of(view, secret)
        if account is None:
            revision = int(secret["metadata"]["resourceVersion"])
            if view.caches["serviceaccounts"].revision < revision:
                return [CatchUp(["serviceaccounts"], revision)]
            return [Delete(secret)]
        data = secret.get("data") or {}
        wanted = {
            **data,
            "ca.crt": self._ca or data.get("ca.crt"),
            "namespace": data.get("namespace") or _encoded(secret["metadata"]["namespace"]),
            "token": data.get("token") or _encoded(self._key.sign(_claims(account, secret))),
        }
        wanted = {name: value for name, value in wanted.items() if value is not None}
        if wanted == data:
            return []
        named = {ACCOUNT_NAME: account["metadata"]["name"], ACCOUNT_UID: account["metadata"]["uid"]}
        annotations = {**(secret["metadata"].get("annotations") or {}), **named}
        return [Update({**secret, "metadata": {**secret["metadata"], "annotations": annotations}, "data": wanted})]


def _claims(account: Mapping[str, Any], secret: Mapping[str, Any]) -> Object:
    where, name = account["metadata"]["namespace"], account["metadata"]["name"]
    said = (where, secret["metadata"]["name"], name, account["metadata"]["uid"])
    subject = f"system:serviceaccount:{where}:{name}"
    return {"iss": LEGACY_ISSUER, **dict(zip(LEGACY_CLAIMS, said, strict=True)), "sub": subject}


def _unlisted(view: View, key: str) -> list[Action]:
    namespace, _, name = key.partition("/")
    return [
        Update({**account, "secrets": [one for one in account["secrets"] if one.get("name") != name]})
        for account in view.list("serviceaccounts", namespace)
        if refers_to(account, name)
    ]


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _keys(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    present = new if new is not None else old
    assert present is not None
    if plural == "secrets":
        return [Due(key_of(present))] if present["type"] == TYPE else []
    if new is not None and old is not None:
        return []
    name = present["metadata"]["name"]
    return [
        Due(key_of(one))
        for one in view.list("secrets", present["metadata"]["namespace"])
        if one["type"] == TYPE and (one["metadata"].get("annotations") or {}).get(ACCOUNT_NAME) == name
    ]


def token_secrets(key_file: str, ca_pem: str) -> Controller:
    """Return the controller. Raises OSError, ValueError for a key that can't be used."""
    return Controller(
        name=NAME,
        source="serviceaccount-token-controller",
        reads=("secrets", "serviceaccounts"),
        keys=_keys,
        reconcile=TokenSecrets(TokenKey(Path(key_file).read_bytes()), ca_pem).reconcile,
        workers=4,
    )
