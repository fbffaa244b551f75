"""Service accounts' tokens: asked for at serviceaccounts/NAME/token, shown by pods as who they are.

A token holds while its account, and the pod, secret or node that it is bound to, are there with the uid they had.
Source: KEP-1205; upstream's pkg/registry/core/serviceaccount/storage/token.go and pkg/serviceaccount/claims.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson

from oarlock.cluster.apiserver import bodies, clock, legacy_tokens
from oarlock.cluster.apiserver.authentication import User
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.identities import ACCOUNT_PREFIX, account_user, find
from oarlock.cluster.apiserver.legacy_tokens import LegacyTokens
from oarlock.cluster.apiserver.options import write_options
from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.objects import status
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.tokens import (
    CONFIGURATION_PATH,
    JWKS_PATH,
    Claims,
    TokenKey,
    audiences_of,
    configuration,
)

Obj = dict[str, Any]
EXPIRATION_S = 3600
EXPIRATION_S_MIN = 600
EXPIRATION_S_MAX = 1 << 32
POD_EXPIRATION_S = 3607
"""What a pod's own token asks for: it is renewed after that, and works on for EXTENDED_S for readers that don't."""
EXTENDED_S = 365 * 24 * 3600
_LEEWAY_S = 60
#: What a token can be bound to: kind → the claim's name and the resource.
_BOUND = {"Pod": ("pod", "pods"), "Secret": ("secret", "secrets"), "Node": ("node", "nodes")}


class ServiceAccounts:
    """Gives tokens out and tells whose they are."""

    def __init__(self, key: TokenKey, issuer: str, storage: Storage, now: clock.Clock, legacy: LegacyTokens) -> None:
        self._key = key
        self._legacy = legacy
        self._issuer = issuer
        self._storage = storage
        self._now = now

    async def request(self, call: Call) -> Obj:
        """Answer a TokenRequest. Raises ApiError 400, 404, 409, 422."""
        wanted = write_options("CreateOptions", call.request.query)
        request = await bodies.read_kind(call, wanted, "authentication.k8s.io", "v1", "TokenRequest")
        metadata, spec = request["metadata"], request.setdefault("spec", {})
        _check_identity(call, metadata)
        spec["audiences"] = spec.get("audiences") or [self._issuer]
        spec.setdefault("expirationSeconds", EXPIRATION_S)
        spec.setdefault("boundObjectRef", None)
        _check_duration(spec["expirationSeconds"])
        account = await find(self._storage, "serviceaccounts", call.namespace, call.info.name)
        if account is None:
            raise status.not_found("serviceaccounts", call.info.name)
        bound = await self._bound(call, spec["boundObjectRef"])
        begins = self._now()
        claims = self._claims(spec, account, bound, begins)
        ends = begins + timedelta(seconds=spec["expirationSeconds"])
        request["metadata"] = {
            **metadata,
            "name": call.info.name,
            "namespace": call.namespace,
            "creationTimestamp": clock.text(begins),
        }
        request["status"] = {
            "token": "" if wanted.dry_run else self._key.sign(claims),
            "expirationTimestamp": clock.text(ends),
        }
        return request

    def _claims(self, spec: Obj, account: Obj, bound: dict[str, Obj], begins: datetime) -> Obj:
        metadata = account["metadata"]
        at, lasts = int(begins.timestamp()), spec["expirationSeconds"]
        told: Obj = {name: _reference(one) for name, one in bound.items()}
        extended = lasts == POD_EXPIRATION_S and "pod" in bound and spec["audiences"] == [self._issuer]
        if extended:
            told["warnafter"], lasts = at + lasts, EXTENDED_S
        return {
            "aud": spec["audiences"],
            "exp": at + lasts,
            "iat": at,
            "iss": self._issuer,
            "jti": str(uuid4()),
            "kubernetes.io": {
                "namespace": metadata["namespace"],
                "serviceaccount": _reference(account),
                **told,
            },
            "nbf": at,
            "sub": f"{ACCOUNT_PREFIX}{metadata['namespace']}:{metadata['name']}",
        }

    async def _bound(self, call: Call, reference: Obj | None) -> dict[str, Obj]:
        """Return what the token is to be bound to, by claim. Raises ApiError 400, 404, 409."""
        if not reference:
            return {}
        kind, version = reference.get("kind") or "", reference.get("apiVersion") or ""
        if kind not in _BOUND or version != "v1":
            group, _, number = version.rpartition("/")
            raise status.bad_request(f"cannot bind token to object of type {group}/{number}, Kind={kind}")
        claim, plural = _BOUND[kind]
        name = reference.get("name") or ""
        namespace = "" if kind == "Node" else call.namespace
        found = await find(self._storage, plural, namespace, name)
        if found is None:
            raise status.not_found(plural, name)
        uid = found["metadata"]["uid"]
        if reference.get("uid") and reference["uid"] != uid:
            why = (
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise status.conflict(plural, name, why)
        reference["uid"] = uid
        if kind == "Pod":
            return await self._bound_pod(call, found)
        return {claim: found}

    async def _bound_pod(self, call: Call, pod: Obj) -> dict[str, Obj]:
        if pod["spec"].get("serviceAccountName") != call.info.name:
            text = "cannot bind token for serviceaccount {} to pod running with different serviceaccount name."
            raise status.bad_request(text.format(quote(call.info.name)))
        node = pod["spec"].get("nodeName")
        host = await find(self._storage, "nodes", "", node) if node else None
        return {"pod": pod, **({"node": host} if host is not None else {})}

    async def user(self, token: str, audiences: Sequence[str] = (), warnings: list[str] | None = None) -> User | None:
        """Return whose valid token for one of `audiences` (the API server's own if none is named) this is.

        What its bearer is to be told is put into `warnings`.
        """
        claims = self._key.claims(token)
        if claims is None:
            return None
        if legacy_tokens.is_legacy(claims):
            wanted = not audiences or self._issuer in audiences
            return await self._legacy.user(token, claims, warnings) if wanted else None
        if not self._is_current(claims, audiences or (self._issuer,)):
            return None
        private = claims.get("kubernetes.io") or {}
        namespace, account = private.get("namespace", ""), private.get("serviceaccount") or {}
        if not await self._stands("serviceaccounts", namespace, account):
            return None
        for claim, plural in _BOUND.values():
            held = private.get(claim)
            if held and not await self._stands(plural, "" if claim == "node" else namespace, held):
                return None
        return account_user(namespace, account["name"], account["uid"], _extra(claims, private))

    def accepted(self, token: str, audiences: Sequence[str]) -> list[str]:
        """Return those of `audiences` that a valid token is meant for."""
        claims = self._key.claims(token) or {}
        meant = (self._issuer,) if legacy_tokens.is_legacy(claims) else audiences_of(claims)
        return [one for one in audiences or (self._issuer,) if one in meant]

    def published(self, server: str) -> dict[str, bytes]:
        """Return the documents by which others check tokens, by path. `server` is where they are served."""
        return {
            JWKS_PATH: orjson.dumps(self._key.jwks()),
            CONFIGURATION_PATH: orjson.dumps(configuration(self._issuer, server)),
        }

    def _is_current(self, claims: Claims, audiences: Sequence[str]) -> bool:
        at = self._now().timestamp()
        if claims.get("iss") != self._issuer or not set(audiences) & set(audiences_of(claims)):
            return False
        begins, ends = claims.get("nbf"), claims.get("exp")
        return isinstance(begins, int) and isinstance(ends, int) and begins - _LEEWAY_S <= at < ends

    async def _stands(self, plural: str, namespace: str, reference: Obj) -> bool:
        found = await find(
            self._storage, plural, namespace, str(reference.get("name", "")), str(reference.get("uid", ""))
        )
        if found is None or found["metadata"]["uid"] != reference.get("uid"):
            return False
        deleted = found["metadata"].get("deletionTimestamp")
        if not deleted:
            return True
        return self._now().astimezone(UTC) < clock.parse(deleted) + timedelta(seconds=_LEEWAY_S)


def _check_identity(call: Call, metadata: Obj) -> None:
    for field, value in (("name", call.info.name), ("namespace", call.namespace)):
        given = metadata.get(field)
        if given and given != value:
            raise status.bad_request(
                f"the {field} of the object ({given}) does not match the {field} on the URL ({value})"
            )


def _check_duration(seconds: int) -> None:
    text = ""
    if seconds < EXPIRATION_S_MIN:
        text = "may not specify a duration less than 10 minutes"
    elif seconds > EXPIRATION_S_MAX:
        text = "may not specify a duration larger than 2^32 seconds"
    if text:
        cause = Cause("FieldValueInvalid", f"Invalid value: {seconds}: {text}", "spec.expirationSeconds")
        raise status.invalid("TokenRequest", "authentication.k8s.io", "", [cause])


def _reference(obj: Obj) -> Obj:
    return {"name": obj["metadata"]["name"], "uid": obj["metadata"]["uid"]}


def _extra(claims: Claims, private: Obj) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found = [("credential-id", f"JTI={claims['jti']}")] if claims.get("jti") else []
    for name in ("node", "pod"):
        if private.get(name):
            found += [(f"{name}-name", private[name]["name"]), (f"{name}-uid", private[name]["uid"])]
    return tuple((f"authentication.kubernetes.io/{name}", (value,)) for name, value in found)
