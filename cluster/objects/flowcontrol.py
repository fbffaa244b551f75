"""The FlowSchemas and PriorityLevelConfigurations that every cluster has, and which of them nobody may change.

Source: apiserver `pkg/apis/flowcontrol/bootstrap/default.go`; the specs stand in `data/flow-control.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from oarlock.cluster.objects.causes import GoFields

Obj = Mapping[str, Any]

GROUP: Final = "flowcontrol.apiserver.k8s.io"
DANGLING: Final = "Dangling"
_MANDATORY: Final = frozenset({"exempt", "catch-all"})


@cache
def _document() -> Mapping[str, Mapping[str, Obj]]:
    data: Mapping[str, Mapping[str, Obj]] = orjson.loads(
        (Path(__file__).parent / "data" / "flow-control.json").read_bytes()
    )
    return data


def schemas() -> Mapping[str, Obj]:
    """The specs of the FlowSchemas by name."""
    return _document()["schemas"]


def levels() -> Mapping[str, Obj]:
    """The specs of the PriorityLevelConfigurations by name."""
    return _document()["levels"]


def mandatory_schema(name: str) -> Obj | None:
    """The spec that the FlowSchema of that name must have; None for those that are free."""
    return schemas()[name] if name in _MANDATORY else None


def mandatory_level(name: str) -> Obj | None:
    """The spec that the PriorityLevelConfiguration of that name must have; None for those that are free."""
    return levels()[name] if name in _MANDATORY else None


def dangling(schema: Obj, known: frozenset[str]) -> dict[str, str]:
    """The condition that tells whether a FlowSchema's priority level is among the `known` ones, without its time.

    Source: apiserver `pkg/util/flowcontrol/apf_controller.go`.
    """
    level = schema["spec"].get("priorityLevelConfiguration", {}).get("name", "")
    told = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
    if level in known:
        return {"type": "Dangling", "status": "False", "reason": "Found", "message": f"{told} and it exists"}
    return {
        "type": "Dangling",
        "status": "True",
        "reason": "NotFound",
        "message": f"{told} but there is no such object",
    }


def schema_as_shown(spec: Obj) -> GoFields:
    """A FlowSchema's spec as upstream's messages show it: every field, by its name in Go."""
    method = spec.get("distinguisherMethod")
    return GoFields(
        PriorityLevelConfiguration={"Name": spec.get("priorityLevelConfiguration", {}).get("name", "")},
        MatchingPrecedence=spec.get("matchingPrecedence", 0),
        DistinguisherMethod={"Type": method.get("type", "")} if method is not None else None,
        Rules=[_rule_as_shown(rule) for rule in spec["rules"]] if spec.get("rules") else None,
    )


def _rule_as_shown(rule: Obj) -> dict[str, Any]:
    return {
        "Subjects": [_subject_as_shown(one) for one in rule.get("subjects", ())] or None,
        "ResourceRules": _all(
            rule.get("resourceRules"), ("verbs", "apiGroups", "resources", "clusterScope", "namespaces")
        ),
        "NonResourceRules": _all(rule.get("nonResourceRules"), ("verbs", "nonResourceURLs")),
    }


def _subject_as_shown(subject: Obj) -> dict[str, Any]:
    members = {"user": ("name",), "group": ("name",), "serviceAccount": ("namespace", "name")}
    shown = {
        _in_go(kind): {_in_go(field): subject[kind].get(field, "") for field in fields} if kind in subject else None
        for kind, fields in members.items()
    }
    return {"Kind": subject.get("kind", ""), **shown}


def _all(items: Sequence[Obj] | None, fields: Sequence[str]) -> list[dict[str, Any]] | None:
    if not items:
        return None
    zeros = {"clusterScope": False}
    return [{_in_go(field): item.get(field, zeros.get(field)) for field in fields} for item in items]


def level_as_shown(spec: Obj) -> GoFields:
    """A PriorityLevelConfiguration's spec as upstream's messages show it."""
    limited, exempt = spec.get("limited"), spec.get("exempt")
    return GoFields(
        Type=spec.get("type", ""),
        Limited=_limited_as_shown(limited) if limited is not None else None,
        Exempt=_fields(exempt, "nominalConcurrencyShares", "lendablePercent") if exempt is not None else None,
    )


def _limited_as_shown(limited: Obj) -> dict[str, Any]:
    response = limited.get("limitResponse", {})
    queuing = response.get("queuing")
    return {
        **_fields(limited, "nominalConcurrencyShares"),
        "LimitResponse": {
            "Type": response.get("type", ""),
            "Queuing": _fields(queuing, "queues", "handSize", "queueLengthLimit") if queuing is not None else None,
        },
        **_fields(limited, "lendablePercent", "borrowingLimitPercent"),
    }


def _fields(item: Obj, *names: str) -> dict[str, Any]:
    return {_in_go(name): item.get(name) for name in names}


def _in_go(name: str) -> str:
    return {"apiGroups": "APIGroups"}.get(name, name[:1].upper() + name[1:])
