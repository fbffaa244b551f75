"""Leader leases, fences, metrics targets."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from prometheus_client import REGISTRY

from oarlock.consensus.model import Range

LEASES = "/oarlock/v1/leases"
LEASE = f"{LEASES}/scheduler"
MAPS = "/api/v1/namespaces/default/configmaps"
JSON, MERGE = "application/json", "application/merge-patch+json"


def refused() -> float:
    """How many writes had no term any more, by the server's metrics."""
    metric = "oarlock_fenced_writes_refused"
    return sum(sample.value for one in REGISTRY.collect() if one.name == metric for sample in one.samples[::2])


def test_one_holder_at_a_time(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        code, held = await api("POST", f"{LEASE}/acquire", {"identity": "a", "ttlMillis": 60000})
        assert (code, held["holder"], held["ttlMillis"]) == (200, "a", 60000)
        _, again = await api("POST", f"{LEASE}/acquire", {"identity": "a", "ttlMillis": 60000})
        assert again["epoch"] == held["epoch"]
        code, answer = await api("POST", f"{LEASE}/acquire", {"identity": "b", "ttlMillis": 60000})
        assert code == 409
        assert "held by a" in answer["message"]
        assert (await api("POST", f"{LEASE}/renew", {"identity": "a", "epoch": held["epoch"]}))[0] == 200
        assert (await api("POST", f"{LEASE}/renew", {"identity": "b", "epoch": held["epoch"]}))[0] == 409
        assert (await api("POST", f"{LEASE}/release", {"identity": "a", "epoch": held["epoch"]}))[0] == 200
        code, taken = await api("POST", f"{LEASE}/acquire", {"identity": "b", "ttlMillis": 60000})
        assert (code, taken["holder"]) == (200, "b")
        assert taken["epoch"] > held["epoch"]
        assert [one["name"] for one in (await api("GET", "/oarlock/v1/leases"))[1]["items"]] == ["scheduler"]

    with_api(scenario)


def test_simultaneous_acquisitions_have_one_winner(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        tries = [api("POST", f"{LEASE}/acquire", {"identity": f"i{n}", "ttlMillis": 60000}) for n in range(8)]
        codes = sorted(code for code, _ in await asyncio.gather(*tries))
        assert codes == [200] + [409] * 7

    with_api(scenario)


def test_watch_tells_of_holders_and_expiry(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        async with api.watch(f"{LEASE}?watch=1") as event:
            assert (await event())["type"] == "FREE"
            await api("POST", f"{LEASE}/acquire", {"identity": "a", "ttlMillis": 200})
            held = await event()
            assert (held["type"], held["holder"]) == ("HELD", "a")
            assert (await event())["type"] == "FREE"
        assert (await api("GET", LEASE))[0] == 404
        assert (await api("POST", f"{LEASE}/renew", {"identity": "a", "epoch": held["epoch"]}))[0] == 409

    with_api(scenario)


def test_a_holder_that_goes_away_frees_its_lease(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        _, held = await api("POST", f"{LEASES}/gone/acquire", {"identity": "a", "ttlMillis": 2000})
        async with api.watch(f"{LEASES}/gone?watch=1") as event:
            assert (await event())["type"] == "HELD"
            async with api.watch(f"{LEASES}/gone?watch=1&identity=a&epoch={held['epoch']}") as mine:
                assert (await mine())["epoch"] == held["epoch"]
            freed = asyncio.ensure_future(event())
            while not freed.done():  # renewals alone, which the dead don't send, would keep it for ever
                await api("POST", f"{LEASES}/gone/renew", {"identity": "a", "epoch": held["epoch"]})
            assert freed.result()["type"] == "FREE"
        assert (await api("GET", f"{LEASES}/gone"))[0] == 404
        assert (await api.store.range(Range(b"/oarlock/attachments/", b"/oarlock/attachments0"))).kvs == ()

    with_api(scenario)


def test_a_holder_that_has_attached_elsewhere_keeps_its_lease(with_api: Any) -> None:
    """However late a server notices that an earlier connection has broken, and however long ago the last renewal is."""

    async def scenario(api: Any) -> None:
        held = {}
        for name in ("gone", "kept"):
            _, held[name] = await api("POST", f"{LEASES}/{name}/acquire", {"identity": "a", "ttlMillis": 2000})
        own = {name: f"{LEASES}/{name}?watch=1&identity=a&epoch={held[name]['epoch']}" for name in ("gone", "kept")}
        async with api.watch(f"{LEASES}/gone?watch=1") as event, AsyncExitStack() as late:
            assert (await event())["type"] == "HELD"
            assert (await (await late.enter_async_context(api.watch(own["kept"])))())["type"] == "HELD"
            async with api.watch(own["kept"]) as second:
                assert (await second())["type"] == "HELD"
                async with api.watch(own["gone"]) as mine:
                    await mine()
                    await late.aclose()
                # The other connection broke earlier, so what was to be done about it has been done.
                assert (await event())["type"] == "FREE"
                assert (await api("GET", f"{LEASES}/kept"))[1]["epoch"] == held["kept"]["epoch"]

    with_api(scenario)


def test_a_watcher_that_is_no_holder_frees_nothing(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        _, kept = await api("POST", f"{LEASES}/kept/acquire", {"identity": "a", "ttlMillis": 60000})
        _, held = await api("POST", f"{LEASES}/gone/acquire", {"identity": "a", "ttlMillis": 60000})
        for identity, epoch in (("b", kept["epoch"]), ("a", kept["epoch"] + 1)):
            code, answer = await api("GET", f"{LEASES}/kept?watch=1&identity={identity}&epoch={epoch}")
            assert (code, answer["reason"]) == (409, "Conflict")
        async with api.watch(f"{LEASES}/kept?watch=1") as event:
            await event()
        async with api.watch(f"{LEASES}/gone?watch=1") as event:
            await event()
            async with api.watch(f"{LEASES}/gone?watch=1&identity=a&epoch={held['epoch']}") as mine:
                await mine()
            assert (await event())["type"] == "FREE"
        assert (await api("GET", f"{LEASES}/kept"))[0] == 200

    with_api(scenario)


def test_a_server_that_stops_frees_no_lease(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        _, held = await api("POST", f"{LEASE}/acquire", {"identity": "a", "ttlMillis": 60000})
        async with api.watch(f"{LEASE}?watch=1&identity=a&epoch={held['epoch']}") as mine:
            await mine()
            await api.server.stop()
        kept = await api.store.range(Range(b"/oarlock/leases/scheduler"))
        assert kept.kvs[0].create_revision == held["epoch"]

    with_api(scenario)


def test_fenced_writes_need_the_lease(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        _, held = await api("POST", f"{LEASE}/acquire", {"identity": "a", "ttlMillis": 60000})
        fence = {"Oarlock_Fence": f"scheduler={held['epoch']}"}
        assert (await api("POST", MAPS, objects.configmap("one"), **fence))[0] == 201
        await api.made("/api/v1/namespaces/default/pods", objects.pod("free"))
        await api("POST", f"{LEASE}/release", {"identity": "a", "epoch": held["epoch"]})
        before = refused()
        binding = {"metadata": {"name": "free"}, "target": {"kind": "Node", "name": "n"}}
        writes: list[tuple[str, str, Any, str]] = [
            ("POST", MAPS, objects.configmap("two"), JSON),
            ("PUT", f"{MAPS}/one", objects.configmap("one", k="v"), JSON),
            ("PATCH", f"{MAPS}/one", {"data": {"k": "v"}}, MERGE),
            ("PATCH", f"{MAPS}/two?fieldManager=a", objects.configmap("two"), "application/apply-patch+yaml"),
            ("DELETE", f"{MAPS}/one", None, JSON),
            ("DELETE", MAPS, None, JSON),
            ("POST", "/api/v1/namespaces/default/pods/free/binding", binding, JSON),
            ("PATCH", "/api/v1/namespaces/default/pods/free/status", {"status": {"phase": "Failed"}}, MERGE),
            ("DELETE", "/api/v1/namespaces/default/pods/free", None, JSON),
        ]
        for number, (method, path, body, kind) in enumerate(writes, start=1):
            code, answer = await api(method, path, body, kind, **fence)
            assert (code, answer.get("reason")) == (409, "Conflict"), (method, path, answer)
            assert 'lease "scheduler" is no longer held' in answer["message"]
            assert refused() == before + number
        assert (await api("GET", f"{MAPS}/two"))[0] == 404
        assert (await api("POST", MAPS, objects.configmap("x"), Oarlock_Fence="nonsense"))[0] == 400

    with_api(scenario)


def test_bad_requests(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        assert (await api("POST", f"{LEASE}/acquire", b"{"))[0] == 400
        assert (await api("POST", f"{LEASE}/acquire", {"identity": "a"}))[0] == 400
        assert (await api("POST", f"{LEASE}/acquire", {"ttlMillis": 1000}))[0] == 400
        assert (await api("POST", f"{LEASE}/nope", {}))[0] == 404
        assert (await api("DELETE", LEASE))[0] == 405

    with_api(scenario)


def test_targets_are_listed_for_prometheus(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        body = {"address": "127.0.0.1:9000", "labels": {"job": "store"}, "ttlMillis": 60000}
        for _ in range(2):
            assert (await api("PUT", "/oarlock/v1/targets/store-1", body))[0] == 200
        _, listed = await api("GET", "/oarlock/v1/targets")
        assert listed == [{"targets": ["127.0.0.1:9000"], "labels": {"__scheme__": "https", "job": "store"}}]
        assert (await api("PUT", "/oarlock/v1/targets/x", {"labels": {}}))[0] == 400

    with_api(scenario)
