"""NamespaceLifecycle: nothing is created in a namespace that is missing or on its way out."""

from __future__ import annotations

from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.apiserver.watchcache import Entry
from oarlock.cluster.objects import resources, status

_BEING_TERMINATED = "unable to create new content in namespace {} because it is being terminated"


class NamespaceLifecycle:
    """Source: apiserver pkg/admission/plugin/namespace/lifecycle."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        found = resources.lookup("", "v1", "namespaces")
        assert found is not None
        self._namespaces = found

    async def check(self, call: Call) -> None:
        """Refuse a creation in a namespace that is missing (404) or terminating (403)."""
        if not call.namespace:
            return
        key = self._namespaces.key("", call.namespace)
        entry = self._storage.cache.collection(self._namespaces.key_prefix).entries.get(key)
        if entry is None or _terminating(entry):
            # The cache may be behind: only the store itself can say no.
            entry = await self._storage.live(key)
        if entry is None:
            raise status.not_found("namespaces", call.namespace)
        if _terminating(entry):
            error = status.forbidden(call.resource.qualified, call.info.name, _BEING_TERMINATED.format(call.namespace))
            details = error.details or {}
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {call.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            error.details = {**details, "causes": [cause]}
            raise error


def _terminating(entry: Entry) -> bool:
    return b'"deletionTimestamp"' in entry.wire and bool(entry.object()["metadata"].get("deletionTimestamp"))
