"""A custom object's form in a version: what reading it back from the store and converting it make of it.

Source: apiextensions `pkg/apiserver/customresource_handler.go` (crdConversionRESTOptionsGetter): what is read gets the
defaults of the version that it is stored in; what has been converted loses what its new version doesn't know.
"""

from __future__ import annotations

from typing import Any

from oarlock.cluster.objects.custom import defaulting
from oarlock.cluster.objects.custom.kind import CustomKind
from oarlock.cluster.objects.extensions.pruning import pruned

Obj = dict[str, Any]


def of_object(custom: CustomKind, obj: Obj) -> CustomKind | None:
    """The version that an object says it is of; None for one that its definition doesn't have."""
    return custom.versions.get(obj["apiVersion"].rpartition("/")[2])


def read(custom: CustomKind, obj: Obj) -> Obj:
    """An object as it is read from the store, in the version `custom` that it is stored in."""
    found = fitting(custom, obj)
    defaulting.apply(custom.schema, found)
    return found


def fitting(custom: CustomKind, obj: Obj) -> Obj:
    """An object without what the version `custom` doesn't know."""
    if custom.preserves_unknown:
        return obj
    found: Obj = pruned(custom.schema, obj, whole=True)
    return found


def relabelled(custom: CustomKind, obj: Obj, api_version: str) -> Obj:
    """An object in the version `custom` where conversion is the change of its apiVersion and no more."""
    return fitting(custom, {**obj, "apiVersion": api_version})
