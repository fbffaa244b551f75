"""The official Python client, unchanged, against a cluster of one process."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]

NAMESPACE = "python-client"


@pytest.fixture(scope="module")
def api(oarlock_cluster: Any) -> Iterator[client.ApiClient]:
    made = config.new_client_from_config(str(oarlock_cluster.kubeconfig))
    client.CoreV1Api(made).create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    yield made
    client.CoreV1Api(made).delete_namespace(NAMESPACE)
    made.close()


def configmap(name: str, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"made": "here"}), data=data)


def pod(name: str, script: str) -> client.V1Pod:
    container = client.V1Container(name="c", image="host/sh", command=["sh", "-c", script])
    spec = client.V1PodSpec(containers=[container], restart_policy="Never", termination_grace_period_seconds=0)
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name), spec=spec)


def until(core: client.CoreV1Api, name: str, phase: str) -> client.V1Pod:
    """Follow a pod's watch until it is in the phase."""
    follow = watch.Watch()
    selector = f"metadata.name={name}"
    for event in follow.stream(core.list_namespaced_pod, NAMESPACE, field_selector=selector, timeout_seconds=30):
        if event["object"].status.phase == phase:
            follow.stop()
            return event["object"]
    raise AssertionError(f"{name} never was {phase}")


def served_kinds(group: Any) -> set[str]:
    """Return the kinds that the server has of a group's version, in lower case; none if it doesn't serve it."""
    try:
        return {resource.kind.lower() for resource in group.get_api_resources().resources}
    except ApiException as failure:
        return set() if failure.status == 404 else {failure.reason}


def test_every_list_of_the_client_can_be_read(api: client.ApiClient) -> None:
    read = set()
    for group in [getattr(client, name)(api) for name in dir(client) if re.fullmatch(r"[A-Z]\w+V\w+Api", name)]:
        kinds = served_kinds(group)
        for name in dir(group):
            listed = re.fullmatch(r"list_(?!namespaced_)(\w+?)(_for_all_namespaces)?", name)
            if listed is None or listed[1].replace("_", "") not in kinds:
                continue
            if isinstance(group, client.EventsV1Api):
                # The client refuses the null eventTime that upstream too has for events made by core/v1's recorders.
                continue
            answer = getattr(group, name)(limit=5)
            assert isinstance(answer.items, list), name
            read.add(name)
    assert len(read) >= 59
    assert {"list_pod_for_all_namespaces", "list_csi_driver", "list_flow_schema", "list_resource_slice"} <= read


def test_objects_are_made_read_changed_and_deleted(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    made = core.create_namespaced_config_map(NAMESPACE, configmap("crud", a="1"))
    assert made.metadata.uid
    made.data["b"] = "2"
    changed = core.replace_namespaced_config_map("crud", NAMESPACE, made)
    assert changed.data == {"a": "1", "b": "2"}
    with pytest.raises(ApiException) as conflict:
        core.replace_namespaced_config_map("crud", NAMESPACE, made)
    assert (conflict.value.status, conflict.value.reason) == (409, "Conflict")
    patched = core.patch_namespaced_config_map("crud", NAMESPACE, {"data": {"a": None, "c": "3"}})
    assert patched.data == {"b": "2", "c": "3"}
    operations = [{"op": "replace", "path": "/data/b", "value": "4"}]
    assert core.patch_namespaced_config_map("crud", NAMESPACE, operations).data == {"b": "4", "c": "3"}
    assert [
        one.metadata.name for one in core.list_namespaced_config_map(NAMESPACE, label_selector="made in (here)").items
    ]
    core.delete_namespaced_config_map("crud", NAMESPACE)
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_config_map("crud", NAMESPACE)
    assert gone.value.status == 404


def test_lists_come_in_pages(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    for number in range(7):
        core.create_namespaced_config_map(NAMESPACE, configmap(f"page-{number}", n=str(number)))
    names: list[str] = []
    token = None
    while True:
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="made=here", limit=3, _continue=token)
        names += [one.metadata.name for one in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert [name for name in names if name.startswith("page-")] == [f"page-{number}" for number in range(7)]
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="made=here")
    assert not core.list_namespaced_config_map(NAMESPACE, label_selector="made=here").items


def test_a_watch_goes_on_from_a_list(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    revision = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, configmap("watched", a="1"))
    core.patch_namespaced_config_map("watched", NAMESPACE, {"data": {"a": "2"}})
    core.delete_namespaced_config_map("watched", NAMESPACE)
    seen = []
    follow = watch.Watch()
    asked = {"resource_version": revision, "field_selector": "metadata.name=watched", "timeout_seconds": 20}
    for event in follow.stream(core.list_namespaced_config_map, NAMESPACE, **asked):
        seen.append((event["type"], event["object"].data["a"]))
        if event["type"] == "DELETED":
            follow.stop()
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


def test_a_deployment_rolls_out_scales_and_goes(api: client.ApiClient) -> None:
    apps = client.AppsV1Api(api)
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": "d"}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="host/sleep", args=["1000"])]),
    )
    spec = client.V1DeploymentSpec(replicas=1, selector={"matchLabels": {"app": "d"}}, template=template)
    apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(metadata={"name": "d"}, spec=spec))
    apps.patch_namespaced_deployment_scale("d", NAMESPACE, {"spec": {"replicas": 2}})
    assert apps.read_namespaced_deployment_scale("d", NAMESPACE).spec.replicas == 2
    follow = watch.Watch()
    for event in follow.stream(apps.list_namespaced_deployment, NAMESPACE, timeout_seconds=40):
        if event["object"].status.ready_replicas == 2:
            follow.stop()
    assert apps.read_namespaced_deployment_status("d", NAMESPACE).status.ready_replicas == 2
    apps.delete_namespaced_deployment("d", NAMESPACE, propagation_policy="Background", grace_period_seconds=0)


def test_logs_exec_and_port_forward(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_pod(NAMESPACE, pod("runner", "echo started; exec sleep 1000"))
    until(core, "runner", "Running")
    deadline = time.monotonic() + 20
    while core.read_namespaced_pod_log("runner", NAMESPACE) != "started\n":
        assert time.monotonic() < deadline, "the log is written by another process"
        time.sleep(0.05)
    connect = core.connect_get_namespaced_pod_exec
    streams = {"stderr": True, "stdin": False, "stdout": True, "tty": False}
    said = stream(connect, "runner", NAMESPACE, command=["sh", "-c", "echo out; echo err >&2"], **streams)
    assert sorted(said.split()) == ["err", "out"]
    session = stream(
        connect,
        "runner",
        NAMESPACE,
        command=["sh", "-c", "read x; echo got $x; exit 3"],
        _preload_content=False,
        **{**streams, "stdin": True},
    )
    session.write_stdin("hello\n")
    session.run_forever(timeout=20)
    assert session.read_stdout() == "got hello\n"
    assert session.returncode == 3
    forward = portforward(core.connect_get_namespaced_pod_portforward, "runner", NAMESPACE, ports="1")
    assert "connection refused" in (forward.error(1) or "") or forward.socket(1).recv(1) == b""
    core.delete_namespaced_pod("runner", NAMESPACE)


def test_the_dynamic_client_discovers_and_applies(api: client.ApiClient) -> None:
    discovered = dynamic.DynamicClient(api)
    deployments = discovered.resources.get(api_version="apps/v1", kind="Deployment")
    assert {"get", "list", "watch", "create", "update", "patch", "delete"} <= set(deployments.verbs)
    configmaps = discovered.resources.get(api_version="v1", kind="ConfigMap")
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "applied"},
        "data": {"a": "1"},
    }
    applied = {"namespace": NAMESPACE, "name": "applied"}
    configmaps.server_side_apply(body=body, field_manager="one", **applied)
    body["data"] = {"a": "2"}
    with pytest.raises(dynamic.exceptions.ConflictError) as conflict:
        configmaps.server_side_apply(body=body, field_manager="two", **applied)
    assert 'conflict with \\"one\\"' in str(conflict.value.body)
    taken = configmaps.server_side_apply(body=body, field_manager="two", force_conflicts=True, **applied)
    assert taken.data.a == "2"
    configmaps.delete(**applied)


def test_manifests_are_created_from_yaml(api: client.ApiClient) -> None:
    document = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "y"}}
    container = {"name": "c", "image": "host/true"}
    template = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}}
    document["spec"] = {"schedule": "0 0 1 1 *", "jobTemplate": template}  # type: ignore[assignment]
    utils.create_from_dict(api, document, namespace=NAMESPACE)
    made = client.BatchV1Api(api).read_namespaced_cron_job("y", NAMESPACE)
    assert made.spec.schedule == "0 0 1 1 *"


def test_reviews_tokens_and_evictions(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("default", NAMESPACE, request).status.token
    review = client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token))
    answer = client.AuthenticationV1Api(api).create_token_review(review)
    assert answer.status.user.username == f"system:serviceaccount:{NAMESPACE}:default"
    core.create_namespaced_pod(NAMESPACE, pod("evicted", "sleep 1000"))
    until(core, "evicted", "Running")
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name="evicted"))
    core.create_namespaced_pod_eviction("evicted", NAMESPACE, eviction)
    with pytest.raises(ApiException) as refused:
        core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "Not Valid"}})
    assert refused.value.status == 422
