"""Several API servers over one store give out addresses and ports at once, some dying: none twice, none lost.

Answers are lost before and after a transaction was carried out, one server stops in the middle for good, caches lag.
In the end exactly the Services that are there hold anything. The judge is shown servers broken on purpose too.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import aiohttp
import orjson
import pytest
from harness.lagging import LaggingWatch

from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.model import Delete, Range, Transaction, TransactionResult, UnknownOutcome

SERVERS = 3
CLIENTS = 12
STEPS = 35
NAMESPACES = ("default", "kube-public")
ADDRESSES = b"/registry/networking.k8s.io/ipaddresses/"
PORTS = b"/registry/ranges/servicenodeports/"
SERVICES = b"/registry/core/services/"
LAG_TURNS_MAX = 30


class FailingStore:
    """A store that tells late, loses answers, and at last (`dead`) carries out nothing and answers nobody."""

    def __init__(self, store: MemoryStore, rng: random.Random) -> None:
        self._store = store
        self._rng = rng
        self.losses = 0.0
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def transact(self, transaction: Transaction) -> TransactionResult:
        fate = self._rng.random()
        if self.dead:
            await asyncio.Event().wait()
        if fate < self.losses / 2:
            raise UnknownOutcome("lost on the way")
        for _ in range(self._rng.randrange(4)):
            await asyncio.sleep(0)
        result = await self._store.transact(self._altered(transaction))
        if fate < self.losses:
            raise UnknownOutcome("the answer was lost")
        return result

    def _altered(self, transaction: Transaction) -> Transaction:
        return transaction

    def watch(self, key: bytes, range_end: bytes, start_revision: int, *, previous: bool = False) -> Any:
        return LaggingWatch(
            self._store.watch(key, range_end, start_revision, previous=previous), self._rng, LAG_TURNS_MAX
        )


class Unguarded(FailingStore):
    """Broken: takes addresses without looking whether they are free."""

    def _altered(self, transaction: Transaction) -> Transaction:
        kept = tuple(one for one in transaction.compares if not one.key.startswith((ADDRESSES, PORTS)))
        return Transaction(kept, transaction.success, transaction.failure)


class Forgetful(FailingStore):
    """Broken: gives nothing back."""

    def _altered(self, transaction: Transaction) -> Transaction:
        kept = tuple(
            one for one in transaction.success if not (isinstance(one, Delete) and one.key.startswith(ADDRESSES))
        )
        return Transaction(transaction.compares, kept, transaction.failure)


class World:
    def __init__(self, seed: int, kind: type[FailingStore] = FailingStore) -> None:
        self.rng = random.Random(seed)
        self.store = MemoryStore()
        self.fronts = [kind(self.store, self.rng) for _ in range(SERVERS)]
        self.servers: list[ApiServer] = []
        self.codes: Counter[int] = Counter()
        self.asked_for: list[str] = []

    async def live(self) -> None:
        for front in self.fronts:
            settings = ApiServerSettings(
                "test", service_cidr="10.0.0.0/25", node_port_range=(30000, 30063), shutdown_grace_s=0.1
            )
            server = ApiServer(settings, front)  # type: ignore[arg-type]
            await server.start()
            self.servers.append(server)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            try:
                async with asyncio.timeout(90):
                    for front in self.fronts:
                        front.losses = 0.1
                    await asyncio.gather(*(self._torment(session, number) for number in range(CLIENTS)))
            finally:
                for server in self.servers:
                    await server.stop()

    async def _torment(self, session: aiohttp.ClientSession, number: int) -> None:
        for step in range(STEPS):
            if number == 0 and step == STEPS // 2:
                self.fronts[0].dead = True
                asyncio.get_running_loop().call_soon(asyncio.ensure_future, self.servers[0].stop())
            method, path, body = self._choice(f"s{number}-{step}")
            server = self.rng.choice(self.servers[1:] if self.fronts[0].dead else self.servers)
            data = orjson.dumps(body) if body is not None else None
            headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
            try:
                async with session.request(method, server.url + path, data=data, headers=headers) as answer:
                    await answer.read()
                    self.codes[answer.status] += 1
            except aiohttp.ClientError:
                self.codes[0] += 1

    def _choice(self, name: str) -> tuple[str, str, Any]:
        namespace = self.rng.choice(NAMESPACES)
        services = f"/api/v1/namespaces/{namespace}/services"
        fate = self.rng.random()
        if fate < 0.03:
            return "DELETE", f"{services}?labelSelector=wave%3D{self.rng.randrange(3)}", None
        if fate < 0.2 and self.asked_for:
            return "DELETE", self.rng.choice(self.asked_for), None
        if fate < 0.4 and self.asked_for:
            return "PATCH", self.rng.choice(self.asked_for), {"spec": self._spec()}
        self.asked_for.append(f"{services}/{name}")
        body = {"metadata": {"name": name, "labels": {"wave": str(self.rng.randrange(3))}}, "spec": self._spec()}
        return "POST", services, {"apiVersion": "v1", "kind": "Service", **body}

    def _spec(self) -> dict[str, Any]:
        port: dict[str, Any] = {"port": 80}
        spec: dict[str, Any] = {"type": self.rng.choice(("ClusterIP", "ClusterIP", "NodePort", "LoadBalancer"))}
        if self.rng.random() < 0.1:
            return {"type": "ExternalName", "externalName": "example.com"}
        if self.rng.random() < 0.3:
            spec["clusterIP"] = f"10.0.0.{self.rng.randrange(2, 40)}"
        if spec["type"] != "ClusterIP" and self.rng.random() < 0.5:
            port["nodePort"] = 30000 + self.rng.randrange(24)
        if spec["type"] == "LoadBalancer":
            spec["externalTrafficPolicy"] = self.rng.choice(("Local", "Cluster"))
        return {**spec, "ports": [port]}

    async def judge(self) -> list[str]:
        """Return what is wrong with what the store holds in the end."""
        services = [
            orjson.loads(kv.value) for kv in (await self.store.range(Range(SERVICES, SERVICES[:-1] + b"0"))).kvs
        ]
        wrong: list[str] = []
        for prefix, held_by in ((ADDRESSES, _addresses), (PORTS, _ports)):
            wanted = [(one, _whose(service)) for service in services for one in held_by(service)]
            twice = [one for one, count in Counter(one for one, _ in wanted).items() if count > 1]
            found = {}
            for kv in (await self.store.range(Range(prefix, prefix[:-1] + b"0"))).kvs:
                obj = orjson.loads(kv.value)
                owner = (obj.get("spec") or obj)["parentRef"]
                found[kv.key.removeprefix(prefix).decode()] = (owner["namespace"], owner["name"])
            wrong += [f"twice: {one}" for one in twice]
            wrong += [f"not held: {one} of {whose}" for one, whose in wanted if found.get(one) != whose]
            wrong += [f"leaked: {one}" for one in found.keys() - {one for one, _ in wanted}]
        return wrong


def _whose(service: dict[str, Any]) -> tuple[str, str]:
    return service["metadata"]["namespace"], service["metadata"]["name"]


def _addresses(service: dict[str, Any]) -> list[str]:
    return [one for one in service["spec"].get("clusterIPs", ()) if one != "None"]


def _ports(service: dict[str, Any]) -> list[str]:
    spec = service["spec"]
    ports = [port["nodePort"] for port in spec.get("ports", ()) if port.get("nodePort")]
    return [str(port) for port in (*ports, spec.get("healthCheckNodePort")) if port]


async def _outcome(world: World) -> list[str]:
    try:
        await world.live()
        return await world.judge()
    finally:
        await world.store.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_addresses_and_ports_belong_to_one_service_that_is_there(seed: int) -> None:
    world = World(seed)
    assert asyncio.run(_outcome(world)) == []
    assert world.codes[201] > CLIENTS * STEPS // 8, world.codes
    assert world.codes[422] > 0, world.codes


@pytest.mark.parametrize(("kind", "words"), [(Unguarded, "twice: "), (Forgetful, "leaked: ")])
def test_the_judge_notices_what_is_broken(kind: type[FailingStore], words: str) -> None:
    found = asyncio.run(_outcome(World(4, kind)))
    assert any(one.startswith(words) for one in found), found
