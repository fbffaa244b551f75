"""What a write of a custom object drops, keeps and counts.

Source: apiextensions `registry/customresource/strategy.go`.
"""

from __future__ import annotations

from typing import Any, Final

from oarlock.cluster.objects.custom.kind import CustomKind

Obj = dict[str, Any]
_ALWAYS: Final = frozenset({"metadata"})


def prepare_create(custom: CustomKind, obj: Obj) -> None:
    """A new object is of generation 1, and has no status where that has an endpoint of its own."""
    if custom.has_status:
        obj.pop("status", None)
    obj["metadata"]["generation"] = 1


def prepare_update(custom: CustomKind, new: Obj, old: Obj, part: str) -> None:
    """An update keeps the status, one of the status everything else; whatever else changes moves the generation on."""
    if part == "status":
        kept = {name: value for name, value in old.items() if name not in ("status", "metadata")}
        status = {"status": new["status"]} if "status" in new else {}
        owned = new["metadata"].get("managedFields")
        metadata = {**old["metadata"]}
        if owned is not None:
            metadata["managedFields"] = owned
        new.clear()
        new.update({**kept, "metadata": metadata, **status})
        return
    if custom.has_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    apart = _ALWAYS | {"status"} if custom.has_status else _ALWAYS
    if _without(new, apart) != _without(old, apart):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def _without(obj: Obj, names: frozenset[str]) -> Obj:
    return {name: value for name, value in obj.items() if name not in names}
