"""Builds each role's component from its JSON settings: the only place that knows all parts' constructors.

Imports are local to the roles, so that a process loads only what it runs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from oarlock.cluster.boot.child import inherited_listeners
from oarlock.cluster.boot.importing import import_aiohttp

if TYPE_CHECKING:
    from oarlock.actors.shell.hosted import HostedSettings
    from oarlock.cluster.apiserver.holders import Page
    from oarlock.cluster.apiserver.settings import ApiServerSettings
    from oarlock.consensus.certificates import Tls as StoreTls
    from oarlock.consensus.client import StoreClient

Settings = Mapping[str, Any]


class Startable(Protocol):
    """What every long-running part looks like."""

    async def start(self) -> None: ...

    async def wait(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Running:
    """A started part and the address that it serves, "" if it serves none.

    `metrics` is where it serves /metrics itself; the others get a listener for that.
    """

    component: Startable
    address: str
    metrics: str = ""


def store_client(endpoints: Sequence[str], tls: Mapping[str, str]) -> StoreClient:
    """Return an unstarted client of the store at "host:port" endpoints."""
    from oarlock.consensus.client import StoreClient

    return StoreClient(endpoints, _store_tls(tls))


def _store_tls(tls: Mapping[str, str]) -> StoreTls:
    from oarlock.consensus.certificates import Tls

    return Tls(**{name: Path(file) for name, file in tls.items()})


async def run_store(settings: Settings) -> Running:
    from oarlock.consensus.server import StoreServer, StoreSettings

    members = {name: (host, port) for name, (host, port) in settings["members"].items()}
    server = StoreServer(
        StoreSettings(
            settings["name"],
            members,
            Path(settings["data_dir"]),
            settings["cluster_id"],
            settings["host"],
            settings["port"],
            tls=_store_tls(settings["tls"]),
        )
    )
    await server.start()
    return Running(server, f"{settings['host']}:{settings['port']}")


async def _store_of(settings: Settings, tls: Mapping[str, str]) -> StoreClient:
    """Return an unstarted client; with `await_store` only once the store has a leader, however long that takes.

    The others of a cluster on several hosts may come much later than this one.
    """
    from oarlock.consensus.model import Unavailable

    endpoints = settings["store"]
    while settings.get("await_store"):
        probe = store_client(endpoints, tls)
        try:
            await probe.start()
        except Unavailable:
            continue
        await probe.close()
        break
    return store_client(endpoints, tls)


class WithStoreClient:
    """A server that owns its connection to the store."""

    def __init__(self, client: StoreClient, server: Startable) -> None:
        self._client, self._server = client, server

    async def start(self) -> None:
        await self._client.start()
        try:
            await self._server.start()
        except BaseException:
            await self._client.close()
            raise

    async def wait(self) -> None:
        await self._server.wait()

    async def stop(self) -> None:
        await self._server.stop()
        await self._client.close()


async def run_api_server(settings: Settings) -> Running:
    import_aiohttp()
    from oarlock.cluster.apiserver.server import ApiServer

    client = await _store_of(settings, settings["client_tls"])
    part = WithStoreClient(client, ApiServer(api_server_settings(settings), client))
    await part.start()
    address = f"{settings['host']}:{settings['port']}"
    return Running(part, address, metrics=address)


def api_server_settings(settings: Settings) -> ApiServerSettings:
    from oarlock.cluster.apiserver.settings import ApiServerSettings, Tls

    advertise_address, advertise_port = settings["advertise"]
    return ApiServerSettings(
        settings["name"],
        settings["host"],
        settings["port"],
        tls=Tls(**settings["tls"]),
        token_file=settings["token_file"],
        kubelet_tls=Tls(**settings["client_tls"]),
        service_account_key_file=settings["service_account_key"],
        service_cidr=settings["service_cidr"],
        advertise_address=advertise_address,
        advertise_port=advertise_port,
        handover=settings.get("handover", ""),
        loopback_network=settings.get("loopback_network", True),
        **settings.get("shutdown", {}),
    )


async def run_resp(settings: Settings) -> Running:
    from oarlock.consensus.resp.server import RespServer, RespSettings

    client = await _store_of(settings, settings["tls"])
    names = ("host", "port", "password", "prefix", "leases")
    chosen = RespSettings(**{name: settings[name] for name in names}, tls=_store_tls(settings["tls"]))
    part = WithStoreClient(client, RespServer(chosen, client))
    await part.start()
    return Running(part, f"{settings['host']}:{settings['port']}")


async def run_balancer(settings: Settings) -> Running:
    from oarlock.cluster.balancer.server import Balancer
    from oarlock.cluster.balancer.settings import BalancerSettings, Tls

    backends = tuple((host, port) for host, port in settings["backends"])
    also, handovers, tls = tuple(settings["also"]), settings["handovers"], Tls(**settings["tls"])
    chosen = BalancerSettings(settings["host"], settings["port"], backends, tls, also=also, handovers=handovers)
    balancer = Balancer(chosen, listeners=inherited_listeners())
    await balancer.start()
    return Running(balancer, f"{settings['host']}:{settings['port']}")


async def run_ray_node(settings: Settings) -> Running:
    from oarlock.actors.shell.ray_node import RayNode
    from oarlock.actors.shell.ray_processes import HeadSettings, Hosted, RayNodeSettings, WireTls, settings_file
    from oarlock.cluster.boot.state import write_private
    from oarlock.cluster.client.settings import ClientSettings

    write_private(Path(settings["token_file"]), settings["token"].encode())
    hosted = []
    for component in settings["components"]:
        file = settings_file(settings["folder"], component["name"])
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        hosted_settings(component, settings["log_folder"]).save(str(file))
        hosted.append(Hosted(component["name"], component["factory"]))
    head = HeadSettings(ClientSettings(**settings["client"]), **settings["head"])
    names = ("name", "position", "ip", "folder", "gcs_address", "token_file")
    ports = ("node_manager_port", "object_manager_port")
    chosen = {name: settings[name] for name in (*names, *ports)}
    tls = WireTls(**settings["wire_tls"]) if settings["wire_tls"] else None
    node = RayNode(RayNodeSettings(head=head, hosted=tuple(hosted), wire_tls=tls, **chosen))
    await node.start()
    return Running(node, f"{settings['ip']}:{settings['node_manager_port']}")


async def run_ray_guests(settings: Settings) -> Running:
    """Host the components on the user's Ray cluster: their settings travel with the files that they name."""
    from oarlock.actors.shell.ray_guests import Guest, GuestsSettings, RayGuests
    from oarlock.actors.shell.ray_parcel import pack
    from oarlock.cluster.client.settings import ClientSettings

    guests = []
    for component in settings["components"]:
        document = hosted_settings(component, log_folder="").document()
        own = component["settings"]
        also = {str(own.get("config", "")), *own.get("plugin_files", ())}
        parcel = json.dumps(pack(document, Path(settings["room"]), also))
        guests.append(Guest(component["name"], component["factory"], component["lease"], parcel))
    client = ClientSettings(**settings["client"])
    part = RayGuests(
        GuestsSettings(settings["address"], settings["namespace"], client, tuple(guests), settings["alone"])
    )
    await part.start()
    return Running(part, settings["address"])


def hosted_settings(component: Settings, log_folder: str) -> HostedSettings:
    from oarlock.actors.shell.hosted import HostedSettings
    from oarlock.actors.shell.pages import MetricsTls
    from oarlock.cluster.client.settings import ClientSettings

    return HostedSettings(
        ClientSettings(**component["client"]),
        component["lease"],
        component["lease_ttl_ms"],
        dict(component["settings"]),
        component["metrics_ip"],
        metrics_tls=MetricsTls(**component["tls"]),
        log_folder=log_folder,
    )


async def run_in_process(component: Settings, pages: dict[str, Page] | None = None) -> Running:
    """Host one component in this process, without Ray; `pages` gets what it tells people, by its lease."""
    from oarlock.actors.shell.component import ComponentContext
    from oarlock.actors.shell.inprocess import InProcessShell
    from oarlock.cluster.client.settings import ClientSettings

    context = ComponentContext(
        ClientSettings(**component["client"]),
        component["name"],
        component["lease"],
        component["lease_ttl_ms"],
        component["settings"],
    )
    shell = InProcessShell([(component["factory"], context)])
    await shell.start()
    if pages is not None:
        pages[component["lease"]] = shell.answer
    return Running(shell, "")


class SingleStore:
    """The store of `--single`: one member, reached inside this process."""

    def __init__(self, settings: Settings, cluster_id: str) -> None:
        from oarlock.consensus.server import StoreServer, StoreSettings

        self._server = StoreServer(
            StoreSettings(
                settings["name"],
                {settings["name"]: (settings["host"], settings["port"])},
                Path(settings["data_dir"]),
                cluster_id,
                unix_path=Path(settings["socket"]),
            )
        )
        self._address = settings["socket"]

    async def run(self) -> Running:
        """Return once the store leads itself: until then it answers nothing."""
        leads = asyncio.Event()
        self._server.store.on_role(leads.set)
        await self._server.start()
        await leads.wait()
        return Running(self._server, self._address)

    async def run_api_server(self, settings: Settings, pages: Mapping[str, Page]) -> Running:
        from oarlock.cluster.apiserver.server import ApiServer

        server = ApiServer(api_server_settings(settings), self._server.store, pages=pages)
        await server.start()
        return Running(server, f"{settings['host']}:{settings['port']}")


class AgentWithProxy:
    """A node's agent and its Service proxy: one process, two parts that know nothing of each other."""

    def __init__(self, agent: Startable, proxy: Startable) -> None:
        self._agent, self._proxy = agent, proxy

    async def start(self) -> None:
        await self._agent.start()
        try:
            await self._proxy.start()
        except BaseException:
            await self._agent.stop()
            raise

    async def wait(self) -> None:
        """Raise the first fault of either."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._agent.wait())
            group.create_task(self._proxy.wait())

    async def stop(self) -> None:
        await self._proxy.stop()
        await self._agent.stop()


async def run_agent(settings: Settings) -> Running:
    """Run a node's agent and proxy. With `network` "routed", pods have addresses that other hosts reach.

    Such a node's `ip` is the host's own address, and it needs neither `pod_ip_prefix` nor `claim_file`.
    """
    import_aiohttp()
    from oarlock.cluster.client.settings import ClientSettings
    from oarlock.cluster.kubelet.agent import NodeAgent
    from oarlock.cluster.kubelet.settings import AgentSettings, Tls
    from oarlock.cluster.proxy.server import ServiceProxy
    from oarlock.cluster.proxy.settings import ProxySettings

    client, name, ip = ClientSettings(**settings["client"]), settings["name"], settings["ip"]
    agent = NodeAgent(
        AgentSettings(
            name,
            ip,
            settings.get("pod_ip_prefix", ""),
            Tls(**settings["tls"]),
            client,
            Path(settings["root"]),
            settings["port"],
            allow_host_images=True,
            network=settings.get("network", "loopback"),
        )
    )
    claim_file = Path(settings["claim_file"]) if settings.get("claim_file") else None
    proxy = ServiceProxy(ProxySettings(client, name, ip, claim_file))
    part = AgentWithProxy(agent, proxy)
    await part.start()
    return Running(part, f"{ip}:{settings['port']}")


async def run_hollow(settings: Settings) -> Running:
    """Run all simulated nodes in this process."""
    import_aiohttp()
    from oarlock.cluster.client.settings import ClientSettings
    from oarlock.cluster.kubelet.agent import NodeAgent
    from oarlock.cluster.kubelet.settings import AgentSettings, Tls

    agent = NodeAgent(
        AgentSettings(
            "hollow",
            settings["ip"],
            settings["pod_ip_prefix"],
            Tls(**settings["tls"]),
            ClientSettings(**settings["client"]),
            Path(settings["root"]),
            settings["port"],
            runtime="hollow",
            hollow_count=settings["count"],
        )
    )
    await agent.start()
    return Running(agent, f"{settings['ip']}:{agent.port}")


async def run_join(settings: Settings) -> Running:
    from oarlock.cluster.apiserver.settings import Tls
    from oarlock.cluster.boot.hoststate import load_host
    from oarlock.cluster.boot.joining.server import JoinServer, JoinSettings
    from oarlock.cluster.boot.state import StateFolder
    from oarlock.cluster.client.settings import ClientSettings

    folder = StateFolder(Path(settings["state"]))
    record = load_host(folder)
    assert record is not None, "the part is one of a host of several"
    client, tls = ClientSettings(**settings["client"]), Tls(**settings["tls"])
    server = JoinServer(JoinSettings(folder, settings["host"], settings["port"], tls, client), record)
    await server.start()
    return Running(server, f"{settings['host']}:{settings['port']}")


ROLES: Mapping[str, Callable[[Settings], Awaitable[Running]]] = {
    "store": run_store,
    "apiserver": run_api_server,
    "resp": run_resp,
    "balancer": run_balancer,
    "join": run_join,
    "agent": run_agent,
    "hollow": run_hollow,
    "raynode": run_ray_node,
    "rayguests": run_ray_guests,
    "shell": run_in_process,
}
