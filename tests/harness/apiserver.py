"""A real API server over an in-process store, for tests of whatever talks to one.

from harness.apiserver import start_api_server

async with start_api_server(tmp_path) as api:
    ... api.url, api.admin.cert_file, api.kubeconfig ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from oarlock.actors.shell.component import ComponentContext
from oarlock.actors.shell.inprocess import InProcessShell
from oarlock.cluster.apiserver import clock
from oarlock.cluster.apiserver.holders import Page
from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings, Tls
from oarlock.cluster.boot.pki import Authority
from oarlock.cluster.client.settings import ClientSettings
from oarlock.consensus.memory import MemoryStore

HOST = "127.0.0.1"
#: Long: everything shares one process, and on a busy machine the lease must not pass on in the middle.
_LEASE_TTL_MS = 20_000


@dataclass(frozen=True)
class RunningApiServer:
    """`admin` is a client certificate of system:masters, `stranger` one of nobody in particular."""

    server: ApiServer
    store: MemoryStore
    url: str
    admin: Tls
    stranger: Tls
    kubeconfig: Path


@asynccontextmanager
async def start_api_server(
    folder: Path,
    store: MemoryStore | None = None,
    now: clock.Clock = clock.now,
    pages: Mapping[str, Page] | None = None,
    **settings: Any,
) -> AsyncIterator[RunningApiServer]:
    """Run an API server with TLS on a free port of loopback; its files stand in `folder`.

    `now` is its clock, `pages` are those of components, `settings` are further fields of ApiServerSettings. A given
    `store` is left open at the end.
    """
    authority = Authority(_private(folder / "pki"))
    serving = _tls(authority.issue("apiserver", "kube-apiserver", hosts=[HOST, "localhost"]))
    admin = _tls(authority.issue("admin", "admin", ["system:masters"]))
    stranger = _tls(authority.issue("stranger", "stranger", ["nobody"]))
    used = store or MemoryStore()
    chosen: dict[str, Any] = {"tls": serving, "kubelet_tls": admin, "loopback_network": True, **settings}
    server = ApiServer(ApiServerSettings(name="test", host=HOST, shutdown_grace_s=1.0, **chosen), used, now, pages)
    await server.start()
    try:
        kubeconfig = _kubeconfig(folder / "kubeconfig", server.url, admin)
        yield RunningApiServer(server, used, server.url, admin, stranger, kubeconfig)
    finally:
        await server.stop()
        if store is None:
            await used.close()


@asynccontextmanager
async def controllers_beside(api: RunningApiServer, without: Sequence[str] = ()) -> AsyncIterator[None]:
    """Run all controllers but those in `without`, in this loop."""
    client = ClientSettings(api.url, api.admin.ca_file, api.admin.cert_file, api.admin.key_file)
    chosen: dict[str, object] = {"ca_pem": "a CA", "controllers": ["*", *(f"-{name}" for name in without)]}
    context = ComponentContext(client, "controllers-a", "controllers", _LEASE_TTL_MS, chosen)
    shell = InProcessShell([("oarlock.actors.controllers.component:create", context)])
    await shell.start()
    try:
        yield
    finally:
        await shell.stop()


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _tls(files: Any) -> Tls:
    return Tls(str(files.ca), str(files.cert), str(files.key))


def _kubeconfig(path: Path, url: str, admin: Tls) -> Path:
    cluster = {"server": url, "certificate-authority": admin.ca_file}
    user = {"client-certificate": admin.cert_file, "client-key": admin.key_file}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    path.write_text(yaml.safe_dump(document))
    return path
