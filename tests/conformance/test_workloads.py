"""Workloads by their API: statuses, scales, revisions, lists and sweeps.

Stands for: "Deployment should validate Deployment Status endpoints", "... should run the lifecycle of a Deployment",
"Deployment deployment should have a working scale subresource", the same of ReplicaSet, StatefulSet and
ReplicationController, "DaemonSet should verify changes to a daemon set status", "... should list and delete a
collection of DaemonSets", "ControllerRevision should manage the lifecycle of a ControllerRevision", "Job should apply
changes to a job status", "... should manage the lifecycle of a job", "CronJob should support CronJob API operations",
"ReplicaSet should adopt matching pods on creation and release no longer matching pods", "ReplicationController should
surface a failure condition on a common issue like exceeded quota", "DisruptionController ...".
"""

from __future__ import annotations

from typing import Any

import pytest
from harness.kinds import CONDITION, SELECTOR, TEMPLATE
from harness.rest import Object, Rest, holds

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]
OLD_SELECTOR = SELECTOR["matchLabels"]
KINDS = {
    "deployments": {"replicas": 1, "selector": SELECTOR, "template": TEMPLATE},
    "replicasets": {"replicas": 1, "selector": SELECTOR, "template": TEMPLATE},
    "statefulsets": {"replicas": 1, "selector": SELECTOR, "template": TEMPLATE, "serviceName": "none"},
    "replicationcontrollers": {"replicas": 1, "selector": OLD_SELECTOR, "template": TEMPLATE},
}


def where(plural: str, core: str, apps: str) -> str:
    return f"{core if plural == 'replicationcontrollers' else apps}/{plural}"


def made(api: Rest, path: str, spec: Object, name: str = "w", **labels: str) -> str:
    api.create(path, {"metadata": {"name": name, "labels": labels}, "spec": spec})
    return f"{path}/{name}"


@pytest.mark.parametrize("plural", list(KINDS))
def test_scales(api: Rest, core: str, apps: str, plural: str) -> None:
    path = made(api, where(plural, core, apps), KINDS[plural])
    api.until(path, lambda found: found["status"].get("replicas") == 1)
    scale = api.get(f"{path}/scale")
    assert (scale["kind"], scale["apiVersion"], scale["spec"]) == ("Scale", "autoscaling/v1", {"replicas": 1})
    assert scale["status"] == {"replicas": 1, "selector": "app=a"}
    scale["spec"]["replicas"] = 2
    updated = api.update(f"{path}/scale", scale)
    assert updated["spec"]["replicas"] == 2
    stale = api("PUT", f"{path}/scale", scale)
    assert (stale.code, stale.reason) == (409, "Conflict")
    assert api.patch(f"{path}/scale", {"spec": {"replicas": 0}})["spec"] == {}
    found = api.get(path)
    assert found["spec"]["replicas"] == 0
    bad = api("PATCH", f"{path}/scale", {"spec": {"replicas": -1}}, content_type="application/merge-patch+json")
    assert (bad.code, "must be greater than or equal to 0" in bad.message) == (422, True)
    api.until(path, lambda found: found["status"].get("replicas", 0) == 0)


NEVER = {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}  # type: ignore[dict-item]
NOWHERE = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "nodeSelector": {"none": "such"}}}  # type: ignore[dict-item]
TOLD = {"conditions": [CONDITION]}


@pytest.mark.parametrize(
    ("path", "spec", "status"),
    [
        *(
            (f"{{{'core' if plural == 'replicationcontrollers' else 'apps'}}}/{plural}", KINDS[plural], TOLD)
            for plural in KINDS
        ),
        ("{apps}/daemonsets", {"selector": SELECTOR, "template": NOWHERE}, TOLD),
        ("{batch}/jobs", {"suspend": True, "template": NEVER}, TOLD),
        (
            "{batch}/cronjobs",
            {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": NEVER}}},
            {"lastScheduleTime": "2026-01-01T00:00:00Z"},
        ),
    ],
)
def test_statuses(api: Rest, namespace: str, core: str, apps: str, path: str, spec: Object, status: Object) -> None:
    where = made(api, path.format(core=core, apps=apps, batch=f"/apis/batch/v1/namespaces/{namespace}"), spec)
    assert api.get(f"{where}/status")["spec"] == api.get(where)["spec"]
    ((field, expected),) = status.items()
    told = api.changed(where, lambda found: found["status"].update(status), "/status")
    assert holds(expected, told["status"][field])
    before = api.get(where)["spec"]
    change = {"status": status, "spec": {"minReadySeconds": 7, "suspend": False, "paused": True, "replicas": 9}}
    patched = api.patch(
        f"{where}/status", {**change, "metadata": {"annotations": {"by": "status"}}}, fieldValidation="Ignore"
    )
    assert (patched["spec"], patched["metadata"]["annotations"]["by"]) == (before, "status")
    assert holds(expected, patched["status"][field])


def test_a_deployments_life(api: Rest, apps: str) -> None:
    path = made(api, f"{apps}/deployments", KINDS["deployments"], test="static")
    api.until(path, lambda found: found["status"].get("unavailableReplicas") == 1)
    found = api.get(path)
    conditions = {one["type"]: (one["status"], one["reason"]) for one in found["status"]["conditions"]}
    assert conditions["Available"] == ("False", "MinimumReplicasUnavailable")
    assert conditions["Progressing"][0] == "True"
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    api.patch(path, {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}})
    api.until(path, lambda found: found["status"].get("replicas") == 2)
    sets = api.get(f"{apps}/replicasets", labelSelector="app=a")["items"]
    assert sorted(one["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for one in sets) == ["1", "2"]
    assert (
        len(
            api.get(
                "/apis/apps/v1/deployments",
                labelSelector="test=static",
                fieldSelector=f"metadata.namespace={apps.rpartition('/')[2]}",
            )["items"]
        )
        == 1
    )
    api.delete(f"{apps}/deployments", labelSelector="test=static")
    api.until_gone(path)
    for one in sets:
        api.until_gone(f"{apps}/replicasets/{one['metadata']['name']}")


def test_revisions_of_a_daemon_set(api: Rest, apps: str) -> None:
    path = made(api, f"{apps}/daemonsets", {"selector": SELECTOR, "template": NOWHERE})
    api.until(path, lambda found: found["status"].get("observedGeneration") == 1)
    (first,) = api.get(f"{apps}/controllerrevisions", labelSelector="app=a")["items"]
    assert (first["revision"], first["metadata"]["ownerReferences"][0]["kind"]) == (1, "DaemonSet")
    initial = f"{apps}/controllerrevisions/{first['metadata']['name']}"
    assert api.patch(initial, {"metadata": {"labels": {"w": "patched"}}})["metadata"]["labels"]["w"] == "patched"
    api.patch(path, {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}})
    api.until(path, lambda found: found["status"].get("observedGeneration") == 2)
    revisions = api.get(f"{apps}/controllerrevisions", labelSelector="app=a")["items"]
    assert sorted(one["revision"] for one in revisions) == [1, 2]
    second = api.changed(initial, lambda found: found.update(revision=3))
    assert second["revision"] == 3
    assert api("PATCH", initial, {"data": {"a": 1}}, content_type="application/merge-patch+json").code == 422
    api.delete(f"{apps}/controllerrevisions", labelSelector="w=patched")
    api.until_gone(initial)


@pytest.mark.parametrize("plural", ["replicasets", "replicationcontrollers"])
def test_pods_are_adopted_and_released(api: Rest, namespace: str, core: str, apps: str, plural: str) -> None:
    api.create(f"{core}/pods", {"metadata": {"name": "p", "labels": {"app": "a"}}, "spec": TEMPLATE["spec"]})
    budgets = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    api.create(budgets, {"metadata": {"name": "b"}, "spec": {"minAvailable": 0, "selector": SELECTOR}})
    # Until the controllers have heard of the pod, whose cache they share, one may well be made in its place.
    api.until(f"{budgets}/b", lambda found: found["status"].get("expectedPods") == 1)
    path = made(api, where(plural, core, apps), KINDS[plural])
    uid = api.get(path)["metadata"]["uid"]
    api.until(f"{core}/pods/p", lambda pod: owners(pod) == [uid])
    patched = api.patch(f"{core}/pods/p", {"metadata": {"labels": {"app": "other"}}})
    api.until(f"{core}/pods/p", lambda pod: owners(pod) == [])
    begin = patched["metadata"]["resourceVersion"]  # the status says 1 replica before as after: the pods tell
    with api.watch(f"{core}/pods", labelSelector="app=a", resourceVersion=begin) as watch:
        replacement = watch.until(lambda event: event["type"] == "ADDED")["object"]
    assert owners(replacement) == [uid]
    assert len(api.get(f"{core}/pods", labelSelector="app=a")["items"]) == 1


def owners(pod: Object) -> list[Any]:
    return [one["uid"] for one in pod["metadata"].get("ownerReferences", [])]


@pytest.mark.parametrize("plural", ["replicasets", "replicationcontrollers"])
def test_a_failure_to_make_pods_is_told(api: Rest, core: str, apps: str, plural: str) -> None:
    api.create(f"{core}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}})
    api.until(f"{core}/resourcequotas/q", lambda found: found.get("status", {}).get("used") == {"pods": "0"})
    path = made(api, where(plural, core, apps), {**KINDS[plural], "replicas": 2})

    def failing(found: Object) -> list[str]:
        conditions = found["status"].get("conditions", [])
        return [one["reason"] for one in conditions if (one["type"], one["status"]) == ("ReplicaFailure", "True")]

    api.until(path, lambda found: failing(found) == ["FailedCreate"])
    api.patch(f"{path}/scale", {"spec": {"replicas": 1}})
    api.until(path, lambda found: not failing(found))


def test_a_budget_and_its_status(api: Rest, namespace: str, apps: str, core: str) -> None:
    path = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    api.create(
        path, {"metadata": {"name": "b", "labels": {"b": "1"}}, "spec": {"minAvailable": 1, "selector": SELECTOR}}
    )
    api.create(f"{core}/pods", {"metadata": {"name": "p", "labels": {"app": "a"}}, "spec": TEMPLATE["spec"]})
    api.until(f"{path}/b", lambda found: found["status"].get("expectedPods") == 1)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    ready = [{"type": "Ready", "status": "True"}]
    api.patch(f"{core}/pods/p/status", {"status": {"phase": "Running", "conditions": ready}})
    api.until(f"{path}/b", lambda found: found["status"].get("currentHealthy") == 1)
    refused = api("POST", f"{core}/pods/p/eviction", eviction)
    assert (refused.code, refused.reason) == (429, "TooManyRequests")
    assert refused.body["details"]["causes"][0]["reason"] == "DisruptionBudget"
    api.patch(f"{path}/b", {"spec": {"minAvailable": 0}})
    api.until(f"{path}/b", lambda found: found["status"].get("disruptionsAllowed") == 1)
    api.create(f"{core}/pods/p/eviction", eviction)
    told = api.changed(
        f"{path}/b", lambda found: found["status"].update(disruptedPods={"x": "2026-01-01T00:00:00Z"}), "/status"
    )
    assert told["status"]["disruptedPods"] == {"x": "2026-01-01T00:00:00Z"}
    api.delete(path, labelSelector="b=1")
    api.until_gone(f"{path}/b")
