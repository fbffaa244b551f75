"""What the status of a ValidatingAdmissionPolicy tells of its expressions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness.controllers import acting, cluster

from oarlock.actors.controllers import admission_policies
from oarlock.actors.controllers.actions import Ask, GiveWay
from oarlock.actors.controllers.admission_policies import Published, matched_kinds
from oarlock.cluster.objects.cel.policies import Kind
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
THINGS = {
    "/apis/example.com/v1": {"resources": [{"name": "things", "singularName": "thing", "kind": "Thing"}]},
    "/openapi/v3/apis/example.com/v1": {
        "components": {
            "schemas": {
                "com.example.v1.Thing": {
                    "type": "object",
                    "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
                    "x-kubernetes-group-version-kind": [{"group": "example.com", "version": "v1", "kind": "Thing"}],
                }
            }
        }
    },
}


def rule(*resources: str, groups: tuple[str, ...] = ("apps",), versions: tuple[str, ...] = ("v1",)) -> Object:
    return {"apiGroups": groups, "apiVersions": versions, "operations": ["*"], "resources": resources}


def policy(*expressions: str, rules: tuple[Object, ...] = (rule("deployments"),), **spec: Any) -> Object:
    validations = [{"expression": one} for one in expressions]
    spec = {"matchConstraints": {"resourceRules": list(rules)}, "validations": validations, **spec}
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy"}
    return {**kind, "metadata": {"name": "p"}, "spec": spec}


def warned(world: Any, given: Object) -> dict[str, str]:
    """The warnings of a policy by their place, the first line of each."""
    world.put(given)
    world.act(admission_policies.reconcile("p", world.view))
    status = world.view.get("validatingadmissionpolicies", "p")["status"]
    assert status["observedGeneration"] == world.view.get("validatingadmissionpolicies", "p")["metadata"]["generation"]
    found = status["typeChecking"].get("expressionWarnings") or ()
    return {one["fieldRef"]: one["warning"].split("\n")[0] for one in found}


def test_what_is_wrong_stands_beside_its_place(world: Any) -> None:
    given = policy("object.spec.replicas > 1", "object.replicas > 1")
    given["spec"]["validations"][0]["messageExpression"] = "object.nothing"
    assert warned(world, given) == {
        "spec.validations[0].messageExpression": (
            "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'nothing'"
        ),
        "spec.validations[1].expression": "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'",
    }


def test_what_is_right_leaves_an_empty_check_and_is_not_looked_at_again(world: Any) -> None:
    assert warned(world, policy("object.spec.replicas > 1")) == {}
    assert world.view.get("validatingadmissionpolicies", "p")["status"]["typeChecking"] == {}
    assert world.act(admission_policies.reconcile("p", world.view)) == 0


def test_a_change_is_looked_at_anew(world: Any) -> None:
    assert warned(world, policy("object.replicas > 1"))
    held = world.view.get("validatingadmissionpolicies", "p")
    assert warned(world, {**held, "spec": policy("object.spec.replicas > 1")["spec"]}) == {}


def test_conditions_variables_and_annotations_are_not_checked_themselves(world: Any) -> None:
    more = {
        "matchConditions": [{"name": "c", "expression": "object.nothing"}],
        "variables": [{"name": "v", "expression": "object.nothing"}],
        "auditAnnotations": [{"key": "a", "valueExpression": "object.nothing"}],
    }
    assert warned(world, policy("variables.v.x == 1", **more)) == {}


def test_others_have_their_turn_after_each_check(world: Any) -> None:
    world.put(policy(*["object.spec.replicas > 1"] * 20, rules=(rule("deployments", "replicasets"),)))
    actions = list(admission_policies.reconcile("p", world.view))
    assert sum(isinstance(one, GiveWay) for one in actions) >= 2 * 20


def test_custom_kinds_are_asked_for(world: Any) -> None:
    world.answers |= THINGS
    rules = (rule("things", groups=("example.com",)), rule("unheard", groups=("not.there",)))
    found = warned(world, policy("object.spec.size > params.spec.size", "object.spec.sise > 1", rules=rules))
    assert found == {
        "spec.validations[0].expression": (
            "example.com/v1, Kind=Thing: ERROR: <input>:1:20: undeclared reference to 'params' (in container '')"
        ),
        "spec.validations[1].expression": "example.com/v1, Kind=Thing: ERROR: <input>:1:12: undefined field 'sise'",
    }


@pytest.mark.parametrize(
    ("kind", "complaints"),
    [
        ({"apiVersion": "v1", "kind": "ConfigMap"}, 1),
        ({"apiVersion": "v1", "kind": "NoSuchKind"}, 0),
        ({"apiVersion": "example.com/v1", "kind": "Thing"}, 0),
        ({"apiVersion": "not.there/v1", "kind": "Gone"}, 0),
    ],
)
def test_parameters_are_of_their_kind_or_of_any(world: Any, kind: Object, complaints: int) -> None:
    world.answers |= THINGS
    assert len(warned(world, policy("params.spec.size == 1", paramKind=kind))) == complaints


def test_a_server_that_does_not_answer_is_asked_again(world: Any) -> None:
    world.put(policy("object.x", rules=(rule("things", groups=("example.com",)),)))
    (ask,) = admission_policies.reconcile("p", world.view)
    assert isinstance(ask, Ask)
    away = ApiError(503, "ServiceUnavailable", "away")
    with pytest.raises(ApiError):
        world.act(ask.then([away] * len(ask.questions)))
    assert "status" not in world.view.get("validatingadmissionpolicies", "p")


def test_the_kinds_of_a_rule_are_bounded_and_sorted() -> None:
    every = [f"{name}s" for name in ("pod", "service", "secret", "node", "namespace", "event", "configmap")]
    more = ["replicationcontrollers", "persistentvolumes", "limitranges", "resourcequotas", "podtemplates"]
    constraints = {"resourceRules": [rule(*every, *more, groups=("",)), rule("deployments")]}
    found = matched_kinds({"matchConstraints": constraints}, Published())
    assert len(found) == 10
    assert found == sorted(found)
    assert Kind("apps", "v1", "Deployment") not in found


def test_a_resource_without_group_is_every_built_in_one_of_that_name() -> None:
    constraints = {"resourceRules": [rule("event", "PODS", groups=("",))]}
    found = matched_kinds({"matchConstraints": constraints}, Published())
    assert found == [Kind("", "v1", "Event"), Kind("", "v1", "Pod"), Kind("events.k8s.io", "v1", "Event")]


def test_the_server_tells_of_built_in_and_of_custom_kinds() -> None:
    size = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": size}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]},
    }
    rules = (rule("things", groups=("example.com",)), rule("deployments"))
    expression = "object.spec.size > 1 && object.metadata.labels['a'] == object.metadata.namespace"

    async def scenario() -> None:
        async with cluster() as here, acting(here, controllers=["validatingadmissionpolicy-status"]):
            seen = here.watch("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
            definitions = here.watch("apiextensions.k8s.io", "v1", "customresourcedefinitions")
            here.informers.start()
            await here.client.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
            await here.until(lambda: any("Established" in str(one.get("status")) for one in definitions))
            await here.client.create(POLICIES, policy(expression, rules=rules))
            await here.until(lambda: "typeChecking" in ((seen.get("p") or {}).get("status") or {}))
            status = (seen.get("p") or {})["status"]
            (warning,) = status["typeChecking"]["expressionWarnings"]
            assert status["observedGeneration"] == 1
            assert warning == {
                "fieldRef": "spec.validations[0].expression",
                "warning": (
                    "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'size'\n"
                    f" | {expression}\n"
                    " | ...........^\n"
                ),
            }

    asyncio.run(scenario())
