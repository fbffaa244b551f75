"""Follows the API server's caches: keeps the snapshot and the queue as the cluster is, plus what was just decided."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from oarlock.actors.scheduler.disruption import budget
from oarlock.actors.scheduler.facts import NodeFacts, PodFacts, node_facts, pod_facts
from oarlock.actors.scheduler.metrics import CACHE_SIZE
from oarlock.actors.scheduler.profile import DEFAULT_NAME
from oarlock.actors.scheduler.queue import SchedulingQueue
from oarlock.actors.scheduler.snapshot import Snapshot
from oarlock.cluster.client.cache import Cache, Change, Handler, Object

_FINISHED = frozenset(("Succeeded", "Failed"))
_CACHED_PODS = CACHE_SIZE.labels("pods")
WORKLOADS = {
    ("", "services"): "Service",
    ("", "replicationcontrollers"): "ReplicationController",
    ("apps", "replicasets"): "ReplicaSet",
    ("apps", "statefulsets"): "StatefulSet",
}
"""Kinds whose selectors say which pods belong together, by (group, plural)."""


def selector_only(obj: Object) -> Object:
    """Return what scheduling needs of a workload, so that caches of them stay small."""
    metadata = {name: obj["metadata"].get(name) for name in ("name", "namespace", "uid", "resourceVersion")}
    return {"metadata": metadata, "spec": {"selector": (obj.get("spec") or {}).get("selector")}}


class ClusterView:
    """Feeds one snapshot and one queue. A pod counts onto its node from the moment it is assumed there."""

    def __init__(self, scheduler_names: Container[str], queue: SchedulingQueue) -> None:
        self.snapshot = Snapshot()
        self.scheduler_names = scheduler_names
        self._queue = queue
        self._pods: dict[str, PodFacts] = {}
        self._others: dict[str, Object] = {}
        """Pods that other schedulers have yet to find a node for: nothing here depends on them."""
        self._assumed: dict[str, str] = {}
        self._homeless: dict[str, dict[str, PodFacts]] = {}
        """Pods on nodes that aren't known (yet, or any more), by node."""

    def follow(self, nodes: Cache, pods: Cache, namespaces: Cache, budgets: Cache) -> None:
        """Take every change of these caches from now on, beginning with what they hold."""
        namespaces.add_handler(self.on_namespace)
        budgets.add_handler(self.on_budget)
        nodes.add_handler(self.on_node)
        pods.add_handler(self.on_pod)

    def assume(self, pod: PodFacts, node: str) -> None:
        """Count a pod onto the node that was decided on, before the API server has heard of it."""
        self._assumed[pod.key] = node
        self.snapshot.nominate(pod, "")
        self.snapshot.put_pod(pod, node)
        CACHE_SIZE.labels("assumed_pods").set(len(self._assumed))

    def forget(self, pod: PodFacts) -> bool:
        """Take an assumption back; False if the pod is gone or bound, so that there is nothing left to schedule."""
        node = self._assumed.pop(pod.key, None)
        current = self._pods.get(pod.key)
        if current is not None and current.node_name:
            return False
        if node is not None:
            self.snapshot.drop_pod(pod.key, node)
            self._queue.note("AssignedPodDeleted")
            self.snapshot.nominate(pod, pod.nominated_node if current is None else current.nominated_node)
        return current is not None and current.uid == pod.uid

    def nominate(self, pod: PodFacts, node: str) -> PodFacts:
        """Keep room on the node for a pod, before the API server has heard of it; "" ends that. Return it changed."""
        changed = replace(pod, nominated_node=node)
        if (current := self._pods.get(pod.key)) is not None and current.uid == pod.uid and not current.node_name:
            self._pods[pod.key] = replace(current, nominated_node=node)
            self.snapshot.nominate(changed, node)
        return changed

    def is_pending(self, pod: PodFacts) -> bool:
        """Whether this very pod is still there and without a node."""
        current = self._pods.get(pod.key)
        return current is not None and current.uid == pod.uid and not current.node_name

    def current(self, key: str) -> PodFacts | None:
        """Return the pod as it was last seen."""
        return self._pods.get(key)

    def on_namespace(self, change: Change, old: Object | None, new: Object | None) -> None:  # noqa: ARG002
        name = (new or old or {})["metadata"]["name"]
        if new is None:
            self.snapshot.namespace_labels.pop(name, None)
        else:
            self.snapshot.namespace_labels[name] = new["metadata"].get("labels") or {}

    def requeue(self) -> None:
        """Queue what the profiles of a new configuration are to schedule, and drop what they aren't."""
        for key, obj in list(self._others.items()):
            if not self._is_others(obj):
                self._pods[key] = pod_facts(self._others.pop(key))
        for pod in self._pods.values():
            if pod.node_name or pod.terminating or pod.key in self._assumed:
                continue
            if pod.scheduler_name not in self.scheduler_names:
                self._queue.remove(pod.key)
            elif pod.key not in self._queue:
                self._queue.add(pod)
        self._queue.activate_all()

    def on_budget(self, change: Change, old: Object | None, new: Object | None) -> None:  # noqa: ARG002
        key = _key((new or old or {})["metadata"])
        if new is None:
            self.snapshot.budgets.pop(key, None)
        else:
            self.snapshot.budgets[key] = budget(new)

    def on_workload(self, kind: str) -> Handler:
        """Return what takes changes of Services or of a kind that owns pods."""

        def on_change(change: Change, old: Object | None, new: Object | None) -> None:  # noqa: ARG001
            self.snapshot.workloads.put(kind, _key((new or old or {})["metadata"]), new)

        return on_change

    def on_node(self, change: Change, old: Object | None, new: Object | None) -> None:  # noqa: ARG002
        if new is None:
            self._lose_node((old or {})["metadata"]["name"])
            return
        facts = node_facts(new)
        known = self.snapshot.nodes.get(facts.name)
        events = _node_events(known.facts, facts) if known is not None else ["NodeAdded"]
        if known is None or known.facts != facts:
            self.snapshot.put_node(facts)
        for pod in self._homeless.pop(facts.name, {}).values():
            self.snapshot.put_pod(pod, facts.name)
        CACHE_SIZE.labels("nodes").set(len(self.snapshot))
        if events:
            self._queue.note(*events)

    def on_pod(self, change: Change, old: Object | None, new: Object | None) -> None:  # noqa: ARG002
        key = _key((new or old or {})["metadata"])
        before = self._pods.get(key)
        if new is not None and before is None and self._is_others(new):
            self._others[key] = new
        else:
            self._others.pop(key, None)
            pod = None if new is None or _finished(new) else pod_facts(new)
            if pod is None:
                self._lose_pod(key, before)
            elif before != pod:
                self._pods[key] = pod
                self._change_pod(before, pod)
        _CACHED_PODS.set(len(self._pods) + len(self._others))

    def _is_others(self, pod: Object) -> bool:
        """Whether a pod waits for a node that another scheduler is to find, and holds no room on any yet."""
        spec = pod["spec"]
        if spec.get("nodeName") or (spec.get("schedulerName") or DEFAULT_NAME) in self.scheduler_names:
            return False
        return not _finished(pod) and not (pod.get("status") or {}).get("nominatedNodeName")

    def _change_pod(self, before: PodFacts | None, pod: PodFacts) -> None:
        self.snapshot.nominate(pod, "" if pod.node_name or pod.terminating else pod.nominated_node)
        if pod.node_name:
            self._place(before, pod)
        elif pod.scheduler_name in self.scheduler_names:
            if pod.terminating:
                self._queue.remove(pod.key)
            elif before is not None and replace(before, nominated_node=pod.nominated_node) == pod:
                self._queue.update(pod)
            elif pod.key not in self._assumed:
                self._queue.add(pod)

    def _place(self, before: PodFacts | None, pod: PodFacts) -> None:
        self._queue.remove(pod.key)
        assumed = self._assumed.pop(pod.key, None)
        if assumed is not None and assumed != pod.node_name:
            self.snapshot.drop_pod(pod.key, assumed)
        if not self.snapshot.put_pod(pod, pod.node_name):
            self._homeless.setdefault(pod.node_name, {})[pod.key] = pod
        if before is None or not before.node_name:
            self._queue.note("AssignedPodAdded")
        else:
            self._queue.note("AssignedPodChanged", *(["AssignedPodShrunk"] if _shrunk(before, pod) else []))

    def _lose_pod(self, key: str, before: PodFacts | None) -> None:
        self._pods.pop(key, None)
        if before is not None:
            self.snapshot.nominate(before, "")
        self._queue.remove(key)
        node = self._assumed.pop(key, None) or (before.node_name if before is not None else "")
        if node:
            self.snapshot.drop_pod(key, node)
            self._homeless.get(node, {}).pop(key, None)
            self._queue.note("AssignedPodDeleted")

    def _lose_node(self, name: str) -> None:
        """The node's pods are kept in mind: should it come back, they are on it."""
        state = self.snapshot.nodes.get(name)
        if state is not None and state.pods:
            self._homeless.setdefault(name, {}).update(state.pods)
        self.snapshot.drop_node(name)
        CACHE_SIZE.labels("nodes").set(len(self.snapshot))


def _node_events(old: NodeFacts, new: NodeFacts) -> list[str]:
    changed = {
        "NodeAllocatableChanged": old.allocatable != new.allocatable,
        "NodeLabelChanged": old.labels != new.labels,
        "NodeTaintChanged": old.taints != new.taints,
        "NodeSpecChanged": old.unschedulable != new.unschedulable,
    }
    return [event for event, happened in changed.items() if happened]


def _shrunk(old: PodFacts, new: PodFacts) -> bool:
    return any(new.requests.get(name, 0) < amount for name, amount in old.requests.items())


def _finished(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in _FINISHED


def _key(metadata: Mapping[str, Any]) -> str:
    return f"{metadata.get('namespace') or 'default'}/{metadata['name']}"
