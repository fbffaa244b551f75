"""Where what is selected stands among the objects of a collection: what a list or a new watch has to look at."""

from __future__ import annotations

from collections.abc import Iterable

from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.selection import Selection
from oarlock.cluster.apiserver.watchcache import Collection

SCANNED_MAX = 200
"""Objects that are looked at in one turn of the loop; among no more than these, no index is asked."""
_MOST = 4
"""Whatever an index finds is put in order in one go: where it finds more than one in so many, all are gone through."""


async def candidates(collection: Collection, chosen: Selection) -> Iterable[Entry]:
    """Return the entries of now, in key order, among which all that is selected is.

    An index that has yet to be made is waited for, so that now is when this returns. To be read before others have
    their turn: the collection must not change meanwhile.
    """
    keys = await _indexed(collection, chosen)
    if keys is None:
        return collection.between(chosen.start, chosen.end)
    return (collection.entries[key] for key in keys if chosen.holds(key))


async def _indexed(collection: Collection, chosen: Selection) -> list[bytes] | None:
    """Return the keys that an index finds, None where to go through all in the range costs no more."""
    asked = chosen.asked
    if chosen.everything or asked is None or not collection.exceeds(chosen.start, chosen.end, SCANNED_MAX):
        return None
    index = await collection.indexes.complete(asked.aspect, collection.entries)
    if index is None or not collection.exceeds(chosen.start, chosen.end, index.count(asked.values) * _MOST):
        return None
    return index.keys(asked.values)
