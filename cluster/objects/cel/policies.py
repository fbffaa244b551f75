"""What a type check finds in the expressions of an admission policy, for each kind that it is about.

Source: apiserver `pkg/admission/plugin/policy/validating/typechecking.go`, `pkg/admission/plugin/cel/{compile,
composition}.go`. What an expression gives isn't looked at; an expression of a variable that is wrong says nothing of
itself, and its variable may be anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from oarlock.cluster.objects.cel import checking, engine
from oarlock.cluster.objects.cel.declared import Declared, objects
from oarlock.cluster.objects.cel.types import BOOL, DYN, OPAQUE, STRING, Type, list_of, map_of

Json = Mapping[str, Any]
KINDS_MAX: Final = 10
"""Kinds that a rule's expressions are checked for; what it names beyond them is left out."""
_VARIABLES: Final = "kubernetes.variables"
_INT: Final = Type("int")
_TIME: Final = Type("timestamp")
_TEXTS: Final = map_of(STRING, STRING)
#: The objects that every expression may look at, whatever the policy is about.
_FIXED: Final[Mapping[str, Mapping[str, Type]]] = {
    "GroupVersionKind": dict.fromkeys(("group", "version", "kind"), STRING),
    "GroupVersionResource": dict.fromkeys(("group", "version", "resource"), STRING),
    "UserInfo": {
        "username": STRING,
        "uid": STRING,
        "groups": list_of(STRING),
        "extra": map_of(STRING, list_of(STRING)),
    },
    "AdmissionRequest": {
        **dict.fromkeys(("kind", "requestKind"), Type("object", "kubernetes.GroupVersionKind")),
        **dict.fromkeys(("resource", "requestResource"), Type("object", "kubernetes.GroupVersionResource")),
        **dict.fromkeys(("subResource", "requestSubResource", "name", "namespace", "operation"), STRING),
        "userInfo": Type("object", "kubernetes.UserInfo"),
        "dryRun": BOOL,
        "options": DYN,
    },
    "NamespaceSpec": {"finalizers": list_of(STRING)},
    "NamespaceCondition": {
        **dict.fromkeys(("status", "type", "message", "reason"), STRING),
        "lastTransitionTime": _TIME,
    },
    "NamespaceStatus": {"conditions": list_of(Type("object", "kubernetes.NamespaceCondition")), "phase": STRING},
    "NamespaceMetadata": {
        **dict.fromkeys(("name", "generateName", "namespace", "UID", "resourceVersion"), STRING),
        **dict.fromkeys(("labels", "annotations"), _TEXTS),
        **dict.fromkeys(("creationTimestamp", "deletionTimestamp"), _TIME),
        **dict.fromkeys(("deletionGracePeriodSeconds", "generation"), _INT),
        "finalizers": list_of(STRING),
    },
    "Namespace": {
        "metadata": Type("object", "kubernetes.NamespaceMetadata"),
        "spec": Type("object", "kubernetes.NamespaceSpec"),
        "status": Type("object", "kubernetes.NamespaceStatus"),
    },
}
_OBJECTS: Final = {
    f"kubernetes.{name}": Declared(
        Type("object", f"kubernetes.{name}"), fields={field: Declared(one) for field, one in fields.items()}
    )
    for name, fields in _FIXED.items()
}
_KEPT: Final = frozenset({"bool", "bytes", "double", "duration", "int", "null_type", "string", "timestamp", "uint"})


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """A kind in a group and version; they are sorted by those."""

    group: str
    version: str
    kind: str

    def __str__(self) -> str:
        """As upstream's messages show it."""
        return f"{self.group}/{self.version}, Kind={self.kind}"


class Scope:
    """What the expressions of one policy may refer to, where the policy meets objects declared as `subject`.

    A `subject` or `params` of None may be anything; `has_params` tells whether the policy has any.
    """

    def __init__(
        self, subject: Declared | None, params: Declared | None, *, has_params: bool, variables: Iterable[Json] = ()
    ) -> None:
        fields: dict[str, Declared] = {}
        held = Declared(Type("object", _VARIABLES), fields=fields)
        self._objects = {**_OBJECTS, _VARIABLES: held}
        for one in (subject, params):
            self._objects |= objects(one) if one is not None else {}
        self._types = {
            "namespaceObject": Type("object", "kubernetes.Namespace"),
            "request": Type("object", "kubernetes.AdmissionRequest"),
            **dict.fromkeys(("object", "oldObject"), _type_of(subject)),
            **({"params": _type_of(params)} if has_params else {}),
            "authorizer": Type("opaque", OPAQUE["authorizer"]),
            "variables": held.type,
        }
        for one_variable in variables:
            fields[one_variable["name"]] = Declared(self._type(one_variable["expression"]))

    def complaint(self, expression: str) -> str:
        """Everything that is wrong with an expression, with where it is; empty if nothing is."""
        try:
            return self._checked(expression).complaint()
        except engine.CompileError as error:
            return str(error)

    def _checked(self, expression: str) -> checking.Checked:
        return checking.check(engine.parsed(expression), self._types, self._objects)

    def _type(self, expression: str) -> Type:
        """The type of a variable, as far as others are told of it."""
        try:
            checked = self._checked(expression)
        except engine.CompileError:
            return DYN
        return DYN if checked.complaint() else _told(checked.type)


def _type_of(place: Declared | None) -> Type:
    return place.type if place is not None else DYN


def _told(one: Type) -> Type:
    """Of an object, and of what has a type of its own, a variable's type tells nothing."""
    if one.kind in ("list", "map"):
        return Type(one.kind, of=tuple(map(_told, one.of)))
    return one if one.kind in _KEPT else DYN


def warning(complaints: Iterable[tuple[Kind, str]]) -> str:
    """What is told of one expression; empty if no kind has anything to complain of."""
    return "\n".join(f"{kind}: {told}\n" for kind, told in complaints if told)


def named_resources(rule: Json) -> Sequence[tuple[str, str, str]]:
    """The groups, versions and resources that a rule names, sorted; with a wildcard it names none of these.

    Subresources, and resources with a wildcard, are passed over alone.
    """
    groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
    if any("*" in one for one in (*groups, *versions)):
        return ()
    named = [one for one in rule.get("resources") or () if "*" not in one and "/" not in one]
    return [(group, version, one) for group in sorted(groups) for version in sorted(versions) for one in sorted(named)]
