"""The runtime folders of state folders that tests make lie in their temporary folder, and go with it."""

from __future__ import annotations

import tempfile

import pytest


@pytest.fixture(autouse=True)
def runtime_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("run")))
