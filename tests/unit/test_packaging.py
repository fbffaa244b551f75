"""A wheel holds what the repository holds: an editable install would not show a forgotten package."""

from __future__ import annotations

import fnmatch
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("consensus", "cluster", "actors")
SETUPTOOLS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def folders(room: str) -> list[Path]:
    """The room and all folders below it that Python could import from."""
    return [path.parent for path in sorted((ROOT / room).rglob("__init__.py"))]


def test_every_package_is_listed_once() -> None:
    present = {".".join(("oarlock", *folder.relative_to(ROOT).parts)) for room in ROOMS for folder in folders(room)}
    assert len(SETUPTOOLS["packages"]) == len(set(SETUPTOOLS["packages"]))
    assert set(SETUPTOOLS["packages"]) == present


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_lies_in_a_package(room: str) -> None:
    assert {path.parent for path in (ROOT / room).rglob("*.py")} <= set(folders(room))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_mapped_to_its_folder_and_typed(room: str) -> None:
    assert SETUPTOOLS["package-dir"][f"oarlock.{room}"] == room
    assert (ROOT / room / "py.typed").exists()


@pytest.mark.parametrize("room", ROOMS)
def test_every_other_file_is_package_data(room: str) -> None:
    """setuptools matches a pattern below the folder of each package."""
    patterns = SETUPTOOLS["package-data"]["*"]
    packages = folders(room)
    for path in (ROOT / room).rglob("*"):
        if path.is_dir() or path.suffix == ".py" or "__pycache__" in path.parts:
            continue
        package = max((folder for folder in packages if path.is_relative_to(folder)), key=lambda f: len(f.parts))
        name = str(path.relative_to(package))
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), f"{path} would be left out of the wheel"
