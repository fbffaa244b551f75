"""Tokens without end that stand in Secrets: whose they are, and the note on the Secret of the day of their last use.

Source: KEP-2799; upstream's pkg/serviceaccount/legacy.go.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta
from typing import Any

from oarlock.cluster.apiserver import clock
from oarlock.cluster.apiserver.authentication import User
from oarlock.cluster.apiserver.bootstrap import own_call
from oarlock.cluster.apiserver.identities import ACCOUNT_PREFIX, account_user, find
from oarlock.cluster.apiserver.options import WriteOptions
from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.apiserver.writing import Writer
from oarlock.cluster.objects import resources
from oarlock.cluster.objects.status import ApiError
from oarlock.cluster.objects.tokens import INVALID_SINCE, LAST_USED, LEGACY_CLAIMS, LEGACY_ISSUER, Claims
from oarlock.consensus.model import StoreError

Obj = dict[str, Any]
Mark = Callable[[Obj, str], Awaitable[None]]

_GENERATED = (
    "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated "
    "secret-based tokens."
)
log = logging.getLogger(__name__)


def is_legacy(claims: Claims) -> bool:
    """Whether a token is one of those that stand in Secrets; it is meant for the API server."""
    return claims.get("iss") == LEGACY_ISSUER


class LegacyTokens:
    """Tells whose such a token is. `mark(secret, day)` notes the day of its use; what it raises is the caller's."""

    def __init__(self, storage: Storage, now: clock.Clock, mark: Mark) -> None:
        self._storage, self._now, self._mark = storage, now, mark

    async def user(self, token: str, claims: Claims, warnings: list[str] | None = None) -> User | None:
        """Return whose token this is, None if its Secret or account isn't there any more or it was marked invalid."""
        namespace, secret_name, name, uid = (str(claims.get(one) or "") for one in LEGACY_CLAIMS)
        if not all((namespace, secret_name, name, uid)) or claims.get("sub") != f"{ACCOUNT_PREFIX}{namespace}:{name}":
            return None
        secret = await find(self._storage, "secrets", namespace, secret_name)
        if secret is None or not _holds(secret, token):
            secret = await self._live_secret(namespace, secret_name)
        if secret is None or secret["metadata"].get("deletionTimestamp") or not _holds(secret, token):
            return None
        account = await find(self._storage, "serviceaccounts", namespace, name, uid)
        if account is None or account["metadata"].get("deletionTimestamp") or account["metadata"]["uid"] != uid:
            return None
        await self._used(secret)
        if (secret["metadata"].get("labels") or {}).get(INVALID_SINCE):
            return None
        if warnings is not None and any(one.get("name") == secret_name for one in account.get("secrets") or ()):
            warnings.append(_GENERATED)
        return account_user(namespace, name, uid)

    async def _live_secret(self, namespace: str, name: str) -> Obj | None:
        """A token that was just put into its Secret may not have reached this server's cache."""
        resource = resources.lookup("", "v1", "secrets")
        assert resource is not None
        live = await self._storage.live(resource.key(namespace, name))
        return live.object() if live is not None else None

    async def _used(self, secret: Obj) -> None:
        """Note the day; tomorrow's was noted by a server whose clock is ahead. A failure harms nobody."""
        now = self._now().astimezone(UTC)
        days = [f"{day:%Y-%m-%d}" for day in (now, now + timedelta(days=1))]
        if (secret["metadata"].get("labels") or {}).get(LAST_USED) in days:
            return
        try:
            await self._mark(secret, days[0])
        except (ApiError, StoreError) as error:
            log.info("a token's use isn't noted: %s", error)


def marking(writer: Writer) -> Mark:
    """Return the function that labels a Secret with the day on which its token was last used."""

    async def mark(secret: Obj, day: str) -> None:
        resource = resources.lookup("", "v1", "secrets")
        assert resource is not None

        def labelled(current: Obj, _: object) -> Obj:
            metadata = current["metadata"]
            if metadata["uid"] != secret["metadata"]["uid"]:
                return current
            return {**current, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), LAST_USED: day}}}

        await writer.rewrite(own_call(resource, secret, "patch"), labelled, WriteOptions())

    return mark


def _holds(secret: Obj, token: str) -> bool:
    try:
        held = base64.b64decode((secret.get("data") or {}).get("token") or "")
    except binascii.Error:
        return False
    return hmac.compare_digest(held, token.encode())
