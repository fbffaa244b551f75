"""Where the CPU time of an operation goes: how much of it each part of a cluster takes."""

from __future__ import annotations

from bench.clusters import BenchCluster

PARTS = ("store", "apiserver", "balancer")
REST = "scheduler, controllers and the rest"
KERNEL = "of all that, in the kernel"
Row = tuple[object, ...]


class Meters:
    """Reads what the parts of a cluster use; `rows` has what each operation took of each."""

    head = (*PARTS, REST, KERNEL)
    """What stands in a row behind the operation's name."""

    def __init__(self, running: BenchCluster) -> None:
        self._parts = [*(running.named(part) for part in PARTS), running.named("")]
        self.rows: list[Row] = []

    def cpu_s(self) -> float:
        """Return the CPU seconds of all parts since their start."""
        return self._parts[-1].cpu_s()

    def read(self) -> list[float]:
        return [*(part.cpu_s() for part in self._parts), self._parts[-1].kernel_s()]

    def took(self, name: str, since: list[float], count: int) -> float:
        """Keep what an operation took since a reading, and return the microseconds of all parts together."""
        *parts, whole, kernel = ((now - before) / count * 1e6 for now, before in zip(self.read(), since, strict=True))
        self.rows.append((name, *parts, whole - sum(parts), kernel))
        return whole
