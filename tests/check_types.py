"""mypy and pyright over every room; fails too when a checker has looked at fewer files than there are.

A checker that can't follow the packaging's name mapping finds no file and calls that a success.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("cluster", "consensus", "actors")
LINKS = ROOT / "build" / "dev"


def main() -> int:
    expected = sum(len(list((ROOT / room).rglob("*.py"))) for room in ROOMS)
    return _mypy(expected) | _pyright(expected)


def _mypy(expected: int) -> int:
    packages = [flag for room in ROOMS for flag in ("-p", f"oarlock.{room}")]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *packages],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(LINKS)},
        capture_output=True,
        text=True,
        check=False,
    )
    print("mypy:", run.stdout.strip() or run.stderr.strip())
    checked = next((int(w) for line in run.stdout.splitlines()[-1:] for w in line.split() if w.isdigit()), 0)
    if run.returncode == 0 and checked < expected:
        print(f"mypy: only {checked} of {expected} files were checked")
        return 1
    return run.returncode


def _pyright(expected: int) -> int:
    config = LINKS / "pyrightconfig.json"
    settings = {
        "include": [f"oarlock/{room}" for room in ROOMS],
        "extraPaths": ["."],
        "pythonVersion": "3.11",
        "typeCheckingMode": "standard",
        "venvPath": str(ROOT),
        "venv": ".venv",
    }
    config.write_text(json.dumps(settings))
    run = subprocess.run(
        [sys.executable, "-m", "pyright", "--project", str(config), "--outputjson"],
        cwd=LINKS,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        report = json.loads(run.stdout)
    except ValueError:
        print("pyright:", run.stdout, run.stderr)
        return 1
    for item in report["generalDiagnostics"]:
        place = item.get("range", {}).get("start", {}).get("line", -1) + 1
        print(f"pyright: {item['file']}:{place}: {item['severity']}: {item['message']}")
    summary = report["summary"]
    print(f"pyright: {summary['filesAnalyzed']} files, {summary['errorCount']} errors")
    if summary["filesAnalyzed"] < expected:
        print(f"pyright: only {summary['filesAnalyzed']} of {expected} files were checked")
        return 1
    return 1 if summary["errorCount"] else 0


if __name__ == "__main__":
    sys.exit(main())
