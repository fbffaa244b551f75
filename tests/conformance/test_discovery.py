"""What the server says of itself.

Stands for: "Discovery should validate PreferredVersion for each APIGroup", "... should locate the groupVersion and a
resource within each APIGroup", "AggregatedDiscovery should support ...", "OpenAPIV3 should round trip OpenAPI V3 for
all built-in group versions", "server version should find the server version", "health handlers should contain
necessary checks", "AdmissionWebhook should include webhook resources in discovery documents", "SelfSubjectReview",
"SubjectReview should support SubjectReview API operations", "ServiceAccounts ServiceAccountIssuerDiscovery", "kube-
apiserver identity".
"""

from __future__ import annotations

from typing import Any

import pytest
from harness.rest import Object, Rest

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
RESOURCES = {
    "": "v1 namespaces",
    "admissionregistration.k8s.io": "v1 validatingwebhookconfigurations",
    "apiextensions.k8s.io": "v1 customresourcedefinitions",
    "apiregistration.k8s.io": "v1 apiservices",
    "apps": "v1 deployments",
    "authentication.k8s.io": "v1 tokenreviews",
    "authorization.k8s.io": "v1 selfsubjectaccessreviews",
    "autoscaling": "v2 horizontalpodautoscalers",
    "batch": "v1 jobs",
    "certificates.k8s.io": "v1 certificatesigningrequests",
    "coordination.k8s.io": "v1 leases",
    "discovery.k8s.io": "v1 endpointslices",
    "events.k8s.io": "v1 events",
    "flowcontrol.apiserver.k8s.io": "v1 flowschemas",
    "networking.k8s.io": "v1 ingresses",
    "node.k8s.io": "v1 runtimeclasses",
    "policy": "v1 poddisruptionbudgets",
    "rbac.authorization.k8s.io": "v1 roles",
    "resource.k8s.io": "v1 resourceclaims",
    "scheduling.k8s.io": "v1 priorityclasses",
    "storage.k8s.io": "v1 csinodes",
}
CHECKS = {"ping", "log", "autoregister-completion"} | {
    f"poststarthook/{name}"
    for name in (
        "start-apiserver-admission-initializer",
        "generic-apiserver-start-informers",
        "start-apiextensions-informers",
        "start-apiextensions-controllers",
        "crd-informer-synced",
        "bootstrap-controller",
        "start-system-namespaces-controller",
        "scheduling/bootstrap-system-priority-classes",
        "start-cluster-authentication-info-controller",
        "start-kube-aggregator-informers",
        "apiservice-registration-controller",
        "kube-apiserver-autoregistration",
        "apiservice-openapi-controller",
    )
}


def test_every_group_has_a_preferred_version_that_is_served(api: Rest) -> None:
    """Of the built-in groups: a custom one of another test may go while this one asks."""
    groups = [one for one in api.get("/apis")["groups"] if one["name"] in RESOURCES]
    assert {one["name"] for one in groups} == set(RESOURCES) - {""}
    for group in groups:
        alone = api.get(f"/apis/{group['name']}")
        assert (alone["kind"], alone["versions"]) == ("APIGroup", group["versions"])
        preferred = alone["preferredVersion"]
        assert preferred in alone["versions"]
        assert preferred["groupVersion"] == f"{group['name']}/{preferred['version']}"
        for version in group["versions"]:
            listed = api.get(f"/apis/{version['groupVersion']}")
            assert (listed["kind"], listed["groupVersion"]) == ("APIResourceList", version["groupVersion"])
            assert listed["resources"]
            for one in listed["resources"]:
                assert one["singularName"] or "/" in one["name"]


def test_aggregated_discovery_says_the_same(api: Rest) -> None:
    found: dict[tuple[str, str, str], Any] = {}
    for root in ("/api", "/apis"):
        answer = api("GET", root, accept=AGGREGATED)
        assert answer.body["kind"] == "APIGroupDiscoveryList"
        assert answer.headers["Content-Type"] == AGGREGATED
        assert answer.headers["ETag"]
        for group in answer.body["items"]:
            for version in group["versions"]:
                assert version["freshness"] == "Current"
                for one in version["resources"]:
                    found[group["metadata"].get("name", ""), version["version"], one["resource"]] = one
    for group, named in RESOURCES.items():
        version, plural = named.split()
        one = found[group, version, plural]
        (listed,) = [
            other
            for other in api.get(f"/apis/{group}/{version}" if group else "/api/v1")["resources"]
            if other["name"] == plural
        ]
        assert (one["scope"] == "Namespaced", set(one["verbs"])) == (listed["namespaced"], set(listed["verbs"]))
        assert one["responseKind"]["kind"] == listed["kind"]
    unchanged = api("GET", "/apis", accept=AGGREGATED)
    assert api("GET", "/apis", accept="application/json").body["kind"] == "APIGroupList"
    assert unchanged.body["kind"] == "APIGroupDiscoveryList"


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_document_holds_what_it_refers_to(api: Rest) -> None:
    paths = api.get("/openapi/v3")["paths"]
    for group, named in RESOURCES.items():
        version = named.split()[0]
        document = api.get(paths[f"apis/{group}/{version}" if group else "api/v1"]["serverRelativeURL"])
        schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        assert references(document) <= schemas
        assert document["paths"]
    second = api.get("/openapi/v2")
    assert references(second) <= {f"#/definitions/{name}" for name in second["definitions"]}


def test_the_version(api: Rest) -> None:
    version = api.get("/version")
    assert (version["major"], version["minor"].rstrip("+")) == ("1", "36")
    assert version["gitVersion"].startswith("v1.36.")
    assert {"buildDate", "gitCommit", "gitTreeState", "goVersion", "compiler", "platform"} <= version.keys()


@pytest.mark.parametrize("path", ["healthz", "livez", "readyz"])
def test_health(api: Rest, path: str) -> None:
    assert api("GET", f"/{path}").body == "ok"
    lines = api("GET", f"/{path}", verbose="1").body.splitlines()
    passed = {line.removeprefix("[+]").removesuffix(" ok") for line in lines if line.startswith("[+]")}
    assert passed >= CHECKS | {"informer-sync" if path == "readyz" else "etcd"}
    assert lines[-1] == f"{path} check passed"
    assert api("GET", f"/{path}/ping").body == "ok"


REVIEWS = "/apis/authorization.k8s.io/v1"


def test_reviews(api: Rest, namespace: str) -> None:
    who = api.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert "system:masters" in who["status"]["userInfo"]["groups"]
    attributes = {"verb": "list", "resource": "pods", "namespace": namespace}
    own = api.create(f"{REVIEWS}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": attributes}})
    assert own["status"]["allowed"] is True
    for path in (f"{REVIEWS}/subjectaccessreviews", f"{REVIEWS}/namespaces/{namespace}/localsubjectaccessreviews"):
        spec = {"resourceAttributes": attributes, "user": "somebody", "groups": ["nobody"]}
        body = {"spec": spec, "metadata": {"namespace": namespace} if "local" in path else {}}
        answer = api.create(path, body)
        assert (answer["status"]["allowed"], answer["spec"]["user"]) == (False, "somebody")
    rules = api.create(f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": namespace}})
    assert rules["status"]["resourceRules"]


def test_the_issuer_of_tokens_is_discovered(api: Rest) -> None:
    issuer = api.get("/.well-known/openid-configuration")
    keys = api.get("/openid/v1/jwks")
    assert keys["keys"]
    assert {"issuer", "jwks_uri", "response_types_supported", "id_token_signing_alg_values_supported"} <= issuer.keys()


def test_the_server_itself_is_a_service_with_endpoints(api: Rest) -> None:
    service = api.get("/api/v1/namespaces/default/services/kubernetes")
    assert [(port["name"], port["port"]) for port in service["spec"]["ports"]] == [("https", 443)]
    (subset,) = api.get("/api/v1/namespaces/default/endpoints/kubernetes")["subsets"]
    selector = {"labelSelector": "kubernetes.io/service-name=kubernetes"}
    slices = api.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", **selector)["items"]
    addresses = {address for one in slices for endpoint in one["endpoints"] for address in endpoint["addresses"]}
    assert addresses == {address["ip"] for address in subset["addresses"]}


@pytest.mark.parametrize(
    ("method", "path", "code", "reason"),
    [
        ("GET", "/nothing", 404, None),
        ("GET", "/apis/nothing", 404, None),
        ("GET", "/api/v1/nothing", 404, None),
        ("POST", "/api/v1/nodes/x", 405, "MethodNotAllowed"),
        ("DELETE", "/api/v1/componentstatuses/x", 405, "MethodNotAllowed"),
        ("GET", "/api/v1/namespaces/default/pods/x", 404, "NotFound"),
    ],
)
def test_what_is_not_there(api: Rest, method: str, path: str, code: int, reason: str | None) -> None:
    answer = api(method, path)
    assert answer.code == code
    if reason:
        told: Object = answer.body
        assert (told["kind"], told["status"], told["reason"], told["code"]) == ("Status", "Failure", reason, code)
