"""Real kubectl against one API server over an in-process store: no controllers, no nodes, only the API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness.kubectl import Kubectl, kubectl_beside_a_server

MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {colour: blue}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: host/python3, args: [-m, http.server]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: shop}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: host/true}]}}}
"""


#: Nobody makes service accounts where there are no controllers.
ALONE: dict[str, Any] = {"disabled_plugins": ("ServiceAccount",)}


@pytest.fixture(scope="module")
def kubectl(tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    with kubectl_beside_a_server(tool("kubectl"), tmp_path_factory.mktemp("api"), **ALONE) as found:
        yield found


def test_what_is_here(kubectl: Kubectl) -> None:
    assert "v1.36" in kubectl("version")
    assert "is running at" in kubectl("cluster-info")
    assert "deployments" in kubectl("api-resources", "--api-group=apps")
    assert "apps/v1" in kubectl("api-versions")
    assert "replicas" in kubectl("explain", "deployment.spec")
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    assert kubectl("get", "--raw", "/readyz") == "ok"


def test_apply_twice_then_change(kubectl: Kubectl) -> None:
    first = kubectl("apply", "-f", "-", given=MANIFEST)
    assert first.count("created") == 5
    assert kubectl("apply", "-f", "-", given=MANIFEST).count("unchanged") == 5
    changed = kubectl("apply", "-f", "-", given=MANIFEST.replace("replicas: 2", "replicas: 3"))
    assert changed.count("configured") == 1
    assert kubectl.json("get", "deployment", "web", "-n", "shop")["spec"]["replicas"] == 3
    assert "-  replicas: 3" in kubectl.run("diff", "-f", "-", given=MANIFEST).stdout
    assert kubectl("delete", "-f", "-", "--wait=false", given=MANIFEST).count("deleted") == 5


def test_apply_on_the_servers_side(kubectl: Kubectl) -> None:
    def manifest(colour: str) -> str:
        data = {"colour": colour}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": data}
        return json.dumps(body)

    apply = ("apply", "--server-side", "-f", "-")
    assert kubectl(*apply, given=manifest("blue")) == "configmap/shared serverside-applied\n"
    refused = kubectl.run(*apply, "--field-manager=painter", given=manifest("red"))
    assert refused.returncode == 1
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .data.colour' in refused.stderr
    kubectl(*apply, "--field-manager=painter", "--force-conflicts", given=manifest("red"))
    found = kubectl.json("get", "configmap", "shared", "--show-managed-fields")
    assert found["data"] == {"colour": "red"}
    assert [one["manager"] for one in found["metadata"]["managedFields"]] == ["painter"]


def test_an_applied_object_moves_to_the_servers_side(kubectl: Kubectl) -> None:
    manifest = MANIFEST.replace("shop", "mall")
    kubectl("apply", "-f", "-", given=manifest)
    moved = kubectl("apply", "--server-side", "-f", "-", given=manifest.replace("replicas: 2", "replicas: 5"))
    assert moved.count("serverside-applied") == 5
    found = kubectl.json("get", "deployment", "web", "-n", "mall", "--show-managed-fields")
    assert found["spec"]["replicas"] == 5
    owners = [(one["manager"], one["operation"]) for one in found["metadata"]["managedFields"]]
    assert ("kubectl", "Apply") in owners
    assert ("kubectl-client-side-apply", "Update") not in owners
    kubectl("delete", "-f", "-", "--wait=false", given=manifest)


def test_typed_creates(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    kubectl("create", "service", "clusterip", "svc", "--tcp=80")
    kubectl("create", "job", "j", "--image=host/true")
    kubectl("create", "cronjob", "cj", "--image=host/true", "--schedule=@daily")
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "quota", "q", "--hard=cpu=1,pods=2")
    kubectl("run", "pod", "--image=host/true")
    assert kubectl.json("get", "configmap", "c")["data"] == {"a": "b"}
    assert kubectl.json("get", "secret", "s")["data"] == {"a": "Yg=="}
    assert kubectl.json("get", "quota", "q")["spec"]["hard"] == {"cpu": "1", "pods": "2"}


def test_a_service_accounts_token(kubectl: Kubectl) -> None:
    kubectl("create", "serviceaccount", "walle")
    token = kubectl("create", "token", "walle", "--duration=20m").strip()
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    answered = json.loads(kubectl("create", "-f", "-", "-o", "json", given=json.dumps(review)))
    assert answered["status"]["user"]["username"] == "system:serviceaccount:default:walle"


def test_a_deployments_life(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=host/one", "--replicas=2")
    assert kubectl("get", "deployment", "web").split()[:6] == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "web"]
    assert "CONTAINERS" in kubectl("get", "deployment", "web", "-o", "wide")
    assert "kind: Deployment" in kubectl("get", "deployment", "web", "-o", "yaml")
    assert kubectl("scale", "deployment", "web", "--replicas=4") == "deployment.apps/web scaled\n"
    kubectl("set", "image", "deployment/web", "one=host/two")
    kubectl("label", "deployment", "web", "tier=front")
    kubectl("annotate", "deployment", "web", "note=x")
    kubectl("rollout", "restart", "deployment/web")
    kubectl(
        "patch", "deployment", "web", "-p", '{"spec":{"template":{"spec":{"containers":[{"name":"one","env":[]}]}}}}'
    )
    kubectl("patch", "deployment", "web", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":1}]')
    found = kubectl.json("get", "deployment", "web")
    assert found["spec"]["replicas"] == 1
    assert found["metadata"]["labels"] == {"app": "web", "tier": "front"}
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "host/two"
    described = kubectl("describe", "deployment", "web")
    assert "1 desired" in described
    assert kubectl("delete", "deployment", "web") == 'deployment.apps "web" deleted\n'
    assert kubectl.run("get", "deployment", "web").returncode == 1


ROLES = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: reconciled}
rules: [{apiGroups: [""], resources: [pods], verbs: VERBS}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: reconciled}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: u}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reconciled}
rules: [{apiGroups: [""], resources: [pods], verbs: VERBS}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reconciled}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reconciled}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: u}]
"""


def test_roles_are_reconciled(kubectl: Kubectl) -> None:
    few, more = ROLES.replace("VERBS", "[get]"), ROLES.replace("VERBS", "[get, list]")
    first = kubectl.run("auth", "reconcile", "-f", "-", given=few)
    assert (first.returncode, first.stderr.count("reconciliation required create")) == (0, 4), first.stderr
    assert kubectl("get", "namespace", "reconciled", "-o", "name") == "namespace/reconciled\n"
    assert kubectl.run("auth", "reconcile", "-f", "-", given=few).stderr == ""
    second = kubectl.run("auth", "reconcile", "-f", "-", given=more)
    assert second.stderr.count("missing rules added") == 2
    assert "list" in kubectl("get", "role", "reader", "-n", "reconciled", "-o", "jsonpath={.rules[*].verbs}")
    third = kubectl.run("auth", "reconcile", "-f", "-", "--remove-extra-permissions", given=few)
    assert third.stderr.count("extra rules removed") == 2
    nowhere = few.replace(", namespace: reconciled", "")
    told = kubectl.run("auth", "reconcile", "-f", "-", given=nowhere)
    assert (told.returncode, set(told.stderr.splitlines())) == (1, {"resource name may not be empty"}), (
        "kubectl itself refuses to look for a namespace without a name, whoever serves"
    )


def test_components_are_told_of(kubectl: Kubectl) -> None:
    told = kubectl.run("get", "componentstatuses")
    assert "Warning: v1 ComponentStatus is deprecated in v1.19+" in told.stderr
    rows = [line.split() for line in told.stdout.splitlines()]
    assert rows[0] == ["NAME", "STATUS", "MESSAGE", "ERROR"]
    assert rows[2] == ["etcd-0", "Healthy", "ok"]
    assert [row[:2] for row in rows[1:]] == [
        ["controller-manager", "Unhealthy"],
        ["etcd-0", "Healthy"],
        ["scheduler", "Unhealthy"],
    ], "no one holds their leases here"


def test_a_watch_shows_a_change(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "watched", "--from-literal=a=b")
    process = kubectl.popen("get", "configmap", "watched", "-w", "--no-headers")
    try:
        assert process.stdout is not None
        assert process.stdout.readline().split()[:2] == ["watched", "1"]
        kubectl("patch", "configmap", "watched", "-p", '{"data":{"c":"d"}}')
        assert process.stdout.readline().split()[:2] == ["watched", "2"]
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"bogus":1}', 'unknown field "bogus"'),
        ('{"apiVersion":"v1","kind":"Nope","metadata":{"name":"x"}}', 'no matches for kind "Nope"'),
        ('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"X_"}}', 'Invalid value: "X_"'),
        (
            '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"gone"}}',
            'namespaces "gone" not found',
        ),
    ],
)
def test_mistakes_are_named(kubectl: Kubectl, manifest: str, expected: str) -> None:
    done = kubectl.run("create", "-f", "-", given=manifest)
    assert done.returncode == 1
    assert expected in done.stderr
