"""Service accounts as callers, and the live objects that their tokens name."""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver.authentication import AUTHENTICATED, User
from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.objects import resources

Obj = dict[str, Any]
ACCOUNT_PREFIX = "system:serviceaccount:"


def account_user(namespace: str, name: str, uid: str, extra: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> User:
    """Return who a service account is when it calls."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"{ACCOUNT_PREFIX}{namespace}:{name}", groups, uid, extra)


async def find(storage: Storage, plural: str, namespace: str, name: str, uid: str = "") -> Obj | None:
    """Return a core object, from the cache if it is there (with that uid), else from the store itself."""
    resource = resources.lookup("", "v1", plural)
    assert resource is not None
    key = resource.key(namespace, name)
    entry = storage.cache.collection(resource.key_prefix).entries.get(key)
    if entry is not None:
        cached = entry.object()
        if not uid or cached["metadata"]["uid"] == uid:
            return cached
    live = await storage.live(key)
    return live.object() if live is not None else None
