"""Node selector terms, pod affinity terms and tolerations, read once from a pod's spec and matched often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from oarlock.cluster.objects.selectors import LabelSelector, from_object

Labels = Mapping[str, str]
Object = Mapping[str, Any]
_TOLERATIONS_MAX = 1024
"""Nearly all pods have the same ones."""


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class Toleration:
    """`operator` is Exists, Equal, Lt or Gt; an empty key with Exists tolerates every taint."""

    key: str
    operator: str
    value: str
    effect: str

    def tolerates(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        match self.operator:
            case "Exists":
                return True
            case "Lt" | "Gt":
                return _compares(taint.value, self.operator, self.value)
            case _:
                return bool(self.key) and self.value == taint.value


@dataclass(frozen=True, slots=True)
class NodeRequirement:
    """One expression on a node's labels or, for `fields`, on its name."""

    key: str
    operator: str
    values: tuple[str, ...]

    def matches(self, labels: Labels) -> bool:
        present = labels.get(self.key)
        match self.operator:
            case "In":
                return present in self.values
            case "NotIn":
                return present not in self.values
            case "Exists":
                return present is not None
            case "DoesNotExist":
                return present is None
            case "Gt" | "Lt":
                return present is not None and _compares(present, self.operator, self.values[0])
            case _:
                return False


@dataclass(frozen=True, slots=True)
class NodeTerm:
    """All expressions must hold; a term without any matches no node."""

    expressions: tuple[NodeRequirement, ...]
    fields: tuple[NodeRequirement, ...]

    def matches(self, name: str, labels: Labels) -> bool:
        if not self.expressions and not self.fields:
            return False
        named = {"metadata.name": name}
        return all(one.matches(labels) for one in self.expressions) and all(one.matches(named) for one in self.fields)

    def names(self) -> frozenset[str] | None:
        """Return the only nodes that the term can mean, if it says so by name."""
        found: frozenset[str] | None = None
        for one in self.fields:
            if (one.key, one.operator) == ("metadata.name", "In"):
                found = frozenset(one.values) if found is None else found & frozenset(one.values)
        return found


@dataclass(frozen=True, slots=True)
class PodTerm:
    """Which pods a pod wants beside it (or away from it) within one value of a node label."""

    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None
    topology_key: str
    weight: int = 0

    def matches(self, namespace: str, labels: Labels, namespace_labels: Mapping[str, Labels]) -> bool:
        """Whether a pod with these labels in this namespace is meant."""
        named = namespace in self.namespaces or (
            self.namespace_selector is not None and self.namespace_selector.matches(namespace_labels.get(namespace))
        )
        return named and self.selector.matches(labels)


def taints(entries: Iterable[Object]) -> tuple[Taint, ...]:
    return tuple(Taint(entry["key"], entry.get("value") or "", entry["effect"]) for entry in entries)


_toleration = lru_cache(_TOLERATIONS_MAX)(Toleration)


def tolerations(entries: Iterable[Object]) -> tuple[Toleration, ...]:
    return tuple(
        [
            _toleration(
                entry.get("key") or "",
                entry.get("operator") or "Equal",
                entry.get("value") or "",
                entry.get("effect") or "",
            )
            for entry in entries
        ]
    )


def node_term(entry: Object) -> NodeTerm:
    return NodeTerm(_requirements(entry, "matchExpressions"), _requirements(entry, "matchFields"))


def pod_term(entry: Object, namespace: str, own_labels: Labels, weight: int = 0) -> PodTerm:
    """Read a PodAffinityTerm of a pod in `namespace`; (mis)match label keys take their values from `own_labels`."""
    selector = _narrowed(entry.get("labelSelector"), entry, own_labels)
    chooser = entry.get("namespaceSelector")
    named = frozenset(entry.get("namespaces") or ())
    return PodTerm(
        from_object(selector),
        named if named or chooser is not None else frozenset((namespace,)),
        None if chooser is None else from_object(chooser),
        entry["topologyKey"],
        weight,
    )


def narrowed(selector: Object | None, keys: Iterable[str], own_labels: Labels, operator: str = "In") -> Object | None:
    """Add to a selector that the labels `keys` have the pod's own values; labels the pod lacks are left out."""
    extra = [{"key": key, "operator": operator, "values": [own_labels[key]]} for key in keys if key in own_labels]
    if selector is None or not extra:
        return selector
    return {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *extra]}


def _narrowed(selector: Object | None, entry: Object, own_labels: Labels) -> Object | None:
    matched = narrowed(selector, entry.get("matchLabelKeys") or (), own_labels)
    return narrowed(matched, entry.get("mismatchLabelKeys") or (), own_labels, "NotIn")


def _requirements(entry: Object, field: str) -> tuple[NodeRequirement, ...]:
    return tuple(
        NodeRequirement(one["key"], one["operator"], tuple(one.get("values") or ())) for one in entry.get(field) or ()
    )


def _compares(left: str, operator: str, right: str) -> bool:
    try:
        return int(left) > int(right) if operator == "Gt" else int(left) < int(right)
    except ValueError:
        return False
