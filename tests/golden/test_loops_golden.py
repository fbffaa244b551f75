"""What upstream's controllers made of recorded scenarios, asked of ours: an API server with the controllers beside it.

Needs the recorded pictures (`../shared/golden` beside the repository) and the tool that plays the scenarios.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from pathlib import Path

import pytest
from harness.golden import GOLDEN, asked

#: The share of pictures that must be upstream's. What differs stands in `docs/controllers.md`.
FLOOR = 0.95
#: The script plays a node that never renews its lease.
ABSENT = ("node_lifecycle_controller",)
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


@pytest.mark.thorough
@pytest.mark.timeout(900)
@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recorded pictures (../shared/golden) are absent")
def test_control_loops_agree_with_upstreams(tmp_path: Path) -> None:
    output = asyncio.run(
        asked(tmp_path, "loops.py", "--show", "40", "--file", str(_scenarios(tmp_path)), without=ABSENT)
    )
    found = _TOTAL.search(output)
    assert found is not None, output
    assert float(found[2]) / 100 >= FLOOR, output
