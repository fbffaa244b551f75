"""`oarlock explain pod NAME` and `oarlock whatif -f FILE`: the scheduler's decision, told node by node.

The active scheduler tells what it found in the pod's last attempt. Where it has none, and for `whatif`, the decision is
made here, from what the API server shows, by the code and the configuration that the scheduler itself runs by: for the
cluster as it is now, and for a bound pod as if the pod had just come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

import yaml

from oarlock.actors.scheduler.configuration import Configuration
from oarlock.actors.scheduler.decision import Placement
from oarlock.actors.scheduler.devices.view import GROUP
from oarlock.actors.scheduler.explanation import (
    KINDS,
    Explanation,
    NodeReport,
    explain,
    incoming,
    snapshot_of,
    with_claims,
)
from oarlock.actors.scheduler.framework import PluginFailed
from oarlock.actors.scheduler.located import Broken
from oarlock.actors.scheduler.profile import DEFAULT_NAME
from oarlock.actors.scheduler.sources import Sources
from oarlock.cluster.boot import last_attempt
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.client.errors import BadKubeconfig, Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.informers import collection_path
from oarlock.cluster.client.kubeconfig import load
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """What `explain` was asked: `now` decides anew whatever the scheduler knows, `every` prints every node kept."""

    namespace: str
    name: str
    now: bool = False
    every: bool = False

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"


def explain_pod(kubeconfig: Path, asked: Asked, sources: Sources, out: TextIO) -> int:
    """Print why the pod is where it is, or is nowhere: its last attempt, or else a new decision. Raises BootError."""
    if not asked.now:
        pod, page, problem = _run(_last(kubeconfig, asked.path))
        for line in _about(pod):
            print(line, file=out)
        if page is not None and page["attempt"] is not None:
            for line in last_attempt.lines(page, every=asked.every):
                print(line, file=out)
            return 0 if last_attempt.is_placed(page["attempt"]) else 1
        for line in last_attempt.none(pod, page) if page is not None else (problem,):
            print(line, file=out)
        print("\nfor the cluster as it is now, decided here and not by the scheduler:", file=out)
    return _tell(kubeconfig, sources, out, heading=asked.now, path=asked.path)


async def _last(kubeconfig: Path, path: str) -> tuple[Object, last_attempt.Object | None, str]:
    async with ApiClient(load(kubeconfig)) as client:
        pod = await client.get(path)
        return pod, *await last_attempt.ask(client, pod)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Return what comes of it. Raises BootError."""
    try:
        return asyncio.run(work)
    except (BadKubeconfig, Unreachable) as error:
        raise BootError(str(error)) from None
    except ApiError as error:
        raise BootError(error.message) from None


def what_if(kubeconfig: Path, namespace: str, file: Path, sources: Sources, out: TextIO) -> int:
    """Print where the pod of a manifest would go; it is sent as a dry run, so nothing is created. Raises BootError."""
    try:
        pod = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise BootError(f"can't read {file}: {error}") from None
    if not isinstance(pod, dict) or pod.get("kind") != "Pod":
        raise BootError(f"{file} is no Pod", "Give the manifest of one Pod.")
    return _tell(kubeconfig, sources, out, pod=pod, namespace=namespace)


def _tell(kubeconfig: Path, sources: Sources, out: TextIO, *, heading: bool = True, **asked: Any) -> int:
    try:
        configuration = sources.load()
        pod, objects = _run(_read(kubeconfig, **asked))
        explanation = _explained(pod, objects, configuration)
    except (Broken, PluginFailed) as error:
        raise BootError(str(error)) from None
    for line in (*(_about(pod) if heading else ()), *lines(explanation)):
        print(line, file=out)
    return 0 if isinstance(explanation.decision, Placement) else 1


async def _read(
    kubeconfig: Path, path: str = "", pod: Object | None = None, namespace: str = ""
) -> tuple[Object, dict[tuple[str, str], list[Object]]]:
    """Return the pod, and all that a decision looks at."""
    async with ApiClient(load(kubeconfig)) as client:
        if pod is None:
            pod = await client.get(path)
        else:
            # As the API server would make it: defaults, priority, admission.
            namespace = pod.get("metadata", {}).get("namespace") or namespace
            pod = await client.create(collection_path("", "v1", "pods", namespace), pod, {"dryRun": "All"})
        lists = [await client.list(collection_path(group, "v1", plural)) for group, plural in KINDS]
        objects = {kind: found["items"] for kind, found in zip(KINDS, lists, strict=True)}
        if namespace:
            # Nobody makes claims for a pod that isn't there.
            collection = collection_path(GROUP, "v1", "resourceclaimtemplates", namespace)
            pod, made = with_claims(pod, (await client.list(collection))["items"])
            objects[GROUP, "resourceclaims"].extend(made)
    return pod, objects


def _explained(pod: Object, objects: dict[tuple[str, str], list[Object]], configuration: Configuration) -> Explanation:
    name = pod["spec"].get("schedulerName") or DEFAULT_NAME
    profile = configuration.profiles.get(name)
    if profile is None:
        raise BootError(f"no profile is named {name}, so another scheduler decides about this pod")
    metadata = pod["metadata"]
    snapshot = snapshot_of(objects, without=f"{metadata['namespace']}/{metadata['name']}")
    return explain(incoming(pod), snapshot, profile)


def lines(explanation: Explanation) -> Iterator[str]:
    """Yield what people read: the decision, then each node with what speaks against it or for it."""
    decision = explanation.decision
    if isinstance(decision, Placement):
        yield f"would go to {decision.node}"
    else:
        yield f"would not be scheduled: {decision.message}"
        if decision.nomination is not None:
            names = ", ".join(victim.key for victim in decision.nomination.victims)
            yield f"would take the place of {names} on {decision.nomination.node}"
    for report in explanation.nodes:
        yield ""
        yield from _node_lines(report)


def _about(pod: Object) -> Iterator[str]:
    yield f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
    if node := pod["spec"].get("nodeName"):
        yield f"is on {node}"


def _node_lines(report: NodeReport) -> Iterator[str]:
    yield f"{report.name}: {report.total} points" if report.scores else report.name
    for name, reasons in report.verdicts:
        yield f"  {name:32} {'passes' if reasons is None else ', '.join(reasons)}"
    for name, grade, weight in report.scores:
        yield f"  {name:32} {grade:3} x {weight} = {grade * weight}"
