"""What upstream's API server answered on the wire, asked of ours: an API server with the controllers beside it.

Needs the recorded answers (`../shared/golden` beside the repository) and their replay tool.
"""

from __future__ import annotations

import asyncio
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from harness.golden import GOLDEN, asked

SERVED = ("real", "get", "table", "again", "script")
#: The share of answers that must agree, over some phases together: in status; in reason and causes; in their whole
#: bodies. Whole bodies can't all agree: some hold uids, revisions inside continue tokens, generated names, or how far a
#: controller had got (decision 0031).
FLOORS = {SERVED: (0.97, 0.97, 0.9), ("create",): (0.99, 0.97, 0.93), ("update",): (0.99, 0.97, 0.93)}
#: Controllers that had done nothing when the answers were recorded; and one that forgets what is a day old by the real
#: clock, when the server has the recording's.
ABSENT = ("horizontalpodautoscaling", "volumes", "csrcleaner")
#: The address that the recording's server told its clients.
SURROUNDINGS: dict[str, Any] = {"advertise_address": "192.0.2.2", "advertise_port": 36443}
#: The day of the recording: some answers tell how long ago a fixed time was.
RECORDED = date(2026, 11, 23)
_LINE = re.compile(r"^(\w+): (\d+) cases; code ([\d.]+)%, reason ([\d.]+)%, exact ([\d.]+)%", re.MULTILINE)


@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recorded answers (../shared/golden) are absent")
def test_answers_agree_with_upstreams(tmp_path: Path) -> None:
    output = asyncio.run(asked(tmp_path, "replay.py", without=ABSENT, day=RECORDED, **SURROUNDINGS))
    found = {name: (int(n), [float(share) / 100 for share in shares]) for name, n, *shares in _LINE.findall(output)}
    for phases, floors in FLOORS.items():
        assert set(phases) <= found.keys(), output
        cases = sum(found[phase][0] for phase in phases)
        agree = [sum(found[phase][0] * found[phase][1][at] for phase in phases) / cases for at in range(len(floors))]
        assert all(share >= floor for share, floor in zip(agree, floors, strict=True)), f"{phases} {agree}\n{output}"
