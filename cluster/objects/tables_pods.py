"""How pods and what they are made from are printed.

The STATUS column is where users look first; its rules are upstream's: the worst container's reason, `Init:…` while
initializing, `Terminating` once deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from oarlock.cluster.objects.cells import (
    AGE,
    NAME,
    NONE,
    Cells,
    Column,
    Object,
    Printer,
    Printers,
    age_of,
    at,
    condition_holds,
    container_cells,
    labels_text,
    name_of,
    wide,
)
from oarlock.cluster.objects.durations import age, parse_time

_NODE_LOST: Final = "NodeLost"
_TERMINAL: Final = frozenset({"Succeeded", "Failed"})


@dataclass(slots=True)
class PodSummary:
    """What a pod's row says of its containers."""

    reason: str
    ready: int = 0
    total: int = 0
    restarts: int = 0
    last_restart: str = field(default="")

    def count_restarts(self, status: Object) -> None:
        """Add a container's restarts, and keep the latest time one of them ended."""
        self.restarts += status.get("restartCount", 0)
        ended = at(status, "lastState", "terminated", "finishedAt", default="")
        if ended and (not self.last_restart or parse_time(ended) > parse_time(self.last_restart)):
            self.last_restart = ended


def summarize(pod: Object) -> PodSummary:
    """Work out a pod's readiness, status and restarts as `kubectl get pods` shows them."""
    spec, status = pod.get("spec", {}), pod.get("status", {})
    sidecars = {one["name"] for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"}
    summary = PodSummary(_phase_reason(status), total=len(spec.get("containers") or ()) + len(sidecars))
    of_sidecars = PodSummary("")
    initializing = _initialize(summary, of_sidecars, spec, status, sidecars)
    if not initializing or condition_holds(status.get("conditions"), "Initialized"):
        summary.restarts, summary.last_restart = of_sidecars.restarts, of_sidecars.last_restart
        _run(summary, status)
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == _NODE_LOST:
            summary.reason = "Unknown"
        elif status.get("phase") not in _TERMINAL:
            summary.reason = "Terminating"
    return summary


def _phase_reason(status: Object) -> str:
    gated = any(
        one.get("type") == "PodScheduled" and one.get("reason") == "SchedulingGated"
        for one in status.get("conditions") or ()
    )
    return "SchedulingGated" if gated else status.get("reason") or status.get("phase") or ""


def _initialize(summary: PodSummary, of_sidecars: PodSummary, spec: Object, status: Object, sidecars: set[str]) -> bool:
    """Take in the init containers up to the first that isn't done; return whether there is one."""
    total = len(spec.get("initContainers") or ())
    for index, one in enumerate(status.get("initContainerStatuses") or ()):
        summary.count_restarts(one)
        sidecar = one["name"] in sidecars
        if sidecar:
            of_sidecars.count_restarts(one)
        if at(one, "state", "terminated") is not None and not at(one, "state", "terminated", "exitCode", default=0):
            continue
        if sidecar and one.get("started"):
            summary.ready += bool(one.get("ready"))
            continue
        summary.reason = f"Init:{_init_reason(one) or f'{index}/{total}'}"
        return True
    return False


def _init_reason(status: Object) -> str:
    ended = at(status, "state", "terminated")
    if ended is not None:
        return _end_reason(ended)
    waiting: str = at(status, "state", "waiting", "reason", default="")
    return "" if waiting == "PodInitializing" else waiting


def _run(summary: PodSummary, status: Object) -> None:
    """Take in the containers; the first one's trouble wins."""
    running = False
    for one in reversed(status.get("containerStatuses") or ()):
        summary.count_restarts(one)
        waiting, ended = at(one, "state", "waiting", "reason"), at(one, "state", "terminated")
        if waiting:
            summary.reason = waiting
        elif ended is not None:
            summary.reason = _end_reason(ended)
        elif one.get("ready") and at(one, "state", "running") is not None:
            running = True
            summary.ready += 1
    if summary.reason == "Completed" and running:
        summary.reason = "Running" if condition_holds(status.get("conditions"), "Ready") else "NotReady"


def _end_reason(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _pod(pod: Object, now: float) -> Cells:
    summary = summarize(pod)
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts += f" ({age(summary.last_restart, now)} ago)"
    addresses = at(pod, "status", "podIPs", default=())
    return [
        name_of(pod),
        f"{summary.ready}/{summary.total}",
        summary.reason,
        restarts,
        age_of(pod, now),
        (addresses[0].get("ip") if addresses else "") or NONE,
        at(pod, "spec", "nodeName") or NONE,
        at(pod, "status", "nominatedNodeName") or NONE,
        _gates(at(pod, "spec", "readinessGates", default=()), at(pod, "status", "conditions", default=())),
    ]


def _gates(gates: Sequence[Object], conditions: Sequence[Object]) -> str:
    if not gates:
        return NONE
    return f"{sum(condition_holds(conditions, gate['conditionType']) for gate in gates)}/{len(gates)}"


def _pod_template(obj: Object, _: float) -> Cells:
    template = obj.get("template", {})
    containers = container_cells(at(template, "spec", "containers"))
    return [name_of(obj), *containers, labels_text(at(template, "metadata", "labels"))]


PRINTERS: Final[Printers] = {
    ("", "Pod"): Printer(
        (
            NAME,
            Column("Ready", "The aggregate readiness state of this pod for accepting traffic."),
            Column("Status", "The aggregate status of the containers in this pod."),
            Column(
                "Restarts",
                "The number of times the containers in this pod have been restarted and when the last container in "
                "this pod has restarted.",
            ),
            AGE,
            wide("IP", "=core.v1.PodStatus.podIP"),
            wide("Node", "=core.v1.PodSpec.nodeName"),
            wide("Nominated Node", "=core.v1.PodStatus.nominatedNodeName"),
            wide("Readiness Gates", "=core.v1.PodSpec.readinessGates"),
        ),
        _pod,
    ),
    ("", "PodTemplate"): Printer(
        (
            NAME,
            Column("Containers", "Names of each container in the template."),
            Column("Images", "Images referenced by each container in the template."),
            Column("Pod Labels", "The labels for the pod template."),
        ),
        _pod_template,
    ),
}
