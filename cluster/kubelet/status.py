"""A pod's status out of what its containers are doing: pure.

Source: the kubelet's GetPhase and condition generation as documented in "Pod Lifecycle".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oarlock.cluster.kubelet import podspec, timestamps
from oarlock.cluster.kubelet.podspec import Container, Pod
from oarlock.cluster.kubelet.runtime import ContainerStatus, State

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run. Source: ContainerStateWaiting."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """All that a status is made of besides the pod. Containers' runs are oldest first.

    `ready` and `started` are what probes say by container name; `scheme` is the runtime's, for containerIDs.
    `failure` ends the pod as a whole: (reason, message).
    """

    runs: Sequence[ContainerStatus]
    scheme: str
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    ready: Mapping[str, bool] = field(default_factory=dict)
    started: Mapping[str, bool] = field(default_factory=dict)
    pod_ip: str = ""
    host_ip: str = ""
    failure: tuple[str, str] | None = None
    ending: bool = False


def build(pod: Pod, view: View, now_s: float) -> Status:
    """Return the whole status; transition times are kept where the pod's present status has them."""
    before = pod.get("status") or {}
    init = [_container_status(pod, container, view, init=True) for container in podspec.init_containers(pod)]
    main = [_container_status(pod, container, view, init=False) for container in podspec.main_containers(pod)]
    phase = _phase(pod, view, main)
    status: Status = {
        "phase": phase,
        "conditions": _conditions(pod, view, phase, main, before, now_s),
        "hostIP": view.host_ip,
        "hostIPs": [{"ip": view.host_ip}],
        "startTime": before.get("startTime") or timestamps.seconds(now_s),
        "containerStatuses": main,
        "qosClass": before.get("qosClass"),
        "observedGeneration": pod["metadata"].get("generation"),
    }
    if init:
        status["initContainerStatuses"] = init
    if view.pod_ip:
        status |= {"podIP": view.pod_ip, "podIPs": [{"ip": view.pod_ip}]}
    if view.failure:
        status["reason"], status["message"] = view.failure
    return {name: value for name, value in status.items() if value not in (None, "")}


def difference(before: Mapping[str, Any], after: Status) -> Status:
    """Return the fields of `after` that are news, for a strategic merge patch; conditions merge by type."""
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    if "conditions" in changed:
        known = {condition["type"]: condition for condition in before.get("conditions") or []}
        news = [c for c in after["conditions"] if not _covers(known.get(c["type"]) or {}, c)]
        if news:
            changed["conditions"] = news
        else:
            del changed["conditions"]
    return changed


def _covers(known: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    fields = ("status", "reason", "message", "observedGeneration")
    return bool(known) and all(known.get(name) == condition.get(name) for name in fields)


def _phase(pod: Pod, view: View, main: Sequence[Status]) -> str:
    if view.failure:
        return "Failed"
    runs = podspec.latest(list(view.runs))
    if not podspec.initialized(pod, runs):
        for container in podspec.init_containers(pod):
            run = runs.get(container["name"])
            failed = run is not None and run.state is State.EXITED and run.exit_code != 0
            if run is not None and failed and not podspec.should_restart(pod, container, run):
                return "Failed"
        return "Pending"
    counts = {"waiting": 0, "running": 0, "failed": 0, "succeeded": 0, "again": 0}
    for container, status in zip(podspec.main_containers(pod), main, strict=True):
        counts[_standing(pod, container, status)] += 1
    if counts["waiting"]:
        return "Pending"
    if counts["running"] or counts["again"]:
        return "Failed" if view.ending and not counts["running"] else "Running"
    return "Failed" if counts["failed"] else "Succeeded"


def _standing(pod: Pod, container: Container, status: Status) -> str:
    state = status["state"]
    if "running" in state:
        return "running"
    ended = state.get("terminated") or status.get("lastState", {}).get("terminated")
    if ended is None:
        return "waiting"
    policy = podspec.restart_policy(pod, container)
    if "waiting" in state or policy == "Always" or (policy == "OnFailure" and ended["exitCode"] != 0):
        return "again"
    return "failed" if ended["exitCode"] != 0 else "succeeded"


def _container_status(pod: Pod, container: Container, view: View, init: bool) -> Status:
    name = container["name"]
    runs = sorted((run for run in view.runs if run.name == name), key=lambda run: run.attempt)
    run = runs[-1] if runs else None
    waiting = view.waiting.get(name)
    state, last = _states(run, runs[-2] if len(runs) > 1 else None, waiting, view.scheme)
    if not state:
        creating = not podspec.init_containers(pod) or (
            not init and podspec.initialized(pod, podspec.latest(list(view.runs)))
        )
        state = {"waiting": {"reason": "ContainerCreating" if creating else "PodInitializing"}}
    status: Status = {
        "name": name,
        "state": state,
        "lastState": last,
        "ready": _is_ready(container, view, state, init=init),
        "restartCount": run.attempt if run else 0,
        "image": container.get("image", ""),
        "imageID": run.image_ref if run else "",
        "started": "running" in state and view.started.get(name, False),
    }
    if run:
        status["containerID"] = f"{view.scheme}://{run.id}"
    return status


def _is_ready(container: Container, view: View, state: Status, init: bool) -> bool:
    if init and not podspec.is_sidecar(container):
        return bool(state.get("terminated", {}).get("exitCode") == 0)
    return "running" in state and view.ready.get(container["name"], False)


def _states(
    run: ContainerStatus | None, previous: ContainerStatus | None, waiting: Waiting | None, scheme: str
) -> tuple[Status, Status]:
    """Return (state, lastState)."""
    before = {"terminated": _terminated(previous, scheme)} if previous and previous.state is State.EXITED else {}
    if run is not None and run.state is State.RUNNING:
        return {"running": {"startedAt": timestamps.seconds(run.started_ns / 1e9)}}, before
    ended = {"terminated": _terminated(run, scheme)} if run is not None and run.state is State.EXITED else {}
    if waiting is not None:
        words = {"reason": waiting.reason, **({"message": waiting.message} if waiting.message else {})}
        return {"waiting": words}, ended or before
    return ended, before


def _terminated(run: ContainerStatus, scheme: str) -> Status:
    found: Status = {
        "exitCode": run.exit_code,
        "reason": run.reason,
        "startedAt": timestamps.seconds((run.started_ns or run.created_ns) / 1e9),
        "finishedAt": timestamps.seconds(run.finished_ns / 1e9),
        "containerID": f"{scheme}://{run.id}",
    }
    if run.signal:
        found["signal"] = run.signal
    if run.message:
        found["message"] = run.message
    return found


def _conditions(
    pod: Pod, view: View, phase: str, main: Sequence[Status], before: Mapping[str, Any], now_s: float
) -> list[Status]:
    known = {condition["type"]: condition for condition in before.get("conditions") or []}
    runs = podspec.latest(list(view.runs))
    done = phase in ("Succeeded", "Failed")
    unready = [status["name"] for status in main if not status["ready"]]
    if phase == "Succeeded":
        not_ready: tuple[str, str] | None = ("PodCompleted", "")
    elif phase == "Failed":
        not_ready = ("PodFailed", "")
    elif unready:
        not_ready = ("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    else:
        not_ready = None
    uninitialized = _uninitialized(pod, runs, phase)
    verdicts: list[tuple[str, tuple[str, str] | None]] = [
        ("PodReadyToStartContainers", None if view.pod_ip and not done else ("", "")),
        ("Initialized", uninitialized),
        ("Ready", not_ready or _gate(pod, known)),
        ("ContainersReady", not_ready),
        ("PodScheduled", None),
    ]
    generation = pod["metadata"].get("generation")
    return [_condition(known.get(kind), kind, why, generation, now_s) for kind, why in verdicts]


def _uninitialized(pod: Pod, runs: Mapping[str, ContainerStatus], phase: str) -> tuple[str, str] | None:
    if phase == "Succeeded" or podspec.initialized(pod, runs):
        return None
    names = [
        container["name"]
        for container in podspec.init_containers(pod)
        if (run := runs.get(container["name"])) is None or run.state is not State.EXITED or run.exit_code != 0
    ]
    return ("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(names)}]")


def _gate(pod: Pod, known: Mapping[str, Mapping[str, Any]]) -> tuple[str, str] | None:
    for gate in pod["spec"].get("readinessGates") or []:
        kind = gate["conditionType"]
        condition = known.get(kind)
        if condition is None:
            return ("ReadinessGatesNotReady", f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        if condition.get("status") != "True":
            return (
                "ReadinessGatesNotReady",
                f'the status of pod readiness gate "{kind}" is not "True", but {condition.get("status")}',
            )
    return None


def _condition(
    known: Mapping[str, Any] | None, kind: str, why: tuple[str, str] | None, generation: int | None, now_s: float
) -> Status:
    truth = "True" if why is None else "False"
    same = known is not None and known.get("status") == truth
    made: Status = {
        "type": kind,
        "status": truth,
        "lastProbeTime": None,
        "lastTransitionTime": known["lastTransitionTime"] if known and same else timestamps.seconds(now_s),
    }
    if generation is not None:
        made["observedGeneration"] = generation
    if why and why[0]:
        made["reason"] = why[0]
    if why and why[1]:
        made["message"] = why[1]
    return made
