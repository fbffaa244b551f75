"""Graphs of owners at random, and which of their objects must outlive the deletion of one."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Object = dict[str, Any]


@st.composite
def graphs(draw: st.DrawFn, mistakes: bool = True) -> list[Object]:
    """Up to nine objects, each with up to three owners; with mistakes in two namespaces or none, missing, misnamed."""
    count = draw(st.integers(1, 9))
    places = draw(st.lists(st.sampled_from(["a", "a", "b", ""] if mistakes else ["a"]), min_size=count, max_size=count))
    made = []
    for number, place in enumerate(places):
        kind = "ConfigMap" if place else "PersistentVolume"
        metadata: Object = {"name": f"n{number}", "uid": f"u{number}", "resourceVersion": "1", "ownerReferences": []}
        if place:
            metadata["namespace"] = place
        for owner in draw(st.lists(st.integers(0, count if mistakes else count - 1), max_size=3, unique=True)):
            where = places[owner] if owner < count else "a"
            wrong = draw(st.sampled_from([None, None, None, None, "name", "kind"] if mistakes else [None]))
            metadata["ownerReferences"].append(
                {
                    "apiVersion": "v1",
                    "kind": "Widget" if wrong == "kind" else "ConfigMap" if where else "PersistentVolume",
                    "name": "other" if wrong == "name" else f"n{owner}",
                    "uid": f"u{owner}",
                    "blockOwnerDeletion": draw(st.booleans()),
                }
            )
        made.append({"apiVersion": "v1", "kind": kind, "metadata": metadata})
    return made


def survivors(objects: list[Object], first: str) -> set[str]:
    """What must be left: an object goes when it has owners, all can be looked up, and none of them is left."""
    by_uid = {one["metadata"]["uid"]: one for one in objects}

    def owned_by(one: Object, reference: Object) -> str | None:
        """The owner's uid, "" for one that can't exist, None when it can't be told."""
        namespace = one["metadata"].get("namespace", "")
        if reference["kind"] == "Widget" or (reference["kind"] == "ConfigMap" and not namespace):
            return None
        owner = by_uid.get(reference["uid"])
        wanted = namespace if reference["kind"] == "ConfigMap" else ""
        same = owner is not None and owner["metadata"]["name"] == reference["name"]
        return reference["uid"] if same and owner["metadata"].get("namespace", "") == wanted else ""  # type: ignore[index]

    left = set(by_uid) - {first}
    while True:
        gone = set()
        for uid in left:
            owners = [owned_by(by_uid[uid], one) for one in by_uid[uid]["metadata"]["ownerReferences"]]
            if owners and None not in owners and not any(owner in left for owner in owners):
                gone.add(uid)
        if not gone:
            return left
        left -= gone
