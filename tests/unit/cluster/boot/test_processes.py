import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oarlock.cluster.boot import processes


def test_leftovers_are_known_by_id_and_start_time(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        ticks = processes.start_ticks(child.pid)
        recorded = {"mine": [child.pid, ticks], "recycled": [child.pid, ticks - 1], "gone": [2**22 - 1, 5]}
        (tmp_path / "list.json").write_text(json.dumps(recorded))
        assert processes.leftovers(tmp_path / "list.json") == {"mine": child.pid}
        processes.end([child.pid])
        assert child.wait(5) == -15
    finally:
        child.kill()
        child.wait()


def test_ending_takes_the_group_along() -> None:
    script = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    child = subprocess.Popen([sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    handle = os.pidfd_open(grandchild)
    processes.end([child.pid])
    child.wait(5)
    import select

    readable, _, _ = select.select([handle], [], [], 5)
    os.close(handle)
    assert readable, "the grandchild is still running"


def test_no_list_means_no_leftovers(tmp_path: Path) -> None:
    assert processes.leftovers(tmp_path / "none.json") == {}


@pytest.mark.parametrize("number", processes.INTERRUPTS)
def test_an_interrupt_waits_for_the_block(number: signal.Signals) -> None:
    """The handler that raises KeyboardInterrupt for SIGTERM too is the one that `oarlock up` sets."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    reached = []

    def start() -> None:
        with processes.uninterrupted():
            signal.raise_signal(number)
            reached.append("the end")

    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        with processes.uninterrupted():
            reached.append("in peace")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert reached == ["the end", "in peace"]


def test_a_child_of_the_block_can_be_interrupted() -> None:
    with processes.uninterrupted():
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    with child:
        child.send_signal(signal.SIGTERM)
    assert child.returncode == -signal.SIGTERM
