"""Which objects of a collection a request selects: key range, label selector, field selector."""

from __future__ import annotations

from dataclasses import dataclass

from oarlock.cluster.apiserver import views
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.watchcache import Entry
from oarlock.cluster.objects import fields, selectors
from oarlock.cluster.objects.resources import Resource


@dataclass(frozen=True, slots=True)
class Selection:
    """Keys `[start, end)`, of which the objects that both selectors match."""

    resource: Resource
    start: bytes
    end: bytes
    labels: selectors.LabelSelector
    fields: selectors.FieldSelector

    @property
    def everything(self) -> bool:
        """Whether every object in the key range is selected."""
        return self.labels.everything and self.fields.everything

    def matches(self, entry: Entry) -> bool:
        """Tell whether both selectors match. The entry remembers what was parsed for it in its own version."""
        if self.everything:
            return True
        is_own = self.resource.custom is None or views.as_stored(self.resource, entry)
        labels, selectable = (entry.labels, entry.selectable) if is_own else (None, None)
        if labels is None or selectable is None:
            obj = views.parsed(self.resource, entry)
            labels = obj["metadata"].get("labels") or {}
            selectable = dict(fields.selectable(self.resource, obj))
            if is_own:
                entry.labels, entry.selectable = labels, selectable
        return self.labels.matches(labels) and self.fields.matches(selectable)

    def holds(self, key: bytes) -> bool:
        """Tell whether `key` is in the key range."""
        return self.start <= key < self.end


def selection(call: Call) -> Selection:
    """Read the request's namespace and selectors. Raises ApiError 400."""
    query, resource = call.request.query, call.resource
    labels = selectors.parse_labels(query.get("labelSelector"))
    chosen = selectors.parse_fields(query.get("fieldSelector"))
    fields.check(resource, chosen)
    start = resource.key_prefix
    if resource.namespaced and call.namespace:
        start += call.namespace.encode() + b"/"
    end = start[:-1] + b"0"
    name = call.info.name or chosen.exact("metadata.name")
    namespace = call.namespace or chosen.exact("metadata.namespace") or ""
    if name and (namespace or not resource.namespaced):
        start = resource.key(namespace, name)
        end = start + b"\0"
    return Selection(resource, start, end, labels, chosen)
