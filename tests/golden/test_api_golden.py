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
PHASES = ("real", "get", "table", "again", "script")
#: The share of answers that must agree: in status, reason and causes; and in their whole bodies. Whole bodies
#: can't all agree: some hold ages, revisions inside continue tokens, generated names, or how far a controller has got.
REASON_FLOOR, EXACT_FLOOR = 0.97, 0.85
RECORDED = date(2026, 11, 23)
_LINE = re.compile(r"^(\w+): (\d+) cases; code [\d.]+%, reason ([\d.]+)%, exact ([\d.]+)%", re.MULTILINE)


def _controllers(api: RunningApiServer) -> InProcessShell:
    client = ClientSettings(api.url, api.admin.ca_file, api.admin.cert_file, api.admin.key_file)
    context = ComponentContext(client, "controllers-a", "controllers", settings={})
    return InProcessShell([("oarlock.actors.controllers.component:create", context)])


def _recorded_now() -> datetime:
    """A clock of the day on which the answers were recorded: some tell how long ago a fixed time was."""
    present = datetime.now(UTC)
    return present.replace(year=RECORDED.year, month=RECORDED.month, day=RECORDED.day)


async def _replayed(folder: Path, *arguments: str) -> str:
    """Return what the replay tool says of a fresh server, asked for everything that is no dry run."""
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
    found = {name: (int(n), float(reason), float(exact)) for name, n, reason, exact in _LINE.findall(output)}
    assert set(PHASES) <= found.keys(), output
    cases = sum(found[phase][0] for phase in PHASES)
    reason = sum(found[phase][0] * found[phase][1] for phase in PHASES) / cases / 100
    exact = sum(found[phase][0] * found[phase][2] for phase in PHASES) / cases / 100
    assert reason >= REASON_FLOOR, output
    assert exact >= EXACT_FLOOR, output
