"""What is said of a policy's expressions, for built-in kinds and for those of a published document."""

from __future__ import annotations

from typing import Any, Final

import pytest

from oarlock.cluster.objects.cel import kinds, policies
from oarlock.cluster.objects.cel.policies import Kind, Scope
from oarlock.cluster.objects.custom import documents
from oarlock.cluster.objects.openapi import v3
from oarlock.cluster.objects.resources import RESOURCES

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
REFS: Final = "#/components/schemas/"


def said(expression: str, kind: str = "apps/v1/Deployment", params: str = "", **variables: str) -> str:
    """What is wrong with an expression, without where."""
    subject, settings = (kinds.built_in(*one.split("/"), "T") if one else None for one in (kind, params))
    named = [{"name": name, "expression": text} for name, text in variables.items()]
    scope = Scope(subject, settings, has_params=bool(params), variables=named)
    lines = [line for line in scope.complaint(expression).split("\n") if line.startswith("ERROR")]
    return "; ".join(line.split(": ", 2)[2] for line in lines)


@pytest.mark.parametrize(
    "expression",
    [
        "object.spec.replicas > 1 && oldObject.spec.replicas < 5",
        "object.spec.template.spec.containers.all(c, c.ports.all(p, p.containerPort < 1024))",
        "object.metadata.labels['app'] == object.metadata.labels.app",
        "object.metadata.namespace == object.metadata.__namespace__",
        "object.metadata.creationTimestamp < timestamp('2026-01-01T00:00:00Z')",
        "object.spec.strategy.rollingUpdate.maxSurge == 1 || object.spec.strategy.rollingUpdate.maxSurge == '10%'",
        "object.spec.selector.matchExpressions[0].values.exists(v, v == 'x')",
        "request.userInfo.groups.exists(g, g == 'system:masters') && request.operation == 'CREATE'",
        "request.userInfo.extra['a'][0] == 'b' && request.kind.kind == 'Deployment' && request.options.x",
        "namespaceObject.metadata.labels['a'] == 'b' && namespaceObject.status.conditions[0].type == 'x'",
        "authorizer.group('').resource('endpoints').namespace('n').name('x').check('create').allowed()",
        "authorizer.serviceAccount('n', 'a').path('/healthz').check('get').reason() == ''",
        "authorizer.group('').resource('pods').fieldSelector('a=b').labelSelector('c').check('list').errored()",
        "'what it gives is not looked at'",
    ],
)
def test_nothing_is_said_of_what_is_right(expression: str) -> None:
    assert said(expression) == ""


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("object.replicas > 1", "undefined field 'replicas'"),
        ("object.spec.replicas == '1'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("object.spec.template.spec.containers.all(c, has(c.resources.limits))", "undefined field 'limits'"),
        ("params.x", "undeclared reference to 'params' (in container '')"),
        ("request.object", "undefined field 'object'"),
        ("namespaceObject.metadata.ownerReferences", "undefined field 'ownerReferences'"),
        (
            "authorizer.allowed()",
            "found no matching overload for 'allowed' applied to 'kubernetes.authorization.Authorizer.()'",
        ),
        (
            "authorizer.requestResource.check('get').allowed()",
            "type 'kubernetes.authorization.Authorizer' does not support field selection",
        ),
    ],
)
def test_what_is_wrong_is_said_in_upstreams_words(expression: str, complaint: str) -> None:
    assert said(expression) == complaint


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("params.data['a'] == 'b'", ""),
        ("params.spec", "undefined field 'spec'"),
    ],
)
def test_parameters_are_of_their_own_kind(expression: str, complaint: str) -> None:
    assert said(expression, params="/v1/ConfigMap") == complaint


def test_unknown_parameters_may_be_anything() -> None:
    scope = Scope(kinds.built_in("", "v1", "Pod", "Pod0"), None, has_params=True)
    assert scope.complaint("params.spec.whatever > 1 || params == null") == ""


def test_variables_have_the_type_of_their_expression() -> None:
    assert said("variables.name == 1", name="'x'").startswith("found no matching overload for '_==_'")
    assert said("variables.names.all(n, n == 'x')", names="object.spec.template.spec.containers.map(c, c.name)") == ""
    assert said("variables.second == 1", first="object.spec.replicas", second="variables.first + 1") == ""
    assert said("variables.missing", name="'x'") == "undefined field 'missing'"


@pytest.mark.parametrize("expression", ["object.spec.nothing", "1 +", "object.spec", "type(1)"])
def test_a_variable_that_is_wrong_or_an_object_may_be_anything(expression: str) -> None:
    assert said("variables.v.what.ever > 1", v=expression) == ""


def test_a_warning_names_kind_and_place_for_each_kind() -> None:
    found = [
        (kind, Scope(kinds.built_in(kind.group, kind.version, kind.kind, "T"), None, has_params=False))
        for kind in (Kind("apps", "v1", "Deployment"), Kind("", "v1", "Pod"), Kind("", "v1", "ReplicationController"))
    ]
    told = policies.warning((kind, scope.complaint("object.spec.nodeName == ''")) for kind, scope in found)
    assert told == (
        "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nodeName'\n"
        " | object.spec.nodeName == ''\n"
        " | ...........^\n"
        "\n"
        "/v1, Kind=ReplicationController: ERROR: <input>:1:12: undefined field 'nodeName'\n"
        " | object.spec.nodeName == ''\n"
        " | ...........^\n"
    )


def test_every_built_in_kind_is_declared() -> None:
    for one in RESOURCES:
        found = kinds.built_in(one.group, one.version, one.kind, "T")
        assert found is not None
        assert {"apiVersion", "kind"} <= found.fields.keys(), one


def test_a_schema_inside_itself_ends() -> None:
    rule = "object.spec.versions[0].schema.openAPIV3Schema"
    assert said(f"{rule}.type == 'object'", "apiextensions.k8s.io/v1/CustomResourceDefinition") == ""
    assert said(f"{rule}.not.type", "apiextensions.k8s.io/v1/CustomResourceDefinition") == "undefined field 'type'"


# Published documents ---------------------------------------------------------------------------------------------


def document(schema: dict[str, Any]) -> dict[str, Any]:
    named = [{"group": "example.com", "version": "v1", "kind": "Thing"}]
    meta = v3("v1")["components"]["schemas"]
    schemas = {**meta, documents.definition_name("example.com", "v1", "Thing"): schema}
    properties = {"metadata": {"allOf": [{"$ref": REFS + META}], "description": "d"}, **schema.get("properties", {})}
    schema |= {"type": "object", "properties": properties, "x-kubernetes-group-version-kind": named}
    return {"components": {"schemas": schemas}}


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("object.spec.size > 1 && object.spec.namespace == 'x' && object.metadata.labels.size() > 1", ""),
        ("object.spec.either == 1 || object.spec.either == 'x'", ""),
        ("object.spec.open == 1", "undefined field 'open'"),
        ("object.spec.count", "undefined field 'count'"),
        ("object.spec.inner.kind == 'Pod' && object.spec.inner.metadata.annotations.size() == 0", ""),
        ("object.spec.like.spec.containers.size() == 1", ""),
        ("object.spec.loop.again.again", "undefined field 'again'"),
        ("object.spec.free.x", "undefined field 'x'"),
    ],
)
def test_a_published_kind_is_declared_as_it_is_published(expression: str, complaint: str) -> None:
    spec = {
        "type": "object",
        "properties": {
            "size": {"type": "integer"},
            "namespace": {"type": "string"},
            "either": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "open": {"x-kubernetes-preserve-unknown-fields": True},
            "free": {"type": "object", "additionalProperties": True},
            "inner": {"type": "object", "x-kubernetes-embedded-resource": True},
            "like": {"$ref": REFS + "io.k8s.api.core.v1.PodTemplateSpec"},
            "loop": {"$ref": REFS + "Loop"},
        },
    }
    published = document({"properties": {"spec": spec}})
    loop = {"type": "object", "properties": {"again": {"$ref": REFS + "Loop"}}}
    published["components"]["schemas"]["Loop"] = loop
    subject = kinds.published(published, "example.com", "v1", "Thing", "Thing0")
    found = Scope(subject, None, has_params=False).complaint(expression)
    assert complaint in found
    assert bool(found) == bool(complaint)


def test_a_kind_that_is_not_published_is_not_found() -> None:
    with pytest.raises(LookupError):
        kinds.published(document({}), "example.com", "v1", "Other", "T")


# What a rule names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"resources": ["pods", "deployments"]}, ["deployments", "pods"]),
        ({"resources": ["*"]}, []),
        ({"resources": ["pods/*", "pods/status", "pods"]}, ["pods"]),
        ({"resources": ["pods"], "apiVersions": ["*"]}, []),
        ({"resources": ["pods"], "apiGroups": ["*"]}, []),
        ({"resources": ["pods"], "apiGroups": []}, []),
    ],
)
def test_what_a_rule_names(rule: dict[str, list[str]], named: list[str]) -> None:
    found = policies.named_resources({"apiGroups": ["apps"], "apiVersions": ["v1"], **rule})
    assert list(found) == [("apps", "v1", one) for one in named]
