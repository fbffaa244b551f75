"""A Unix socket is this user's alone from the start, and never taken from a live process."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from harness.authority import Authority
from harness.store import client, endpoint, put, replica, run

from oarlock.consensus.certificates import NAME_PREFIX
from oarlock.consensus.sockets import UnixSocket

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_socket_is_private_before_anybody_can_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.sock"
    modes: list[int] = []

    class Watched(socket.socket):
        def bind(self, address: object) -> None:
            super().bind(address)  # type: ignore[arg-type]
            modes.append(mode(path))

    monkeypatch.setattr(socket, "socket", Watched)
    before = os.umask(0)
    try:
        UnixSocket(path).remove()
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_a_dead_process_s_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
    inode = path.lstat().st_ino, path.lstat().st_ctime_ns
    own = UnixSocket(path)
    assert (path.lstat().st_ino, path.lstat().st_ctime_ns) != inode
    own.remove()
    own.listener.close()
    assert not path.exists()


def test_a_live_socket_is_not_stolen(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen(0)
        full = []
        for _ in range(4):  # also when it has no room for one more connection
            with pytest.raises(OSError, match="another process listens on the socket"):
                UnixSocket(path)
            full.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            full[-1].connect_ex(str(path))
        for one in full:
            one.close()
        assert path.is_socket()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_not_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "store.sock"
    (tmp_path / "precious").write_text("data")
    if kind == "file":
        path.write_text("data")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("precious")
    with pytest.raises(OSError, match="is no socket"):
        UnixSocket(path)
    assert path.exists()
    assert (tmp_path / "precious").read_text() == "data"


def test_only_the_own_socket_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    own = UnixSocket(path)
    path.unlink()
    own.remove()
    with socket.socket(socket.AF_UNIX) as another:
        path.touch()
        other_inode = path.lstat().st_ino
        path.unlink()
        another.bind(str(path))
        if path.lstat().st_ino != own._inode[1]:
            own.remove()
            assert path.is_socket(), other_inode
    own.listener.close()


@LOOPS
def test_a_second_replica_does_not_take_a_live_one_s_socket(tmp_path: Path, loop: str) -> None:
    path = tmp_path / "store.sock"

    async def scenario() -> None:
        async with replica(tmp_path / "1", port=None, unix_path=path):
            assert mode(path) == 0o600
            with pytest.raises(OSError, match="another process listens"):
                async with replica(tmp_path / "2", port=None, unix_path=path):
                    pass
            async with client(f"unix:{path}") as store:
                assert (await store.transact(put(b"k"))).succeeded
        assert not path.exists()

    run(scenario, loop)


@LOOPS
def test_a_replica_comes_back_over_the_socket_that_a_killed_one_left(tmp_path: Path, loop: str) -> None:
    path = tmp_path / "store.sock"
    killed = "import os, signal, socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); "
    subprocess.run([sys.executable, "-c", killed + "os.kill(os.getpid(), signal.SIGKILL)", path], check=False)
    assert path.is_socket()

    async def scenario() -> None:
        async with replica(tmp_path, port=None, unix_path=path), client(f"unix:{path}") as store:
            assert (await store.transact(put(b"k"))).succeeded

    run(scenario, loop)


@LOOPS
@pytest.mark.parametrize("encrypted", [True, False])
def test_the_kernel_watches_over_tcp_connections(tmp_path: Path, loop: str, encrypted: bool) -> None:
    authority = Authority(tmp_path)
    tls, api = authority.issue(NAME_PREFIX + "a"), authority.issue("api", ["system:masters"])

    async def scenario() -> None:
        async with (
            replica(tmp_path, tls if encrypted else None) as server,
            client(endpoint(server), tls=api if encrypted else None) as store,
        ):
            ends = [next(iter(server._connections))._transport, next(iter(store._links))._transport]
            for transport in ends:
                assert transport is not None
                one = transport.get_extra_info("socket")
                assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000

    run(scenario, loop)


def test_all_that_holds_data_is_private(tmp_path: Path) -> None:
    """Whatever the umask: files 0600 and folders 0700, while writing, after snapshots, after a restart."""
    seen: dict[str, int] = {}

    def look() -> None:
        for path in (tmp_path / "data").rglob("*"):
            seen[str(path)] = seen.get(str(path), 0) | mode(path)

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in {"os.rename", "os.remove"}:
            look()

    watching = True
    sys.addaudithook(audit)
    before = os.umask(0)
    try:

        async def scenario() -> None:
            for _ in range(2):
                async with replica(tmp_path, snapshot_after_bytes=50_000) as server, client(endpoint(server)) as store:
                    for n in range(60):
                        await store.transact(put(b"k%d" % n, bytes(5000)))
                        look()
                look()

        run(scenario)
    finally:
        watching = False
        os.umask(before)
    assert mode(tmp_path / "data") == 0o700
    assert any(name.endswith(".snapshot") for name in seen)
    assert any(name.endswith(".part") for name in seen)
    for name, bits in seen.items():
        folder = name.endswith(("journal", "snapshots"))
        assert bits == (0o700 if folder else 0o600), f"{name} has mode {bits:o}"
