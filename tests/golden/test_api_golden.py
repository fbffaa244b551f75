"""What upstream's API server answered on the wire, asked of ours: an API server with the controllers beside it.

Needs the recorded answers (`../shared/golden` beside the repository) and their replay tool.
"""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from harness.apiserver import RunningApiServer, start_api_server

from oarlock.actors.shell.component import ComponentContext
from oarlock.actors.shell.inprocess import InProcessShell
from oarlock.cluster.client.settings import ClientSettings

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
SERVED = ("real", "get", "table", "again", "script")
#: The share of answers that must agree, over some phases together: in status; in reason and causes; in their whole
#: bodies. Whole bodies can't all agree: some hold ages, revisions inside continue tokens, generated names, or how far a
#: controller has got.
FLOORS = {SERVED: (0.97, 0.97, 0.88), ("create",): (0.99, 0.97, 0.93), ("update",): (0.99, 0.97, 0.93)}
#: Controllers that had done nothing when the answers were recorded; and one that forgets what is a day old by the real
#: clock, when the server has the recording's.
ABSENT = ("horizontalpodautoscaling", "volumes", "csrcleaner")
#: Long: everything shares one process here, and on a busy machine the lease must not pass on in the middle.
LEASE_TTL_MS = 20_000
RECORDED = date(2026, 11, 23)
_LINE = re.compile(r"^(\w+): (\d+) cases; code ([\d.]+)%, reason ([\d.]+)%, exact ([\d.]+)%", re.MULTILINE)


def _controllers(api: RunningApiServer) -> InProcessShell:
    client = ClientSettings(api.url, api.admin.ca_file, api.admin.cert_file, api.admin.key_file)
    settings: dict[str, object] = {"ca_pem": "a CA", "controllers": ["*", *(f"-{name}" for name in ABSENT)]}
    context = ComponentContext(client, "controllers-a", "controllers", LEASE_TTL_MS, settings)
    return InProcessShell([("oarlock.actors.controllers.component:create", context)])


def _recorded_now() -> datetime:
    """A clock of the day on which the answers were recorded: some tell how long ago a fixed time was."""
    present = datetime.now(UTC)
    return present.replace(year=RECORDED.year, month=RECORDED.month, day=RECORDED.day)


async def _replayed(folder: Path, *arguments: str) -> str:
    """Return what the replay tool says of a fresh server."""
    settings: dict[str, Any] = {"service_cidr": "10.0.0.0/16", "loopback_network": False}
    settings |= {"advertise_address": "192.0.2.2", "advertise_port": 36443}
    async with start_api_server(folder, now=_recorded_now, **settings) as api:
        shell = _controllers(api)
        await shell.start()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(GOLDEN / "replay.py"), "--server", api.url, *arguments),
                *("--cert", api.admin.cert_file, "--key", api.admin.key_file),
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
        finally:
            await shell.stop()
    assert process.returncode == 0
    return output.decode()


@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recorded answers (../shared/golden) are absent")
def test_answers_agree_with_upstreams(tmp_path: Path) -> None:
    output = asyncio.run(_replayed(tmp_path))
    found = {name: (int(n), [float(share) / 100 for share in shares]) for name, n, *shares in _LINE.findall(output)}
    for phases, floors in FLOORS.items():
        assert set(phases) <= found.keys(), output
        cases = sum(found[phase][0] for phase in phases)
        agree = [sum(found[phase][0] * found[phase][1][at] for phase in phases) / cases for at in range(len(floors))]
        assert all(share >= floor for share, floor in zip(agree, floors, strict=True)), f"{phases} {agree}\n{output}"
