"""How controllers of pods are printed: apps, batch, policy, and replication controllers."""

from __future__ import annotations

from typing import Final

from oarlock.cluster.objects.cells import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    NONE,
    UNSET,
    Cells,
    Column,
    Object,
    Printer,
    Printers,
    age_of,
    at,
    boolean,
    condition_holds,
    container_cells,
    integer,
    labels_text,
    name_of,
    selector_text,
    wide,
)
from oarlock.cluster.objects.durations import age, human, parse_time

_READY: Final = Column("Ready", "Number of the pod with ready state")


def _template_cells(obj: Object) -> Cells:
    return container_cells(at(obj, "spec", "template", "spec", "containers"))


def _count(obj: Object, *path: str) -> int:
    found: int = at(obj, *path, default=0)
    return found


def _deployment(obj: Object, now: float) -> Cells:
    return [
        name_of(obj),
        f"{_count(obj, 'status', 'readyReplicas')}/{_count(obj, 'spec', 'replicas')}",
        _count(obj, "status", "updatedReplicas"),
        _count(obj, "status", "availableReplicas"),
        age_of(obj, now),
        *_template_cells(obj),
        selector_text(at(obj, "spec", "selector")),
    ]


def _replicas(obj: Object, now: float) -> Cells:
    return [
        name_of(obj),
        _count(obj, "spec", "replicas"),
        _count(obj, "status", "replicas"),
        _count(obj, "status", "readyReplicas"),
        age_of(obj, now),
        *_template_cells(obj),
    ]


def _replica_set(obj: Object, now: float) -> Cells:
    return [*_replicas(obj, now), selector_text(at(obj, "spec", "selector"))]


def _replication_controller(obj: Object, now: float) -> Cells:
    return [*_replicas(obj, now), labels_text(at(obj, "spec", "selector"))]


def _stateful_set(obj: Object, now: float) -> Cells:
    ready = f"{_count(obj, 'status', 'readyReplicas')}/{_count(obj, 'spec', 'replicas')}"
    return [name_of(obj), ready, age_of(obj, now), *_template_cells(obj)]


_DAEMON_COUNTS: Final = (
    "desiredNumberScheduled",
    "currentNumberScheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
)


def _daemon_set(obj: Object, now: float) -> Cells:
    return [
        name_of(obj),
        *(_count(obj, "status", field) for field in _DAEMON_COUNTS),
        labels_text(at(obj, "spec", "template", "spec", "nodeSelector")),
        age_of(obj, now),
        *_template_cells(obj),
        selector_text(at(obj, "spec", "selector")),
    ]


def _controller_revision(obj: Object, now: float) -> Cells:
    owners = at(obj, "metadata", "ownerReferences", default=())
    controller = next((owner for owner in owners if owner.get("controller")), None)
    name = NONE
    if controller is not None:
        group = controller["apiVersion"].rpartition("/")[0]
        kind = f"{controller['kind']}.{group}" if group else controller["kind"]
        name = f"{kind.lower()}/{controller['name']}"
    return [name_of(obj), name, obj.get("revision", 0), age_of(obj, now)]


def _job(obj: Object, now: float) -> Cells:
    return [
        name_of(obj),
        _job_status(obj),
        _completions(obj),
        _job_duration(obj, now),
        age_of(obj, now),
        *_template_cells(obj),
        selector_text(at(obj, "spec", "selector")),
    ]


def _job_status(obj: Object) -> str:
    conditions = at(obj, "status", "conditions", default=())
    for kind in ("Complete", "Failed"):
        if condition_holds(conditions, kind):
            return kind
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for kind in ("Suspended", "FailureTarget"):
        if condition_holds(conditions, kind):
            return kind
    return "Running"


def _completions(obj: Object) -> str:
    done, wanted = _count(obj, "status", "succeeded"), at(obj, "spec", "completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    parallelism = _count(obj, "spec", "parallelism")
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _job_duration(obj: Object, now: float) -> str:
    started, ended = at(obj, "status", "startTime"), at(obj, "status", "completionTime")
    if not started:
        return ""
    return human((parse_time(ended) if ended else now) - parse_time(started))


def _cron_job(obj: Object, now: float) -> Cells:
    suspend = at(obj, "spec", "suspend")
    last = at(obj, "status", "lastScheduleTime")
    job = at(obj, "spec", "jobTemplate", default={})
    return [
        name_of(obj),
        at(obj, "spec", "schedule", default=""),
        at(obj, "spec", "timeZone", default=NONE),
        UNSET if suspend is None else str(suspend),
        len(at(obj, "status", "active", default=())),
        age(last, now) if last else NONE,
        age_of(obj, now),
        *_template_cells(job),
        selector_text(at(job, "spec", "selector")),
    ]


def _disruption_budget(obj: Object, now: float) -> Cells:
    bounds = [str(at(obj, "spec", field, default="N/A")) for field in ("minAvailable", "maxUnavailable")]
    return [name_of(obj), *bounds, _count(obj, "status", "disruptionsAllowed"), age_of(obj, now)]


PRINTERS: Final[Printers] = {
    ("apps", "Deployment"): Printer(
        (
            NAME,
            _READY,
            Column("Up-to-date", "=apps.v1.DeploymentStatus.updatedReplicas"),
            Column("Available", "=apps.v1.DeploymentStatus.availableReplicas"),
            AGE,
            CONTAINERS,
            IMAGES,
            wide("Selector", "=apps.v1.DeploymentSpec.selector"),
        ),
        _deployment,
    ),
    ("apps", "ReplicaSet"): Printer(
        (
            NAME,
            integer("Desired", "=apps.v1.ReplicaSetSpec.replicas"),
            integer("Current", "=apps.v1.ReplicaSetStatus.replicas"),
            integer("Ready", "=apps.v1.ReplicaSetStatus.readyReplicas"),
            AGE,
            CONTAINERS,
            IMAGES,
            wide("Selector", "=apps.v1.ReplicaSetSpec.selector"),
        ),
        _replica_set,
    ),
    ("", "ReplicationController"): Printer(
        (
            NAME,
            integer("Desired", "=core.v1.ReplicationControllerSpec.replicas"),
            integer("Current", "=core.v1.ReplicationControllerStatus.replicas"),
            integer("Ready", "=core.v1.ReplicationControllerStatus.readyReplicas"),
            AGE,
            CONTAINERS,
            IMAGES,
            wide("Selector", "=core.v1.ReplicationControllerSpec.selector"),
        ),
        _replication_controller,
    ),
    ("apps", "StatefulSet"): Printer((NAME, _READY, AGE, CONTAINERS, IMAGES), _stateful_set),
    ("apps", "DaemonSet"): Printer(
        (
            NAME,
            integer("Desired", "=apps.v1.DaemonSetStatus.desiredNumberScheduled"),
            integer("Current", "=apps.v1.DaemonSetStatus.currentNumberScheduled"),
            integer("Ready", "=apps.v1.DaemonSetStatus.numberReady"),
            integer("Up-to-date", "=apps.v1.DaemonSetStatus.updatedNumberScheduled"),
            integer("Available", "=apps.v1.DaemonSetStatus.numberAvailable"),
            Column("Node Selector", "=core.v1.PodSpec.nodeSelector"),
            AGE,
            CONTAINERS,
            IMAGES,
            wide("Selector", "=apps.v1.DaemonSetSpec.selector"),
        ),
        _daemon_set,
    ),
    ("apps", "ControllerRevision"): Printer(
        (
            NAME,
            Column("Controller", "Controller of the object"),
            Column("Revision", "=apps.v1.ControllerRevision.revision"),
            AGE,
        ),
        _controller_revision,
    ),
    ("batch", "Job"): Printer(
        (
            NAME,
            Column("Status", "Status of the job."),
            Column("Completions", "=batch.v1.JobStatus.succeeded"),
            Column("Duration", "Time required to complete the job."),
            AGE,
            CONTAINERS,
            IMAGES,
            wide("Selector", "=batch.v1.JobSpec.selector"),
        ),
        _job,
    ),
    ("batch", "CronJob"): Printer(
        (
            NAME,
            Column("Schedule", "=batch.v1.CronJobSpec.schedule"),
            Column("Timezone", "=batch.v1.CronJobSpec.timeZone"),
            boolean("Suspend", "=batch.v1.CronJobSpec.suspend"),
            integer("Active", "=batch.v1.CronJobStatus.active"),
            Column("Last Schedule", "=batch.v1.CronJobStatus.lastScheduleTime"),
            AGE,
            CONTAINERS,
            IMAGES,
            wide("Selector", "=batch.v1.JobSpec.selector"),
        ),
        _cron_job,
    ),
    ("policy", "PodDisruptionBudget"): Printer(
        (
            NAME,
            Column("Min Available", "The minimum number of pods that must be available."),
            Column("Max Unavailable", "The maximum number of pods that may be unavailable."),
            integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
            AGE,
        ),
        _disruption_budget,
    ),
}
