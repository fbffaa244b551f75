"""The end of an object: its key goes, and with it what it held, unless something of it has to stay."""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver.admission.chain import Admission
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.claims import Claims, Unmet
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.storage import Stale, Storage

Obj = dict[str, Any]


async def remove(
    storage: Storage, admission: Admission, call: Call, key: bytes, obj: Obj, current: Entry, claims: Claims = ()
) -> None:
    """Remove `obj`, which is stored as `current`. Raises Stale when it, or what was relied on, has changed."""
    left = await admission.remains(call.resource, obj)
    try:
        if left is not None:
            await storage.put(key, left.obj, current, call.fences, (*claims, *left.guards))
        else:
            claims = (*claims, *await admission.claims(call.resource, None, obj))
            await storage.remove(key, current, call.fences, claims)
    except Unmet as unmet:
        await storage.catch_up(unmet.revision)
        raise Stale(current) from None
