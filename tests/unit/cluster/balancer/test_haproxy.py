"""The generated configuration: what a real HAProxy says of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from oarlock.cluster.apiserver import health
from oarlock.cluster.balancer import haproxy
from oarlock.cluster.balancer.haproxy import HaproxySettings, configuration
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.haproxy import address
from oarlock.cluster.boot.pki import Authority

BACKENDS = [("127.0.0.1", 7001), ("::1", 7002)]


def checked(program: str, folder: Path, settings: HaproxySettings) -> subprocess.CompletedProcess[str]:
    file = folder / "haproxy.cfg"
    file.write_text(configuration(settings))
    return subprocess.run([program, "-c", "-f", str(file)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("folder", ["plain", "with space", 'it\'s "odd" \\ $HOME #x'])
@pytest.mark.parametrize("metrics", [None, ("127.0.0.1", 8404)])
def test_haproxy_accepts_it_without_a_warning(
    tmp_path: Path, tool: Callable[[str], str], folder: str, metrics: tuple[str, int] | None
) -> None:
    (tmp_path / folder).mkdir()
    ca = Authority(tmp_path / folder).issue("x", "x").ca
    settings = HaproxySettings(("127.0.0.1", 7000), BACKENDS, str(ca), connections_max=100, metrics=metrics)
    run = checked(tool("haproxy"), tmp_path, settings)
    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stderr
    assert "ALERT" not in run.stderr


def test_haproxy_refuses_what_is_wrong(tmp_path: Path, tool: Callable[[str], str]) -> None:
    settings = HaproxySettings(("127.0.0.1", 7000), BACKENDS, str(tmp_path / "none.crt"), connections_max=100)
    run = checked(tool("haproxy"), tmp_path, settings)
    assert run.returncode != 0
    assert "none.crt" in run.stderr


def test_it_asks_where_an_api_server_answers_and_often_enough() -> None:
    assert haproxy.SERVING == health.SERVING
    text = configuration(HaproxySettings(("127.0.0.1", 7000), BACKENDS, "/ca.crt"))
    assert "inter 250ms" in text
    assert text.count("\n    server ") == len(BACKENDS)


def test_addresses_are_read_as_haproxy_writes_them() -> None:
    assert address("--bind", "0.0.0.0:7443") == ("0.0.0.0", 7443)
    assert address("--bind", "[::]:7443") == ("::", 7443)
    assert "bind [::]:7443\n" in configuration(HaproxySettings(("::", 7443), BACKENDS, "/ca.crt"))


@pytest.mark.parametrize(
    "text", ["", "7443", "host:", "host:0", "host:70000", "host:x", "a b:1", "host\n:1", "ho'st:1"]
)
def test_what_is_no_address_is_refused_with_the_flag(text: str) -> None:
    with pytest.raises(BootError, match="--bind"):
        address("--bind", text)
