"""Administrators' access to devices that others use: only from namespaces that are labelled for it.

Source: upstream's pkg/registry/resource `AuthorizedForAdmin`; KEP-5018.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oarlock.cluster.apiserver.admission.attributes import Attributes
from oarlock.cluster.apiserver.admission.view import View
from oarlock.cluster.objects.causes import forbidden
from oarlock.cluster.objects.status import invalid

Obj = dict[str, Any]
KINDS = (("resource.k8s.io", "resourceclaims"), ("resource.k8s.io", "resourceclaimtemplates"))
LABEL = "resource.kubernetes.io/admin-access"


async def check(attributes: Attributes, view: View) -> None:
    """Refuse a new claim or template that asks for such access elsewhere; what it asks for can't change later."""
    if not attributes.is_create or not any(_asks(attributes.obj)):
        return
    namespace = await view.get_live("", "namespaces", attributes.namespace)
    if (((namespace or {}).get("metadata") or {}).get("labels") or {}).get(LABEL) != "true":
        why = f"admin access to devices requires the `{LABEL}: true` label on the containing namespace"
        kind = attributes.resource
        raise invalid(kind.kind, kind.group, attributes.name, [forbidden("", why)])


def _asks(obj: Obj) -> Iterator[bool]:
    spec = obj.get("spec") or {}
    claimed = (spec.get("spec") or spec).get("devices") or {}
    for request in claimed.get("requests") or ():
        yield bool((request.get("exactly") or {}).get("adminAccess"))
