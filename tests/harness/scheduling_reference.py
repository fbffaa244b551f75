"""What every filter and score is to decide, written as plainly as it can be and as slowly as that makes it.

A cluster is a list of (node, pods on it). Filters say whether a node will do, scores give each of some nodes a grade.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import pstdev

from oarlock.actors.scheduler.facts import NodeFacts, PodFacts, SpreadConstraint
from oarlock.actors.scheduler.selection import NodeTerm, PodTerm, Taint

Place = tuple[NodeFacts, list[PodFacts]]
Cluster = list[Place]
NAMESPACES = {"default": {"kubernetes.io/metadata.name": "default"}, "other": {"team": "b"}}


def node_unschedulable(pod: PodFacts, place: Place, cluster: Cluster) -> bool:
    return not place[0].unschedulable or pod.tolerates(Taint("node.kubernetes.io/unschedulable", "", "NoSchedule"))


def node_name(pod: PodFacts, place: Place, cluster: Cluster) -> bool:
    return pod.node_name in ("", place[0].name)


def taint_toleration(pod: PodFacts, place: Place, cluster: Cluster) -> bool:
    hard = [taint for taint in place[0].taints if taint.effect != "PreferNoSchedule"]
    return all(pod.tolerates(taint) for taint in hard)


def node_affinity(pod: PodFacts, place: Place, cluster: Cluster) -> bool:
    node, _ = place
    if any(node.labels.get(key) != value for key, value in pod.node_selector.items()):
        return False
    return pod.node_required is None or any(_holds(term, node) for term in pod.node_required)


def node_ports(pod: PodFacts, place: Place, cluster: Cluster) -> bool:
    taken = [port for other in place[1] for port in other.host_ports]
    for protocol, address, number in pod.host_ports:
        for other_protocol, other_address, other_number in taken:
            same_address = address == other_address or "0.0.0.0" in (address, other_address)
            if protocol == other_protocol and number == other_number and same_address:
                return False
    return True


def node_resources_fit(pod: PodFacts, place: Place, cluster: Cluster) -> bool:
    node, pods = place
    if len(pods) >= node.allocatable.get("pods", 0):
        return False
    for name, amount in pod.requests.items():
        if amount and sum(other.requests.get(name, 0) for other in pods) + amount > node.allocatable.get(name, 0):
            return False
    return True


def pod_topology_spread(pod: PodFacts, place: Place, cluster: Cluster) -> bool:
    hard = [one for one in pod.spread if one.required]
    for constraint in hard:
        domain = place[0].labels.get(constraint.topology_key)
        if domain is None:
            return False
        counts: dict[str, int] = {}
        for node, pods in cluster:
            if all(one.topology_key in node.labels for one in hard) and _counted(pod, constraint, node):
                key = node.labels[constraint.topology_key]
                counts[key] = counts.get(key, 0) + _chosen(pod, constraint, pods)
        least = min(counts.values(), default=0) if len(counts) >= constraint.min_domains else 0
        if counts.get(domain, 0) + constraint.selector.matches(pod.labels) - least > constraint.max_skew:
            return False
    return True


def inter_pod_affinity(pod: PodFacts, place: Place, cluster: Cluster) -> bool:
    here = place[0].labels
    for node, pods in cluster:
        for other in pods:
            for term in other.anti_affinity:
                if _means(term, pod) and _same(term, node, here):
                    return False
            if any(_means(term, other) and _same(term, node, here) for term in pod.anti_affinity):
                return False
    if not all(term.topology_key in here for term in pod.affinity):
        return False
    friends = [node for node, pods in cluster for other in pods if all(_means(term, other) for term in pod.affinity)]
    anywhere = any(term.topology_key in node.labels for node in friends for term in pod.affinity)
    if not anywhere and all(_means(term, pod) for term in pod.affinity):
        return True
    return all(any(_same(term, node, here) for node in friends) for term in pod.affinity)


FILTERS: dict[str, Callable[[PodFacts, Place, Cluster], bool]] = {
    "NodeUnschedulable": node_unschedulable,
    "NodeName": node_name,
    "TaintToleration": taint_toleration,
    "NodeAffinity": node_affinity,
    "NodePorts": node_ports,
    "NodeResourcesFit": node_resources_fit,
    "PodTopologySpread": pod_topology_spread,
    "InterPodAffinity": inter_pod_affinity,
}


def taint_score(pod: PodFacts, nodes: Cluster, cluster: Cluster) -> list[int]:
    soft = [sum(t.effect == "PreferNoSchedule" and not pod.tolerates(t) for t in node.taints) for node, _ in nodes]
    return [100 - 100 * count // max(soft) if max(soft) else 100 for count in soft]


def node_affinity_score(pod: PodFacts, nodes: Cluster, cluster: Cluster) -> list[int]:
    raw = [sum(weight for weight, term in pod.node_preferred if _holds(term, node)) for node, _ in nodes]
    return [100 * points // max(raw) if max(raw) else 0 for points in raw]


def least_allocated_score(pod: PodFacts, nodes: Cluster, cluster: Cluster) -> list[int]:
    grades = []
    for node, pods in nodes:
        parts = []
        for place, name in enumerate(("cpu", "memory")):
            room = node.allocatable.get(name, 0)
            wanted = sum(one.scored[place] for one in (*pods, pod))
            if room:
                parts.append(0 if wanted > room else (room - wanted) * 100 // room)
        grades.append(sum(parts) // len(parts) if parts else 0)
    return grades


def balanced_score(pod: PodFacts, nodes: Cluster, cluster: Cluster) -> list[int]:
    def balance(node: NodeFacts, pods: list[PodFacts]) -> int:
        shares = [
            min(1.0, sum(one.requests.get(name, 0) for one in pods) / node.allocatable[name])
            for name in ("cpu", "memory")
            if node.allocatable.get(name)
        ]
        return int((1 - (pstdev(shares) if len(shares) > 1 else 0.0)) * 100 + 1e-9)

    return [50 + int((50 + balance(node, [*pods, pod]) - balance(node, pods)) / 2) for node, pods in nodes]


def spread_score(pod: PodFacts, nodes: Cluster, cluster: Cluster) -> list[int]:
    soft = [one for one in pod.spread if not one.required]
    able = [place for place in nodes if all(one.topology_key in place[0].labels for one in soft)]
    raw: list[int | None] = []
    for node, pods in nodes:
        if not any(node is one for one, _ in able):
            raw.append(None)
            continue
        points = 0.0
        for constraint in soft:
            key = constraint.topology_key
            if key == "kubernetes.io/hostname":
                count, domains = _chosen(pod, constraint, pods), len(able)
            else:
                domains = len({other.labels[key] for other, _ in able})
                count = sum(
                    _chosen(pod, constraint, others)
                    for other, others in cluster
                    if all(one.topology_key in other.labels for one in soft)
                    and other.labels[key] == node.labels[key]
                    and _counted(pod, constraint, other)
                )
            points += count * math.log(domains + 2) + constraint.max_skew - 1
        raw.append(math.floor(points + 0.5))
    known = [points for points in raw if points is not None]
    least, most = min(known, default=0), max(known, default=0)
    return [0 if points is None else (100 * (most + least - points) // most if most else 100) for points in raw]


def inter_pod_score(pod: PodFacts, nodes: Cluster, cluster: Cluster) -> list[int]:
    raw = []
    for here, _ in nodes:
        points = 0
        for node, pods in cluster:
            for other in pods:
                for sign, terms in ((1, pod.preferred_affinity), (-1, pod.preferred_anti_affinity)):
                    points += sum(
                        sign * term.weight for term in terms if _means(term, other) and _same(term, node, here.labels)
                    )
                for sign, terms in ((1, other.preferred_affinity), (-1, other.preferred_anti_affinity)):
                    points += sum(
                        sign * term.weight for term in terms if _means(term, pod) and _same(term, node, here.labels)
                    )
                points += sum(_means(term, pod) and _same(term, node, here.labels) for term in other.affinity)
        raw.append(points)
    width = max(raw) - min(raw)
    return [int(100 * ((points - min(raw)) / width)) if width else 0 for points in raw]


def image_score(pod: PodFacts, nodes: Cluster, cluster: Cluster) -> list[int]:
    mebibyte, grades = 1024 * 1024, []
    for node, _ in nodes:
        present = 0
        for image in pod.images:
            name = image if ":" in image.rpartition("/")[2] else f"{image}:latest"
            having = sum(name in other.images for other, _ in cluster)
            present += int(node.images.get(name, 0) * (having / len(cluster)))
        most = 1000 * mebibyte * len(pod.images)
        counted = max(23 * mebibyte, min(present, most))
        grades.append(100 * (counted - 23 * mebibyte) // (most - 23 * mebibyte))
    return grades


SCORES: dict[str, Callable[[PodFacts, Cluster, Cluster], list[int]]] = {
    "TaintToleration": taint_score,
    "NodeAffinity": node_affinity_score,
    "NodeResourcesFit": least_allocated_score,
    "NodeResourcesBalancedAllocation": balanced_score,
    "PodTopologySpread": spread_score,
    "InterPodAffinity": inter_pod_score,
    "ImageLocality": image_score,
}


def _holds(term: NodeTerm, node: NodeFacts) -> bool:
    return term.matches(node.name, node.labels)


def _means(term: PodTerm, other: PodFacts) -> bool:
    return term.matches(other.namespace, other.labels, NAMESPACES)


def _same(term: PodTerm, node: NodeFacts, here: object) -> bool:
    assert isinstance(here, dict)
    key = term.topology_key
    return key in node.labels and key in here and node.labels[key] == here[key]


def _counted(pod: PodFacts, constraint: SpreadConstraint, node: NodeFacts) -> bool:
    if constraint.honor_affinity and not node_affinity(pod, (node, []), []):
        return False
    return not constraint.honor_taints or taint_toleration(pod, (node, []), [])


def _chosen(pod: PodFacts, constraint: SpreadConstraint, pods: list[PodFacts]) -> int:
    return sum(
        one.namespace == pod.namespace and not one.terminating and constraint.selector.matches(one.labels)
        for one in pods
    )
