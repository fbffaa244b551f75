"""kubectl's commands one by one, against a cluster of one process with controllers and a node."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(180)]

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {tier: front}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: web, image: host/sleep, args: ["1000"], ports: [{containerPort: 80}]}]
"""


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[[str], Any]) -> Any:
    cluster = new_cluster("verbs")
    cluster.up("--single")
    cluster.kubectl("apply", "-f", "-", input_text=WEB)
    cluster.rolled_out("web")
    return cluster


def jsonpath(cluster: Any, what: str, path: str) -> str:
    return str(cluster.kubectl("get", what, "-o", f"jsonpath={{{path}}}"))


def get_spec(cluster: Any, what: str) -> Any:
    return json.loads(cluster.kubectl("get", what, "-o", "json"))["spec"]


def certificate_request() -> str:
    """Return a signing request as the API takes it: PEM in base64."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    signed = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


@pytest.mark.parametrize(
    ("generator", "what", "path", "expected"),
    [
        (["configmap", "g", "--from-literal=a=1"], "cm/g", ".data.a", "1"),
        (["secret", "generic", "g", "--from-literal=a=1"], "secret/g", ".data.a", "MQ=="),
        (
            ["secret", "docker-registry", "r", "--docker-username=u", "--docker-password=p"],
            "secret/r",
            ".type",
            "kubernetes.io/dockerconfigjson",
        ),
        (["deployment", "g", "--image=host/true", "--replicas=0"], "deploy/g", ".spec.replicas", "0"),
        (["job", "g", "--image=host/true"], "job/g", ".spec.backoffLimit", "6"),
        (["cronjob", "g", "--image=host/true", "--schedule=0 0 1 1 *"], "cj/g", ".spec.schedule", "0 0 1 1 *"),
        (["namespace", "g"], "ns/g", ".status.phase", "Active"),
        (["quota", "g", "--hard=configmaps=500"], "quota/g", ".spec.hard.configmaps", "500"),
        (["role", "g", "--verb=get", "--resource=pods,deployments.apps"], "role/g", ".rules[1].apiGroups[0]", "apps"),
        (["rolebinding", "g", "--role=g", "--user=u"], "rolebinding/g", ".roleRef.name", "g"),
        (
            ["clusterrole", "g", "--verb=get", "--non-resource-url=/x"],
            "clusterrole/g",
            ".rules[0].nonResourceURLs[0]",
            "/x",
        ),
        (
            ["clusterrolebinding", "g", "--clusterrole=g", "--group=h"],
            "clusterrolebinding/g",
            ".subjects[0].kind",
            "Group",
        ),
        (["service", "clusterip", "c", "--tcp=80:8080"], "svc/c", ".spec.ports[0].targetPort", "8080"),
        (["service", "nodeport", "n", "--tcp=80", "--node-port=30123"], "svc/n", ".spec.ports[0].nodePort", "30123"),
        (["service", "loadbalancer", "l", "--tcp=80"], "svc/l", ".spec.type", "LoadBalancer"),
        (["service", "externalname", "e", "--external-name=example.com"], "svc/e", ".spec.externalName", "example.com"),
        (["serviceaccount", "g"], "sa/g", ".metadata.name", "g"),
        (["ingress", "g", "--rule=a.example/x*=c:80"], "ing/g", ".spec.rules[0].http.paths[0].pathType", "Prefix"),
        (["poddisruptionbudget", "g", "--selector=a=b", "--min-available=50%"], "pdb/g", ".spec.minAvailable", "50%"),
        (["priorityclass", "g", "--value=7"], "pc/g", ".value", "7"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else None,
)
def test_create(cluster: Any, generator: list[str], what: str, path: str, expected: str) -> None:
    dry = cluster.kubectl("create", *generator, "--dry-run=server", "-o", "name")
    assert dry.strip().endswith(f"/{what.partition('/')[2]}")
    assert "NotFound" in cluster.kubectl_run("get", what).stderr, "a dry run keeps nothing"
    cluster.kubectl("create", *generator)
    assert jsonpath(cluster, what, path) == expected
    again = cluster.kubectl_run("create", *generator)
    assert (again.returncode, "already" in again.stderr) == (1, True)
    assert what.partition("/")[2] in cluster.kubectl("get", what, "-o", "wide")
    assert "Name:" in cluster.kubectl("describe", what)


def test_explain(cluster: Any) -> None:
    said = cluster.kubectl("explain", "deployment.spec.strategy.rollingUpdate.maxSurge")
    assert "IntOrString" in said
    assert "maxSurge" in said
    assert "GROUP:      apps" in cluster.kubectl("explain", "deploy", "--api-version=apps/v1")
    assert "terminationGracePeriodSeconds" in cluster.kubectl("explain", "pod", "--recursive")
    assert 'field "nope" does not exist' in cluster.kubectl_run("explain", "pod.spec.nope").stderr


def test_api_resources_and_versions(cluster: Any) -> None:
    wide = cluster.kubectl("api-resources", "--api-group=apps", "-o", "wide", "--sort-by=name")
    assert [line.split()[0] for line in wide.splitlines()[1:]] == sorted(
        ["controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"]
    )
    assert "create,delete,deletecollection,get,list,patch,update,watch" in wide
    assert "pods" not in cluster.kubectl("api-resources", "--namespaced=false", "-o", "name").split()
    assert {"v1", "apps/v1", "autoscaling/v2"} <= set(cluster.kubectl("api-versions").split())
    assert "all" in cluster.kubectl("api-resources", "--categories=all", "-o", "wide")


def test_get_in_every_form(cluster: Any) -> None:
    assert cluster.kubectl("get", "deploy", "web", "-o", "name") == "deployment.apps/web\n"
    assert cluster.kubectl("get", "deploy", "web", "-o", "go-template={{.spec.replicas}}") == "1"
    columns = cluster.kubectl("get", "deploy", "web", "-o", "custom-columns=N:.metadata.name,R:.spec.replicas")
    assert [line.split() for line in columns.splitlines()] == [["N", "R"], ["web", "1"]]
    assert "tier" in cluster.kubectl("get", "deploy", "web", "-o", "yaml")
    assert cluster.kubectl("get", "deploy", "web", "--show-labels", "--no-headers").split()[-1] == "tier=front"
    assert cluster.kubectl("get", "deploy", "-l", "tier in (front)", "--field-selector=metadata.name=web", "-o", "name")
    assert "web" in cluster.kubectl("get", "all", "-l", "app=web")
    assert "NAMESPACE" in cluster.kubectl("get", "pods", "-A", "--sort-by=.metadata.creationTimestamp")
    assert cluster.kubectl("get", "events", "--chunk-size=1", "-o", "name").count("event/") > 1
    assert json.loads(cluster.kubectl("get", "--raw", "/version"))["minor"] == "36"


def test_labels_annotations_and_patches(cluster: Any) -> None:
    cluster.kubectl("create", "configmap", "marked")
    cluster.kubectl("label", "cm/marked", "a=1")
    assert "--overwrite is false" in cluster.kubectl_run("label", "cm/marked", "a=2").stderr
    cluster.kubectl("label", "cm/marked", "a=2", "--overwrite")
    cluster.kubectl("annotate", "cm/marked", "note=x")
    cluster.kubectl("patch", "cm/marked", "-p", '{"data":{"k":"v"}}')
    cluster.kubectl("patch", "cm/marked", "--type=merge", "-p", '{"data":{"l":"w"}}')
    cluster.kubectl("patch", "cm/marked", "--type=json", "-p", '[{"op":"remove","path":"/data/k"}]')
    found = json.loads(cluster.kubectl("get", "cm/marked", "-o", "json"))
    assert (found["metadata"]["labels"], found["data"]) == ({"a": "2"}, {"l": "w"})
    cluster.kubectl("patch", "deploy/web", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":1}}')
    cluster.kubectl("label", "cm/marked", "a-")
    assert jsonpath(cluster, "cm/marked", ".metadata.labels") == ""


def test_validation_modes(cluster: Any) -> None:
    body = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"strict"},"dta":{}}'
    strict = cluster.kubectl_run("create", "-f", "-", "--validate=strict", input_text=body)
    assert 'unknown field "dta"' in strict.stderr
    warned = cluster.kubectl_run("create", "-f", "-", "--validate=warn", "--dry-run=server", input_text=body)
    assert (warned.returncode, 'unknown field "dta"' in warned.stderr) == (0, True)
    ignored = cluster.kubectl_run("create", "-f", "-", "--validate=ignore", "--dry-run=server", input_text=body)
    assert (ignored.returncode, ignored.stderr) == (0, "")


def test_rollouts(cluster: Any) -> None:
    cluster.kubectl("set", "env", "deploy/web", "A=1")
    cluster.rolled_out("web")
    cluster.kubectl("set", "image", "deploy/web", "web=host/sleep:2")
    cluster.rolled_out("web")
    cluster.kubectl("set", "resources", "deploy/web", "--limits=memory=512Mi", "--requests=cpu=10m")
    cluster.kubectl("set", "serviceaccount", "deploy/web", "default")
    cluster.rolled_out("web")
    container = get_spec(cluster, "deploy/web")["template"]["spec"]["containers"][0]
    assert (container["image"], container["env"]) == ("host/sleep:2", [{"name": "A", "value": "1"}])
    assert container["resources"]["limits"] == {"memory": "512Mi"}
    assert cluster.kubectl("rollout", "history", "deploy/web").count("\n") >= 4
    cluster.kubectl("rollout", "undo", "deploy/web", "--to-revision=1")
    cluster.rolled_out("web")
    assert "env" not in get_spec(cluster, "deploy/web")["template"]["spec"]["containers"][0]
    cluster.kubectl("rollout", "pause", "deploy/web")
    assert get_spec(cluster, "deploy/web")["paused"] is True
    cluster.kubectl("rollout", "resume", "deploy/web")
    cluster.kubectl("rollout", "restart", "deploy/web")
    cluster.rolled_out("web")


def test_scale_autoscale_expose_and_wait(cluster: Any) -> None:
    cluster.kubectl("scale", "deploy/web", "--replicas=2", "--current-replicas=1")
    cluster.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=2", "deploy/web", "--timeout=30s")
    assert cluster.kubectl_run("scale", "deploy/web", "--replicas=3", "--current-replicas=1").returncode == 1
    cluster.kubectl("autoscale", "deploy/web", "--min=1", "--max=3", "--cpu-percent=50")
    assert jsonpath(cluster, "hpa/web", ".spec.metrics[0].resource.target.averageUtilization") == "50"
    cluster.kubectl("delete", "hpa/web")
    cluster.kubectl("expose", "deploy/web", "--port=80", "--name=exposed")
    assert get_spec(cluster, "svc/exposed")["selector"] == {"app": "web"}
    cluster.kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=20s")
    timed_out = cluster.kubectl_run("wait", "--for=condition=Nope", "deploy/web", "--timeout=1s")
    assert "timed out waiting" in timed_out.stderr


def test_apply_in_every_form(cluster: Any, tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ap, labels: {set: one}}\ndata: {a: '1', b: '2'}\n"
    )
    assert cluster.kubectl("apply", "-f", str(manifest)) == "configmap/ap created\n"
    assert cluster.kubectl("apply", "-f", str(manifest)) == "configmap/ap unchanged\n"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ap, labels: {set: one}}\ndata: {a: '3'}\n")
    difference = cluster.kubectl_run("diff", "-f", str(manifest))
    assert (difference.returncode, "-  b:" in difference.stdout) == (1, True)
    assert cluster.kubectl("apply", "-f", str(manifest)) == "configmap/ap configured\n"
    assert json.loads(cluster.kubectl("get", "cm/ap", "-o", "json"))["data"] == {"a": "3"}
    assert 'a: "3"' in cluster.kubectl("apply", "view-last-applied", "cm/ap")
    cluster.kubectl("apply", "set-last-applied", "-f", str(manifest))
    edited(cluster, tmp_path, "s/a: .3./a: four/", "apply", "edit-last-applied", "cm/ap")
    assert "a: four" in cluster.kubectl("apply", "view-last-applied", "cm/ap")
    cluster.kubectl("apply", "-f", str(manifest), "--server-side", "--force-conflicts", "--field-manager=me")
    assert "me" in jsonpath(cluster, "cm/ap", ".metadata.managedFields[*].manager")
    other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ap2, labels: {set: one}}\n"
    cluster.kubectl("apply", "-f", "-", input_text=other)
    pruned = cluster.kubectl(
        "apply", "-f", str(manifest), "--prune", "-l", "set=one", "--prune-allowlist=core/v1/ConfigMap"
    )
    assert "configmap/ap2 pruned" in pruned


def edited(cluster: Any, folder: Path, script: str, *command: str) -> None:
    """Run a command of kubectl's that opens an editor, which here is sed with a script."""
    editor = folder / "editor"
    editor.write_text(f'#!/bin/sh\nsed -i {shlex.quote(script)} "$1"\n')
    editor.chmod(0o700)
    settings = {"KUBECONFIG": str(cluster.kubeconfig), "HOME": str(cluster.folder), "EDITOR": str(editor)}
    environment = {**os.environ, **settings}
    subprocess.run([cluster.kubectl_path, *command], env=environment, check=True, timeout=60, capture_output=True)


def test_edit_and_replace(cluster: Any, tmp_path: Path) -> None:
    cluster.kubectl("create", "configmap", "ed", "--from-literal=a=before")
    edited(cluster, tmp_path, "s/before/after/", "edit", "cm/ed")
    assert jsonpath(cluster, "cm/ed", ".data.a") == "after"
    found = json.loads(cluster.kubectl("get", "cm/ed", "-o", "json"))
    found["data"] = {"a": "replaced"}
    cluster.kubectl("replace", "-f", "-", input_text=json.dumps(found))
    assert "Conflict" in cluster.kubectl_run("replace", "-f", "-", input_text=json.dumps(found)).stderr
    uid = jsonpath(cluster, "cm/ed", ".metadata.uid")
    del found["metadata"]["resourceVersion"], found["metadata"]["uid"]
    cluster.kubectl("replace", "--force", "-f", "-", input_text=json.dumps(found))
    assert jsonpath(cluster, "cm/ed", ".metadata.uid") != uid


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("auth can-i --list", "[*]"),
        ("get deploy/web --subresource=status -o jsonpath={.status.observedGeneration}", ""),
        ("get deploy/web --subresource=scale -o jsonpath={.status.selector}", "app=web"),
        ("get deploy/web --subresource=scale", "NAME   DESIRED   AVAILABLE   AGE\nweb "),
        ("get deploy/web --subresource=status", "UP-TO-DATE"),
        ("get leases -n kube-system -l apiserver.kubernetes.io/identity=kube-apiserver -o name", "/apiserver-"),
        ("api-resources -o wide", "create,delete,deletecollection,get,list,patch,update,watch"),
        ("get deploy/web --server-print=false", "web"),
        ("get deploy/web -o jsonpath-as-json={.metadata.name}", '"web"'),
        ("label deploy/web --list", "tier=front"),
        ("rollout history deploy/web", "REVISION"),
        ("events --types=Normal", "ScalingReplicaSet"),
        ("create token default --duration=10m", "."),
        (
            "create clusterrole sum --aggregation-rule=a=b --dry-run=server -o name",
            "clusterrole.rbac.authorization.k8s.io/sum",
        ),
        ("create deployment d --image=i --dry-run=client -o yaml", "kind: Deployment"),
        ("run r --image=host/true --dry-run=server -o name", "pod/r"),
        ("set image deploy/web web=host/sleep:9 --dry-run=server -o name", "deployment.apps/web"),
        ("get componentstatuses etcd-0", "Healthy"),
        ("get apiservices v1.apps", "Local"),
        ("get flowschemas exempt", "exempt"),
        ("get prioritylevelconfigurations system", "Limited"),
        ("get ipaddresses", "services/default/kubernetes"),
        ("get servicecidrs kubernetes", "kubernetes"),
        ("get endpointslices kubernetes", "IPv4"),
        ("describe namespace default", "Active"),
        ("describe node", "Allocated resources:"),
        ("describe deploy/web", "RollingUpdateStrategy:"),
        ("describe serviceaccount default", "Tokens:"),
        ("cluster-info dump --namespaces=default", '"kind": "EventList"'),
    ],
)
def test_what_is_only_asked_for(cluster: Any, arguments: str, said: str) -> None:
    assert said in cluster.kubectl(*arguments.split())


def test_raw_requests(cluster: Any, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    path = "/api/v1/namespaces/default/configmaps"
    body.write_text('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"raw"},"data":{"a":"1"}}')
    assert '"name":"raw"' in cluster.kubectl("create", "--raw", path, "-f", str(body))
    body.write_text('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"raw"},"data":{"a":"2"}}')
    cluster.kubectl("replace", "--raw", f"{path}/raw", "-f", str(body))
    assert jsonpath(cluster, "cm/raw", ".data.a") == "2"
    assert '"status":"Success"' in cluster.kubectl("delete", "--raw", f"{path}/raw")


def test_what_is_set_and_waited_for(cluster: Any) -> None:
    cluster.kubectl("create", "service", "clusterip", "chosen", "--tcp=80")
    cluster.kubectl("set", "selector", "svc/chosen", "app=other")
    assert get_spec(cluster, "svc/chosen")["selector"] == {"app": "other"}
    cluster.kubectl("create", "rolebinding", "subjects", "--clusterrole=view", "--user=u")
    cluster.kubectl("set", "subject", "rolebinding/subjects", "--user=v")
    assert jsonpath(cluster, "rolebinding/subjects", ".subjects[*].name") == "u v"
    cluster.kubectl("create", "configmap", "awaited")
    assert "condition met" in cluster.kubectl("wait", "--for=create", "cm/awaited", "--timeout=5s")
    cluster.kubectl("delete", "cm/awaited")
    assert cluster.kubectl_run("wait", "--for=delete", "cm/awaited", "--timeout=5s").returncode == 0
    cluster.kubectl("create", "cronjob", "often", "--image=host/true", "--schedule=0 0 1 1 *")
    cluster.kubectl("create", "job", "once", "--from=cronjob/often")
    cluster.kubectl("wait", "--for=condition=Complete", "job/once", "--timeout=40s")
    assert jsonpath(cluster, "job/once", ".metadata.ownerReferences[0].kind") == "CronJob"


def test_a_pod_is_debugged(cluster: Any) -> None:
    cluster.kubectl("run", "patient", "--image=host/sleep", "--", "1000")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/patient", "--timeout=30s")
    cluster.kubectl("debug", "patient", "--image=host/sleep", "-c", "doctor", "--", "sleep", "5")
    assert jsonpath(cluster, "pod/patient", ".spec.ephemeralContainers[*].name") == "doctor"
    cluster.kubectl("debug", "patient", "--image=host/sleep", "-c", "doctor", "--copy-to=copy", "--", "sleep", "5")
    assert jsonpath(cluster, "pod/copy", ".spec.containers[*].name") == "patient doctor"
    cluster.kubectl("delete", "pod", "patient", "copy", "--grace-period=0", "--force")


def test_delete_in_every_form(cluster: Any) -> None:
    for name in ("x", "y"):
        cluster.kubectl("create", "configmap", f"del-{name}")
        cluster.kubectl("label", f"cm/del-{name}", "gone=soon")
    assert cluster.kubectl("delete", "cm", "-l", "gone=soon").count("deleted") == 2
    assert cluster.kubectl("delete", "cm/del-x", "--ignore-not-found") == ""
    cluster.kubectl("create", "deployment", "orphaning", "--image=host/sleep", "--", "sleep", "1000")
    cluster.rolled_out("orphaning")
    cluster.kubectl("delete", "deploy/orphaning", "--cascade=orphan")
    left = cluster.kubectl("get", "rs", "-l", "app=orphaning", "-o", "name").strip()
    assert left
    cluster.kubectl("delete", left, "--cascade=foreground", "--timeout=30s")
    assert cluster.kubectl("get", "pods", "-l", "app=orphaning", "-o", "name") == ""


def test_nodes_are_cordoned_tainted_and_drained(cluster: Any) -> None:
    node = jsonpath(cluster, "nodes", ".items[0].metadata.name")
    cluster.kubectl("run", "alone", "--image=host/sleep", "--", "1000")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/alone", "--timeout=30s")
    refused = cluster.kubectl_run("drain", node, "--timeout=20s")
    assert "declare no controller" in refused.stderr
    cluster.kubectl("drain", node, "--force", "--grace-period=0", "--delete-emptydir-data", "--timeout=60s")
    assert "SchedulingDisabled" in cluster.kubectl("get", "nodes")
    cluster.kubectl("uncordon", node)
    cluster.kubectl("taint", "nodes", node, "k=v:NoSchedule")
    assert "k=v:NoSchedule" in cluster.kubectl("describe", "node", node)
    cluster.kubectl("taint", "nodes", node, "k-")
    cluster.kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=40s")


def test_access_and_certificates(cluster: Any) -> None:
    assert cluster.kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "system:masters" in cluster.kubectl("auth", "whoami")
    request = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "csr"},
        "spec": {"request": certificate_request(), "signerName": "example.com/signer", "usages": ["client auth"]},
    }
    cluster.kubectl("create", "-f", "-", input_text=json.dumps(request))
    cluster.kubectl("certificate", "approve", "csr")
    assert "Approved" in cluster.kubectl("get", "csr")
    assert cluster.kubectl_run("certificate", "deny", "csr").returncode == 1, "what is approved can't be denied"
    request["metadata"] = {"name": "denied"}
    cluster.kubectl("create", "-f", "-", input_text=json.dumps(request))
    cluster.kubectl("certificate", "deny", "denied")
    assert "Denied" in cluster.kubectl("get", "csr", "denied")


def test_what_else_there_is(cluster: Any) -> None:
    assert "is running at" in cluster.kubectl("cluster-info")
    assert "Server Version: v1.36" in cluster.kubectl("version")
    assert "web" in cluster.kubectl("events", "--for", "deployment/web")
    assert "Metrics API not available" in cluster.kubectl_run("top", "nodes").stderr
    assert "complete -o default" in cluster.kubectl("completion", "bash")
    assert "web" in cluster.kubectl("__complete", "get", "deployments", "")
    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"
    said = cluster.kubectl("logs", "deploy/web", "--all-containers", "--prefix")
    assert said == ""
    assert "kubectl-debug" not in cluster.kubectl("get", "pods", "-o", "name")
