"""Defaults of the workload kinds: apps, batch and ReplicationController.

Source: upstream's `pkg/apis/apps/v1/defaults.go`, `pkg/apis/batch/v1/defaults.go`.
"""

from __future__ import annotations

from typing import Final

from oarlock.cluster.objects.pod_defaults import Obj, Table, fill, template

REVISION_HISTORY: Final[Table] = (("revisionHistoryLimit", 10),)
_BACKOFF_PER_INDEX: Final = 2**31 - 1


def deployment(obj: Obj) -> None:
    """Rolling update by quarters, ten revisions, ten minutes to make progress."""
    spec = obj["spec"]
    fill(spec, (("replicas", 1), *REVISION_HISTORY, ("progressDeadlineSeconds", 600)))
    strategy = spec["strategy"]
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy.setdefault("rollingUpdate", {}), (("maxUnavailable", "25%"), ("maxSurge", "25%")))
    spec.setdefault("selector", None)
    template(spec)


def replica_set(obj: Obj) -> None:
    """One replica."""
    obj["spec"].setdefault("replicas", 1)
    obj["spec"].setdefault("selector", None)
    obj["status"].setdefault("replicas", 0)
    template(obj["spec"])


def replication_controller(obj: Obj) -> None:
    """One replica; selector and labels follow the template's labels."""
    spec = obj["spec"]
    spec.setdefault("replicas", 1)
    labels = spec.get("template", {}).get("metadata", {}).get("labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        if not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)
    obj["status"].setdefault("replicas", 0)
    if "template" in spec:
        template(spec)


def stateful_set(obj: Obj) -> None:
    """One replica, pods in order, claims kept."""
    spec = obj["spec"]
    fill(spec, (("podManagementPolicy", "OrderedReady"), ("replicas", 1), *REVISION_HISTORY))
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and "rollingUpdate" in strategy:
        strategy["rollingUpdate"].setdefault("partition", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    fill(retention, (("whenDeleted", "Retain"), ("whenScaled", "Retain")))
    for claim in spec.get("volumeClaimTemplates", ()):
        fill(claim, (("kind", "PersistentVolumeClaim"), ("apiVersion", "v1")))
        claim.setdefault("metadata", {})
        inner = claim.setdefault("spec", {})
        inner.setdefault("volumeMode", "Filesystem")
        inner.setdefault("resources", {})
        claim.setdefault("status", {}).setdefault("phase", "Pending")
    fill(obj["status"], (("replicas", 0), ("availableReplicas", 0)))
    spec.setdefault("selector", None)
    template(spec)


def daemon_set(obj: Obj) -> None:
    """Rolling update of one node at a time."""
    spec = obj["spec"]
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy.setdefault("rollingUpdate", {}), (("maxUnavailable", 1), ("maxSurge", 0)))
    counts = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    fill(obj["status"], tuple((name, 0) for name in counts))
    spec.setdefault("selector", None)
    template(spec)


def job(obj: Obj) -> None:
    """One completion unless parallelism says otherwise; labels follow the template's."""
    spec = obj["spec"]
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", _BACKOFF_PER_INDEX if "backoffLimitPerIndex" in spec else 6)
    labels = spec.get("template", {}).get("metadata", {}).get("labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)
    replacement = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    fill(spec, (("completionMode", "NonIndexed"), ("suspend", False), ("podReplacementPolicy", replacement)))
    job_template_spec(spec)


def job_template_spec(spec: Obj) -> None:
    """Defaults that jobs and the job templates of a CronJob share."""
    for rule in spec.get("podFailurePolicy", {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern.setdefault("status", "True")
    template(spec)


def cron_job(obj: Obj) -> None:
    """Runs may overlap; three good runs and one failed run are kept."""
    plain = (("concurrencyPolicy", "Allow"), ("suspend", False), ("successfulJobsHistoryLimit", 3))
    fill(obj["spec"], (*plain, ("failedJobsHistoryLimit", 1)))
    job_template_spec(obj["spec"]["jobTemplate"]["spec"])
