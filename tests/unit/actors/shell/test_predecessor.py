"""The lease of a copy that was killed passes on as soon as the copy is made anew."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from harness.apiserver import start_api_server

from oarlock.actors.shell.component import ComponentContext
from oarlock.actors.shell.predecessor import is_dead_predecessor, release_predecessor
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.kubeconfig import load


def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("holder", "dead"),
    [
        ("scheduler-a/{dead}.1", True),
        ("scheduler-b/{dead}.1", False),
        ("scheduler-a/{alive}.1", False),
        ("scheduler-a/7.1", False),
        ("scheduler-a", False),
        ("", False),
    ],
)
def test_only_a_dead_process_of_the_same_copy_counts(holder: str, dead: bool) -> None:
    named = holder.format(dead=dead_pid(), alive=os.getppid())
    assert is_dead_predecessor(named, "scheduler-a", "7") is dead


def test_the_lease_is_free_at_once_and_nobody_elses_is_touched(tmp_path: Path) -> None:
    async def story() -> None:
        async with start_api_server(tmp_path) as api:
            settings = load(api.kubeconfig)
            async with ApiClient(settings) as client:
                for lease, holder in (("mine", f"copy-a/{dead_pid()}.3"), ("theirs", f"copy-b/{dead_pid()}.1")):
                    body = {"identity": holder, "ttlMillis": 60_000}
                    await client.create(f"/oarlock/v1/leases/{lease}/acquire", body)
                    await release_predecessor(ComponentContext(settings, "copy-a/7", lease))
                await release_predecessor(ComponentContext(settings, "copy-a/7", "nobodys"))
                held = await client.get("/oarlock/v1/leases")
                assert [one["holder"].partition("/")[0] for one in held["items"]] == ["copy-b"]

    asyncio.run(story())
