"""The cluster as the scheduler sees it: nodes, the pods on them and their sums, kept up change by change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import zip_longest

from oarlock.actors.scheduler.devices.state import Devices
from oarlock.actors.scheduler.disruption import Budget
from oarlock.actors.scheduler.facts import Amounts, Group, HostPort, NodeFacts, PodFacts
from oarlock.actors.scheduler.storage import Storage
from oarlock.actors.scheduler.workloads import Workloads

_REGION, _ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"


class NodeState:
    """One node with its pods. Sums change with each pod, so reading them costs nothing."""

    __slots__ = (
        "allocatable",
        "choosy",
        "facts",
        "labels",
        "name",
        "pods",
        "ports",
        "requested",
        "scored_cpu",
        "scored_memory",
    )

    def __init__(self, facts: NodeFacts) -> None:
        self.renew(facts)
        self.pods: dict[str, PodFacts] = {}
        self.choosy: dict[str, PodFacts] = {}
        """Those of the pods that care which pods are near."""
        self.requested: Counter[str] = Counter()
        self.scored_cpu = 0
        self.scored_memory = 0
        self.ports: Counter[HostPort] = Counter()

    def renew(self, facts: NodeFacts) -> None:
        """Take the node as it is now; its pods stay."""
        self.facts = facts
        self.name: str = facts.name
        self.labels: Mapping[str, str] = facts.labels
        self.allocatable: Amounts = facts.allocatable

    def put(self, pod: PodFacts) -> None:
        """Count a pod in; one of the same key is replaced."""
        self.drop(pod.key)
        self.pods[pod.key] = pod
        if has_pod_terms(pod):
            self.choosy[pod.key] = pod
        self._count(pod, 1)

    def drop(self, key: str) -> PodFacts | None:
        """Count a pod out and return it, or None if it isn't here."""
        pod = self.pods.pop(key, None)
        if pod is not None:
            self.choosy.pop(key, None)
            self._count(pod, -1)
        return pod

    def without(self, keys: Iterable[str]) -> NodeState:
        """Return a copy that lacks some pods."""
        copy = NodeState(self.facts)
        gone = set(keys)
        for key, pod in self.pods.items():
            if key not in gone:
                copy.put(pod)
        return copy

    def with_pods(self, pods: Iterable[PodFacts]) -> NodeState:
        """Return a copy that has more pods."""
        copy = self.without(())
        for pod in pods:
            copy.put(pod)
        return copy

    def _count(self, pod: PodFacts, sign: int) -> None:
        for name, amount in pod.requests.items():
            self.requested[name] += sign * amount
        self.scored_cpu += sign * pod.scored[0]
        self.scored_memory += sign * pod.scored[1]
        for port in pod.host_ports:
            self.ports[port] += sign
            if not self.ports[port]:
                del self.ports[port]


class Snapshot:
    """All nodes by name, in the order in which they came, and what more than one node has to say about.

    `namespace_labels` serves namespace selectors. Not copied for a decision: one thread decides and changes it.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, NodeState] = {}
        self.namespace_labels: dict[str, Mapping[str, str]] = {}
        self.image_nodes: Counter[str] = Counter()
        self.affinity_pods: Counter[str] = Counter()
        """How many pods with any (anti-)affinity to other pods each node has; nodes without are left out."""
        self.groups: dict[Group, Counter[str]] = {}
        """How many pods of each group every node has; nodes without are left out."""
        self.nominated: dict[str, dict[str, PodFacts]] = {}
        """Pods by key for which room is made, by the node on which it is."""
        self.budgets: dict[str, Budget] = {}
        self.storage = Storage()
        self.devices = Devices()
        self.workloads = Workloads()
        self._ordered: list[NodeState] | None = None

    def __iter__(self) -> Iterator[NodeState]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def ordered(self) -> list[NodeState]:
        """Return the nodes in the order in which they are looked at: a node of each zone in turn.

        Zones and their nodes come in the order in which they joined. Source: upstream's node tree.
        """
        if self._ordered is None:
            zones: dict[tuple[str, str], list[NodeState]] = {}
            for node in self:
                zones.setdefault((node.labels.get(_REGION, ""), node.labels.get(_ZONE, "")), []).append(node)
            turns = zip_longest(*zones.values())
            self._ordered = [node for turn in turns for node in turn if node is not None]
        return self._ordered

    def put_node(self, facts: NodeFacts) -> None:
        """Add a node or change it; its pods stay."""
        state = self.nodes.get(facts.name)
        if state is None:
            state = self.nodes[facts.name] = NodeState(facts)
        else:
            self.image_nodes.subtract(state.facts.images.keys())
            state.renew(facts)
        self._ordered = None
        self.image_nodes.update(facts.images.keys())

    def drop_node(self, name: str) -> None:
        state = self.nodes.pop(name, None)
        self._ordered = None
        if state is not None:
            self.image_nodes.subtract(state.facts.images.keys())
            self.affinity_pods.pop(name, None)
            for pod in state.pods.values():
                self._count_group(pod, name, -1)

    def put_pod(self, pod: PodFacts, node_name: str) -> bool:
        """Count a pod onto a node; False if there is no such node."""
        state = self.nodes.get(node_name)
        if state is None:
            return False
        self.drop_pod(pod.key, node_name)
        state.put(pod)
        self._count_group(pod, node_name, 1)
        if has_pod_terms(pod):
            self.affinity_pods[node_name] += 1
        return True

    def drop_pod(self, key: str, node_name: str) -> None:
        state = self.nodes.get(node_name)
        pod = state.drop(key) if state is not None else None
        if pod is None:
            return
        self._count_group(pod, node_name, -1)
        if has_pod_terms(pod):
            self.affinity_pods[node_name] -= 1
            if not self.affinity_pods[node_name]:
                del self.affinity_pods[node_name]

    def nominate(self, pod: PodFacts, node_name: str) -> None:
        """Keep room in mind for a pod on a node; "" ends that."""
        for name in [name for name, pods in self.nominated.items() if pod.key in pods]:
            del self.nominated[name][pod.key]
            if not self.nominated[name]:
                del self.nominated[name]
        if node_name:
            self.nominated.setdefault(node_name, {})[pod.key] = pod

    def affinity_nodes(self) -> list[NodeState]:
        """Return the nodes with pods that have something to say about other pods."""
        return [self.nodes[name] for name in self.affinity_pods]

    def count_by_node(self, chooses: Callable[[Group], bool]) -> Counter[str]:
        """Return how many pods of the groups that are chosen each node has; nodes without are left out."""
        counts: Counter[str] = Counter()
        for group, nodes in self.groups.items():
            if chooses(group):
                counts.update(nodes)
        return counts

    def _count_group(self, pod: PodFacts, node_name: str, by: int) -> None:
        nodes = self.groups.setdefault(pod.group, Counter())
        nodes[node_name] += by
        if not nodes[node_name]:
            del nodes[node_name]
            if not nodes:
                del self.groups[pod.group]

    def replacing(self, state: NodeState) -> Snapshot:
        """Return a view in which one node is as given; the others are shared."""
        view = Snapshot()
        view.nodes = {**self.nodes, state.name: state}
        view.namespace_labels, view.image_nodes = self.namespace_labels, self.image_nodes
        view.nominated, view.budgets, view.storage = self.nominated, self.budgets, self.storage
        view.workloads, view.devices = self.workloads, self.devices
        view.affinity_pods = Counter(self.affinity_pods)
        view.affinity_pods[state.name] = len(state.choosy)
        if not view.affinity_pods[state.name]:
            del view.affinity_pods[state.name]
        view.groups = self._groups_with(state)
        return view

    def _groups_with(self, state: NodeState) -> dict[Group, Counter[str]]:
        present = self.nodes.get(state.name)
        counts = Counter(pod.group for pod in state.pods.values())
        groups = dict(self.groups)
        for group in {*counts, *(pod.group for pod in present.pods.values())} if present is not None else counts:
            nodes = Counter(groups.get(group, ()))
            nodes.pop(state.name, None)
            if counts[group]:
                nodes[state.name] = counts[group]
            groups[group] = nodes
        return groups


def has_pod_terms(pod: PodFacts) -> bool:
    """Whether the pod cares about which pods are near it."""
    return bool(pod.affinity or pod.anti_affinity or pod.preferred_affinity or pod.preferred_anti_affinity)
