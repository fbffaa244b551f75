"""The completion indexes of an indexed job: their text form, and how a pod learns its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

ANNOTATION = "batch.kubernetes.io/job-completion-index"
_VARIABLE = "JOB_COMPLETION_INDEX"


def parse(text: str) -> set[int]:
    """Return the indexes that a text such as `0,2-4` names; what makes no sense names none."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            found.update(range(int(first), int(last) + 1 if last.isdigit() else int(first) + 1))
    return found


def text(indexes: Iterable[int]) -> str:
    """Return indexes as text: runs of three or more as `first-last`."""
    runs: list[list[int]] = []
    for one in sorted(indexes):
        if runs and runs[-1][-1] == one - 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs]
    return ",".join(parts)


def tell(spec: dict[str, Any]) -> None:
    """Give every container the variable that holds the pod's index."""
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{ANNOTATION}']"}}
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        if not any(one.get("name") == _VARIABLE for one in container.get("env") or ()):
            container["env"] = [*(container.get("env") or ()), {"name": _VARIABLE, "valueFrom": source}]
