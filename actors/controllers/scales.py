"""How many pods a workload is asked for, of whatever kind it is: from the caches, or by its scale subresource.

Source: upstream's disruption.go (finders) and client-go's scale client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oarlock.actors.controllers.actions import Action, Answer, Ask, Question
from oarlock.cluster.objects import resources
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A workload by name, and where its scale is."""

    api_version: str
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Scale:
    """A target's scale subresource and its path, or why there is none."""

    body: Object
    path: str = ""
    error: str = ""
    refusal: ApiError | None = None


def ask(targets: Sequence[Target], then: Callable[[list[Scale]], Iterable[Action]]) -> Ask:
    """Return the questions that find the targets' scales, going on with them in the targets' order."""
    unknown = [one for one in targets if _built_in(one) is None]
    versions = list(dict.fromkeys(one.api_version for one in unknown))
    questions = [Question(_root(version)) for version in versions]

    def discovered(answers: Sequence[Answer]) -> Iterable[Action]:
        served = dict(zip(versions, answers, strict=True))
        places = [_built_in(one) or _place(one, served[one.api_version]) for one in targets]
        asked = [index for index, one in enumerate(places) if one.path]

        def found(scales: Sequence[Answer]) -> Iterable[Action]:
            for index, answer in zip(asked, scales, strict=True):
                places[index] = _found(places[index].path, answer)
            return then(places)

        return [Ask([Question(places[index].path) for index in asked], found)]

    return Ask(questions, discovered)


def _found(path: str, answer: Answer) -> Scale:
    if isinstance(answer, ApiError):
        return Scale({}, path, answer.message, answer)
    return Scale(answer, path)


def _built_in(target: Target) -> Scale | None:
    group, _, version = target.api_version.rpartition("/")
    known = resources.by_kind(group, version, target.kind)
    if known is None:
        return None
    if "scale" not in known.subresources:
        return Scale({}, error=f"{known.qualified} does not implement the scale subresource")
    return Scale({}, known.path(target.namespace, target.name, "scale"))


def _place(target: Target, served: Answer) -> Scale:
    """Return where the scale of a kind that isn't built in stands, from what its group and version serves."""
    group = target.api_version.rpartition("/")[0]
    rows: list[Mapping[str, Any]] = [] if isinstance(served, ApiError) else served.get("resources") or []
    plural = next((row["name"] for row in rows if row["kind"] == target.kind and "/" not in row["name"]), "")
    if not plural:
        version = target.api_version.rpartition("/")[2]
        return Scale({}, error=f'no matches for kind "{target.kind}" in version "{group}/{version}"')
    if not any(row["name"] == f"{plural}/scale" for row in rows):
        return Scale({}, error=f"{plural}.{group} does not implement the scale subresource")
    root = f"{_root(target.api_version)}/namespaces/{target.namespace}"
    return Scale({}, f"{root}/{plural}/{target.name}/scale")


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
