"""Prefers nodes that hold the pod's images already, the more so the bigger and the more common they are."""

from __future__ import annotations

from collections.abc import Sequence

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import SCORE_MAX, Grades
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

_BYTES_MIN = 23 * 1024 * 1024
_BYTES_MAX_PER_CONTAINER = 1000 * 1024 * 1024


class ImageLocality:
    name = "ImageLocality"

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:
        images = [named(image) for image in pod.images]
        highest = _BYTES_MAX_PER_CONTAINER * len(images)

        def grade_of(node: NodeState) -> int:
            present = sum(
                # An image on few nodes counts less, or every pod of it would end on the first node that had it.
                int(node.facts.images[image] * (snapshot.image_nodes[image] / len(snapshot)))
                for image in images
                if image in node.facts.images
            )
            counted = min(max(present, _BYTES_MIN), highest)
            return SCORE_MAX * (counted - _BYTES_MIN) // (highest - _BYTES_MIN)

        return {node.name: grade_of(node) for node in nodes}


def named(image: str) -> str:
    """Return the image's name as nodes report it, with a tag."""
    return f"{image}:latest" if image.rfind(":") <= image.rfind("/") else image
