"""What the test of a plugin needs: give it objects as they are in manifests, get what it says of each node.

from oarlock.actors.scheduler.testing import Trial

trial = Trial(SpotsLast(), nodes=[{"metadata": {"name": "n0", "labels": {"spot": "yes"}}}])
assert trial.grades({"metadata": {"name": "p"}, "spec": {"containers": []}}) == {"n0": 0}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oarlock.actors.scheduler.examination import Examination
from oarlock.actors.scheduler.facts import node_facts, pod_facts
from oarlock.actors.scheduler.plugin import Plugin
from oarlock.actors.scheduler.snapshot import Snapshot

Object = Mapping[str, Any]


class Trial:
    """One plugin in a small cluster; `pods` that name a node are on it."""

    def __init__(self, plugin: Plugin, nodes: Iterable[Object], pods: Iterable[Object] = ()) -> None:
        self.plugin, self.snapshot = plugin, Snapshot()
        for node in nodes:
            self.snapshot.put_node(node_facts(node))
        for pod in pods:
            facts = pod_facts(pod)
            self.snapshot.put_pod(facts, facts.node_name)

    def verdicts(self, pod: Object) -> dict[str, tuple[str, ...] | None]:
        """Return the plugin's reasons against each node, None for a node that passes. Raises Impossible."""
        examination = Examination(pod_facts(pod), self.snapshot, [self.plugin])
        found = {node.name: examination.judge(node) for node in self.snapshot.ordered()}
        return {name: None if one is None else one.failure.reasons for name, one in found.items()}

    def grades(self, pod: Object) -> dict[str, int]:
        """Return the plugin's grade for each node; none if it has no opinion."""
        return dict(self.plugin.grade(pod_facts(pod), self.snapshot, self.snapshot.ordered()) or {})
