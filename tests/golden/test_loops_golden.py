"""What upstream's controllers made of recorded scenarios, asked of ours: an API server with the controllers beside it.

Needs the recorded pictures (`../shared/golden` beside the repository) and the tool that plays the scenarios.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.apiserver import start_api_server

from oarlock.actors.shell.component import ComponentContext
from oarlock.actors.shell.inprocess import InProcessShell
from oarlock.cluster.client.settings import ClientSettings

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
#: The share of pictures that must be upstream's. What differs stands in `docs/controllers.md`.
FLOOR = 0.95
#: Long: everything shares one process here, and on a busy machine the lease must not pass on in the middle.
LEASE_TTL_MS = 20_000
#: The recording's host was built with a publisher of this, which upstream Kubernetes doesn't have.
FOREIGN = "openshift-service-ca.crt"
_TOTAL = re.compile(r"^(\d+) pictures of a kind after a step, ([\d.]+)% as upstream", re.MULTILINE)


def _scenarios(folder: Path) -> Path:
    """Write the recorded scenarios without what isn't upstream's; returns the file."""
    target = folder / "loops.jsonl.gz"
    with gzip.open(GOLDEN / "loops.jsonl.gz", "rt") as source, gzip.open(target, "wt") as kept:
        for line in source:
            case = json.loads(line)
            for picture in case["pictures"] or ():
                if "configmaps" in picture:
                    picture["configmaps"] = [one for one in picture["configmaps"] if one["name"] != FOREIGN]
            kept.write(json.dumps(case) + "\n")
    return target


async def _played(folder: Path, scenarios: Path) -> str:
    settings: dict[str, Any] = {"service_cidr": "10.0.0.0/16", "loopback_network": False}
    async with start_api_server(folder, **settings) as api:
        client = ClientSettings(api.url, api.admin.ca_file, api.admin.cert_file, api.admin.key_file)
        # The script plays a node that never renews its lease.
        chosen = {"ca_pem": "the cluster's CA", "controllers": ["*", "-node_lifecycle_controller"]}
        context = ComponentContext(client, "controllers-a", "controllers", LEASE_TTL_MS, chosen)
        shell = InProcessShell([("oarlock.actors.controllers.component:create", context)])
        await shell.start()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(GOLDEN / "loops.py"), "--server", api.url, "--show", "40"),
                *("--cert", api.admin.cert_file, "--key", api.admin.key_file, "--file", str(scenarios)),
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
        finally:
            await shell.stop()
    assert process.returncode == 0
    return output.decode()


@pytest.mark.thorough
@pytest.mark.timeout(900)
@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recorded pictures (../shared/golden) are absent")
def test_control_loops_agree_with_upstreams(tmp_path: Path) -> None:
    output = asyncio.run(_played(tmp_path, _scenarios(tmp_path)))
    found = _TOTAL.search(output)
    assert found is not None, output
    assert float(found[2]) / 100 >= FLOOR, output
