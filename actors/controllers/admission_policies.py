"""ValidatingAdmissionPolicies: their status tells what is wrong with their expressions for the kinds they are about.

A warning keeps no policy from acting. Each generation is looked at once, as it finds the kinds that are served then.
Source: upstream's validatingadmissionpolicystatus controller; which kinds are meant, the RESTMapper of client-go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from oarlock.actors.controllers.actions import Action, Answer, Ask, GiveWay, Question, UpdateStatus
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View
from oarlock.cluster.objects.cel import kinds, policies
from oarlock.cluster.objects.cel.declared import Declared
from oarlock.cluster.objects.cel.policies import Kind, Scope
from oarlock.cluster.objects.resources import RESOURCES
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]

_ASKED_MAX = 20
"""Versions of groups that aren't built in, of which the API server is asked; what a policy names beyond them isn't
checked."""
_NOT_FOUND = 404
_BUILT_IN = frozenset((one.group, one.version) for one in RESOURCES)
_SUBJECT, _PARAMS = "0", "1"
"""What the names of types end with, so that an object's are never its parameter's."""


def reconcile(key: str, view: View) -> Iterable[Action]:
    """Return what is to be asked, or the status that a policy's present generation gets."""
    policy = view.get("validatingadmissionpolicies", key)
    if policy is None:
        return []
    status = policy.get("status") or {}
    if status.get("observedGeneration") == policy["metadata"].get("generation") and "typeChecking" in status:
        return []
    asked = _custom_versions(policy["spec"])
    if not asked:
        return _looked_at(policy, Published())
    questions = [Question(path) for one in asked for path in (f"/apis/{one}", f"/openapi/v3/apis/{one}")]
    return [Ask(questions, lambda answers: _looked_at(policy, published(asked, answers)))]


@dataclass(frozen=True)
class Published:
    """What the API server publishes of kinds that aren't built in, by group and version: names, and documents."""

    resources: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    documents: Mapping[str, Object] = field(default_factory=dict)

    def kinds(self, group: str, version: str, resource: str) -> list[Kind]:
        """Return the kinds that a rule means by a resource, in the plural or the singular.

        Without a group it means those of every built-in group, as upstream has it.
        """
        name = resource.lower()
        if group and (group, version) not in _BUILT_IN:
            rows = self.resources.get(f"{group}/{version}", ())
            return [Kind(group, version, row["kind"]) for row in rows if name in _names(row)]
        served = (one for one in RESOURCES if one.version == version and (not group or one.group == group))
        return [Kind(one.group, version, one.kind) for one in served if name in (one.plural, one.singular)]

    def declared(self, kind: Kind, suffix: str) -> Declared | None:
        """Return what is declared of a kind, None if that is nothing. LookupError when it isn't served."""
        known = (kind.group, kind.version, kind.kind, kind.kind + suffix)
        if (kind.group, kind.version) in _BUILT_IN:
            return kinds.built_in(*known)
        return kinds.published(self.documents[f"{kind.group}/{kind.version}"], *known)


def published(asked: Sequence[str], answers: Sequence[Answer]) -> Published:
    """Return what the answers tell; what isn't served is left out, any other refusal is raised and asked again."""
    found: list[dict[str, Object]] = [{}, {}]
    for number, answer in enumerate(answers):
        if not isinstance(answer, ApiError):
            found[number % 2][asked[number // 2]] = answer
        elif answer.code != _NOT_FOUND:
            raise answer
    return Published({name: one.get("resources") or () for name, one in found[0].items()}, found[1])


def matched_kinds(spec: Mapping[str, Any], served: Published) -> list[Kind]:
    """Return the kinds that a policy's rules name, sorted; once a rule has named so many as there may be, no more."""
    found: set[Kind] = set()
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        count = 0
        for named in policies.named_resources(rule):
            for kind in served.kinds(*named):
                found.add(kind)
                count += 1
                if count == policies.KINDS_MAX:
                    return sorted(found)
    return sorted(found)


def _looked_at(policy: Object, served: Published) -> Iterator[Action]:
    """Check every expression for every kind, giving way after each; the status comes last."""
    spec = policy["spec"]
    scopes = []
    for kind in matched_kinds(spec, served):
        scope = _scope(spec, kind, served)
        if scope is not None:
            scopes.append((kind, scope))
        yield GiveWay()
    warnings = []
    for place, expression in _expressions(spec):
        complaints = []
        for kind, scope in scopes:
            complaints.append((kind, scope.complaint(expression)))
            yield GiveWay()
        told = policies.warning(complaints)
        if told:
            warnings.append({"fieldRef": place, "warning": told})
    checked = {"expressionWarnings": warnings} if warnings else {}
    generation = policy["metadata"].get("generation")
    status = {**(policy.get("status") or {}), "observedGeneration": generation, "typeChecking": checked}
    yield UpdateStatus({**policy, "status": status})


def _expressions(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return what is checked, with its place: conditions, variables and annotations for audits aren't, as upstream."""
    for index, one in enumerate(spec.get("validations") or ()):
        for name in ("expression", "messageExpression"):
            if one.get(name):
                yield f"spec.validations[{index}].{name}", one[name]


def _scope(spec: Mapping[str, Any], kind: Kind, served: Published) -> Scope | None:
    """Return what expressions may refer to where the policy meets a kind; None if nothing is known of it."""
    try:
        subject = served.declared(kind, _SUBJECT)
    except LookupError:
        return None
    params, wanted = None, _params(spec)
    if wanted is not None:
        with suppress(LookupError):
            params = served.declared(wanted, _PARAMS)
    return Scope(subject, params, has_params=wanted is not None, variables=spec.get("variables") or ())


def _params(spec: Mapping[str, Any]) -> Kind | None:
    named = spec.get("paramKind")
    if not named:
        return None
    group, _, version = named.get("apiVersion", "").rpartition("/")
    return Kind(group, version, named.get("kind", ""))


def _custom_versions(spec: Mapping[str, Any]) -> list[str]:
    """Return the groups and versions that the policy names and that aren't built in, the first `_ASKED_MAX` of them."""
    params = _params(spec)
    named = [(params.group, params.version)] if params is not None else []
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        named += [(group, version) for group, version, _ in policies.named_resources(rule)]
    custom = [one for one in named if one[0] and one not in _BUILT_IN]
    return list(dict.fromkeys(f"{group}/{version}" for group, version in custom))[:_ASKED_MAX]


def _names(row: Mapping[str, Any]) -> tuple[str, str]:
    """The names of a resource in a discovery document; one of a subresource is none."""
    plural: str = row["name"]
    return plural, row.get("singularName") or row["kind"].lower()


def _keys(_plural: str, _old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    return [Due(new["metadata"]["name"])] if new is not None else []


ADMISSION_POLICIES = Controller(
    name="validatingadmissionpolicy-status",
    source="validatingadmissionpolicy-status",
    reads=("validatingadmissionpolicies",),
    keys=_keys,
    reconcile=reconcile,
    workers=1,
)
