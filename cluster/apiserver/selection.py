"""Which objects of a collection a request selects: key range, label selector, field selector."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from oarlock.cluster.apiserver import views
from oarlock.cluster.apiserver.audience import KEY, PARENT, Interest
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.objects import fields, selectors
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.selectors import Operator

_EQUALITY = frozenset({Operator.IN, Operator.EQUALS, Operator.DOUBLE_EQUALS})
_IN_KEY = frozenset({fields.NAME, fields.NAMESPACE})
_readers: dict[bytes, Mapping[str, fields.Read]] = {}
"""By collection, the fields that selectors have named so far: an object that is parsed is read for all of them."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A field that selectors may name."""

    resource: Resource
    name: str

    def value(self, entry: Entry) -> str:
        return _selectable(self.resource, entry, (self.name,))[1][self.name]


@dataclass(frozen=True, slots=True)
class _Label:
    """A label, None where an object hasn't got it."""

    resource: Resource
    key: str

    def value(self, entry: Entry) -> str | None:
        return _selectable(self.resource, entry, ())[0].get(self.key)


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

    @property
    def interest(self) -> Interest | None:
        """What alone a watch of this selection must be told of, None for every change."""
        if self.end == self.start + b"\0":
            return Interest(KEY, frozenset({self.start}))
        asked = self.asked
        if asked is None and self.start != self.resource.key_prefix:
            return Interest(PARENT, frozenset({self.start}))
        return asked

    @property
    def asked(self) -> Interest | None:
        """One thing that the selectors ask for by its value: an index of that finds all that can match."""
        custom = self.resource.custom
        if custom is not None or not views.is_stored_form(self.resource):
            return None  # what such objects are shown as may depend on their definitions
        for one in self.fields.requirements:
            if not one.negated and one.field not in _IN_KEY:
                return Interest(_Field(self.resource, one.field), frozenset({one.value}))
        for label in self.labels.requirements:
            if label.operator in _EQUALITY:
                return Interest(_Label(self.resource, label.key), frozenset(label.values))
        return None

    def matches(self, entry: Entry) -> bool:
        """Tell whether both selectors match."""
        if self.everything:
            return True
        labels, selectable = _selectable(self.resource, entry, self.fields.names)
        return self.labels.matches(labels) and self.fields.matches(selectable)

    def holds(self, key: bytes) -> bool:
        """Tell whether `key` is in the key range."""
        return self.start <= key < self.end


def _selectable(
    resource: Resource, entry: Entry, names: Collection[str]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return an object's labels and at least the fields of these names; the entry remembers those of its own form."""
    is_own = views.as_stored(resource, entry)
    if is_own and entry.labels is not None:
        known = entry.selectable or {}
        if all(name in known for name in names):
            return entry.labels, known
    readers = _readers.get(resource.key_prefix, {})
    if new := {name: fields.reader(resource, name) for name in names if name not in readers}:
        readers = _readers[resource.key_prefix] = {**readers, **new}
    obj = views.parsed(resource, entry)
    labels = obj["metadata"].get("labels") or {}
    selectable = {name: read(obj) for name, read in readers.items()}
    if is_own:
        entry.labels, entry.selectable = labels, selectable
    return labels, selectable


def selection(call: Call) -> Selection:
    """Read the request's namespace and selectors. Raises ApiError 400."""
    query, resource = call.request.query, call.resource
    labels = selectors.parse_labels(query.get("labelSelector"))
    chosen = selectors.parse_fields(query.get("fieldSelector"))
    fields.check(resource, chosen)
    namespace = call.namespace or chosen.exact(fields.NAMESPACE) or ""
    start = resource.key_prefix
    if resource.namespaced and namespace:
        start += namespace.encode() + b"/"
        chosen = chosen.without(fields.NAMESPACE, namespace)
    end = start[:-1] + b"0"
    name = call.info.name or chosen.exact(fields.NAME)
    if name and (namespace or not resource.namespaced):
        start = resource.key(namespace, name)
        end = start + b"\0"
        chosen = chosen.without(fields.NAME, name)
    # What the key range says already isn't looked for in the objects.
    return Selection(resource, start, end, labels, chosen)
