"""NamespaceLifecycle: nothing is created in a namespace that is missing or on its way out.

Source: apiserver pkg/admission/plugin/namespace/lifecycle.
"""

from __future__ import annotations

from oarlock.cluster.apiserver.admission.attributes import CREATE, Attributes
from oarlock.cluster.apiserver.admission.view import View, resource
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.objects import status
from oarlock.cluster.objects.status import ApiError

_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
_REVIEWS = frozenset({"localsubjectaccessreviews"})
_BEING_TERMINATED = "unable to create new content in namespace {} because it is being terminated"


async def admit(attributes: Attributes, view: View) -> None:
    """Refuse a write in a namespace that is missing (404), and a creation in a terminating one (403)."""
    if not attributes.namespace or attributes.kind[1] in _REVIEWS:
        return
    namespaces = resource("", "namespaces")
    key = namespaces.key("", attributes.namespace)
    entry = view.storage.cache.collection(namespaces.key_prefix).entries.get(key)
    if entry is None or _terminating(entry):
        # The cache may be behind: only the store itself can say no.
        entry = await view.storage.live(key)
    if entry is None:
        raise status.not_found("namespaces", attributes.namespace)
    if attributes.operation == CREATE and _terminating(entry):
        raise _refusal(attributes)


def refuse_deletion(name: str) -> None:
    """Raise ApiError 403 for a namespace that may not be deleted."""
    if name in _IMMORTAL:
        raise status.forbidden("namespaces", name, "this namespace may not be deleted")


def _refusal(attributes: Attributes) -> ApiError:
    error = attributes.forbidden(_BEING_TERMINATED.format(attributes.namespace))
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {attributes.namespace} is being terminated",
        "field": "metadata.namespace",
    }
    error.details = {**(error.details or {}), "causes": [cause]}
    return error


def _terminating(entry: Entry) -> bool:
    return b'"deletionTimestamp"' in entry.wire and bool(entry.object()["metadata"].get("deletionTimestamp"))
