"""Which objects of a collection a request selects: key range, label selector, field selector."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

from oarlock.cluster.apiserver import views
from oarlock.cluster.apiserver.audience import KEY, PARENT, Interest
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.objects import fields, selectors
from oarlock.cluster.objects.glimpse import Glimpse
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.selectors import Operator

_EQUALITY = frozenset({Operator.IN, Operator.EQUALS, Operator.DOUBLE_EQUALS})
_IN_KEY = frozenset({fields.NAME, fields.NAMESPACE})
_LABELS = ("metadata", "labels")


@dataclass(frozen=True, slots=True)
class _Looked:
    """The fields of a collection that selectors have named so far: who looks at an object looks for all of them."""

    named: Mapping[str, fields.Field]
    glimpse: Glimpse

    @classmethod
    def at(cls, named: Mapping[str, fields.Field]) -> Self:
        return cls(named, Glimpse([_LABELS, *(path for one in named.values() for path in one.paths)]))


_looked: dict[bytes, _Looked] = {}


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
    everything: bool = field(init=False, compare=False)
    """Whether every object in the key range is selected."""
    _names: frozenset[str] = field(init=False, compare=False)
    _is_stored: bool = field(init=False, compare=False)
    """Whether all objects are shown in the form in which they are stored, so that entries remember what they are."""

    def __post_init__(self) -> None:
        own = self.resource.custom is None and views.is_stored_form(self.resource)
        object.__setattr__(self, "everything", self.labels.everything and self.fields.everything)
        object.__setattr__(self, "_names", frozenset(self.fields.names))
        object.__setattr__(self, "_is_stored", own)

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
        if not self._is_stored:
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
        labels: Mapping[str, str] | None = entry.labels
        known: Mapping[str, str] | None = entry.selectable
        if labels is None or known is None or not self._is_stored or not known.keys() >= self._names:
            labels, known = _selectable(self.resource, entry, self._names)
        return self.fields.matches(known) and self.labels.matches(labels)

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
        if known.keys() >= set(names):
            return entry.labels, known
    looked = _looked.get(resource.key_prefix)
    if looked is None or not looked.named.keys() >= set(names):
        named = {**(looked.named if looked else {}), **{name: fields.field(resource, name) for name in names}}
        looked = _looked[resource.key_prefix] = _Looked.at(named)
    obj = looked.glimpse.of(entry.wire) if is_own else views.parsed(resource, entry)
    labels = (obj.get("metadata") or {}).get("labels") or {}
    selectable = {name: one.read(obj) for name, one in looked.named.items()}
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
