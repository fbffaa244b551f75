"""What a plugin of one's own is: a small class that overrides the methods of the places where it wants a say.

    class SpotsLast(Plugin):
        name = "SpotsLast"
        events = frozenset(("NodeLabelChanged",))

        def grade(self, pod, snapshot, nodes):
            return {node.name: 0 if node.labels.get("spot") == "yes" else 100 for node in nodes}

It is found in a file that the scheduler is told of, or by an entry point of the group `oarlock.scheduler_plugins`, and
takes part once a profile of the configuration enables it by its name. `testing` has what a test of it needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults, Grades, StepDefaults
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot


class Plugin(FilterDefaults, StepDefaults):
    """`args` are the profile's for this plugin; raise ValueError in `__init__` for those that won't do.

    `prepare`, `only` and `grade` are pure and quick: an attempt that takes longer than the limit fails, as one that
    raises does. `local` may only be True if `prepare` judges each node by itself. See `framework` for every method.
    """

    name: str = ""
    events: frozenset[str] = frozenset()
    local: bool = False
    weight: int = 1

    def __init__(self, args: Mapping[str, Any] | None = None) -> None:
        self.args = dict(args or {})

    def pre_enqueue(self, pod: PodFacts) -> str | None:  # noqa: ARG002
        """Return why the pod may not even be tried yet, or None."""
        return None

    def order(self, pod: PodFacts) -> Any:
        """Return what pods are sorted by, lowest first; pods that are equal come in the order of their arrival."""
        return -pod.priority

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:  # noqa: ARG002
        return None

    def post_filter(self, pod: PodFacts, snapshot: Snapshot, failures: Mapping[str, Failure]) -> str | None:  # noqa: ARG002
        """Return the node that will do before long, on which the pod then waits, or None; `failures` say why none does.

        Asked when preemption has found nothing either. As quick as the others: what takes time is started only.
        """
        return None

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:  # noqa: ARG002
        return None


POINTS: Mapping[str, tuple[str, ...]] = {
    "queueSort": ("order",),
    "preEnqueue": ("pre_enqueue",),
    "filter": ("prepare", "only"),
    "postFilter": ("post_filter",),
    "score": ("grade",),
    "step": ("reserve", "unreserve", "permit", "pre_bind", "bind", "post_bind"),
}
"""The methods of each place where a plugin can have a say."""


def has(plugin: type[Plugin], point: str) -> bool:
    """Whether the class overrides anything at that place."""
    return any(_origin(plugin, method) is not _origin(Plugin, method) for method in POINTS[point])


def _origin(plugin: type[Plugin], method: str) -> object:
    return getattr(plugin, method)
