"""The two clusters on which each hole of stock pysyncobj is shown: stock, which has it, and ours, which hasn't."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from holes.cluster import Cluster
from holes.ours import Ours
from holes.stock import Stock

StartCluster = Callable[..., Cluster]


@pytest.fixture(params=["stock", "ours"])
def library(request: pytest.FixtureRequest) -> str:
    """The library that a scenario runs on."""
    name: str = request.param
    return name


@pytest.fixture
def start(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartCluster]:
    """Return a function that starts a cluster of `size` members on the library under test."""
    running: list[Ours] = []

    def start_one(size: int = 3, *, folder: str = "cluster", **options: Any) -> Cluster:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        if library == "stock":
            return Stock(place, size, patch=monkeypatch, **options)
        running.append(Ours(place, size))
        return running[-1]

    yield start_one
    for cluster in running:
        cluster.close()
