"""One loop against a recording API: retries, isolation of faults, and reading one's own writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from oarlock.actors.controllers.actions import Action, Burst, Create, Delete, Performer, RecordEvent
from oarlock.actors.controllers.loop import Controller, ControllerLoop, Due
from oarlock.actors.controllers.view import View
from oarlock.cluster.client import Unreachable
from oarlock.cluster.client.cache import key_of
from oarlock.cluster.objects.status import ApiError, conflict, not_found

Object = dict[str, Any]


class Api:
    """Records calls; `fail` may raise for one."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.fail: Callable[[str, str], None] = lambda *_: None

    async def create(self, path: str, obj: Object) -> Object:
        return self._call("create", f"{path}/{obj['metadata']['name']}")

    async def delete(self, path: str, _: Object) -> Object:
        return self._call("delete", path)

    def _call(self, verb: str, path: str) -> Object:
        self.calls.append((verb, path.rpartition("/")[2]))
        self.fail(verb, path)
        return {"metadata": {"resourceVersion": str(100 + len(self.calls))}}


class Events:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def record(self, on: Object, kind: str, reason: str, message: str, *, component: str | None = None) -> None:
        self.seen.append((reason, message))


def pod(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "d", "uid": name}, "spec": {}}


def namespaced(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    return [Due(key_of(new or old or {}))]


async def host(
    world: Any, reconcile: Callable[[str, View], Iterable[Action]], api: Api, until: asyncio.Event, settle: Any = None
) -> None:
    controller = Controller("t", "t-controller", ("configmaps",), namespaced, reconcile, workers=2)
    performer = Performer(api, Events(), "t-controller")  # type: ignore[arg-type]
    loop = ControllerLoop(controller, world.view, performer, settle or (lambda: None))
    loop.attach()
    running = asyncio.ensure_future(loop.run())
    waiting = asyncio.ensure_future(until.wait())
    await asyncio.wait((running, waiting), timeout=10, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    waiting.cancel()
    await asyncio.wait((running, waiting))
    assert until.is_set(), "never happened"


def config(world: Any, name: str) -> None:
    world.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "d"}})


def test_a_fault_in_one_key_is_retried_and_hurts_no_other(world_type: Any) -> None:
    async def scenario() -> None:
        world, done, tries = world_type(), asyncio.Event(), {"d/bad": 0, "d/good": 0}

        def reconcile(key: str, _: View) -> list[Action]:
            tries[key] += 1
            if key == "d/bad":
                if tries[key] == 3:
                    done.set()
                raise ValueError("broken")
            return []

        config(world, "bad")
        config(world, "good")
        await host(world, reconcile, Api(), done)
        assert tries["d/good"] == 1

    asyncio.run(scenario())


def test_a_conflict_is_tried_again(world_type: Any) -> None:
    async def scenario() -> None:
        world, api, done = world_type(), Api(), asyncio.Event()

        def fail(*_: str) -> None:
            if len(api.calls) < 3:
                raise conflict("pods", "a")
            done.set()

        api.fail = fail
        config(world, "x")
        await host(world, lambda key, view: [Create(pod("a"))], api, done)
        assert len(api.calls) == 3

    asyncio.run(scenario())


def test_a_key_is_not_decided_again_before_the_cache_shows_the_write(world_type: Any) -> None:
    async def scenario() -> None:
        world, api, done = world_type(), Api(), asyncio.Event()
        for cache in world.view.caches.values():
            cache.replace([], 1)
        decided: list[int] = []

        def reconcile(_: str, view: View) -> list[Action]:
            decided.append(view.caches["pods"].revision)
            if len(decided) == 2:
                done.set()
                return []
            asyncio.get_running_loop().call_later(0.01, config, world, "x")
            asyncio.get_running_loop().call_later(0.05, view.caches["pods"].advance, 150)
            return [Create(pod("a"))]

        config(world, "x")
        await host(world, reconcile, api, done)
        assert decided == [1, 150]

    asyncio.run(scenario())


def test_after_an_unknown_outcome_the_caches_are_brought_up_first(world_type: Any) -> None:
    async def scenario() -> None:
        world, api, done, order = world_type(), Api(), asyncio.Event(), []

        def fail(*_: str) -> None:
            order.append("write")
            if len(api.calls) == 1:
                raise Unreachable("gone", sent=True)
            done.set()

        async def settle() -> None:
            order.append("settle")

        api.fail = fail
        config(world, "x")
        await host(world, lambda key, view: [Create(pod("a"))], api, done, settle)
        assert order == ["write", "settle", "write"]

    asyncio.run(scenario())


def perform(api: Api, actions: list[Action]) -> tuple[Events, Exception | None]:
    async def scenario() -> tuple[Events, Exception | None]:
        from oarlock.actors.controllers.actions import Outcome

        events = Events()
        try:
            await Performer(api, events, "t").perform(actions, Outcome())  # type: ignore[arg-type]
        except ApiError as error:
            return events, error
        return events, None

    return asyncio.run(scenario())


def test_a_burst_that_is_refused_stops_early_and_says_why() -> None:
    api = Api()

    def fail(*_: str) -> None:
        raise ApiError(403, "Forbidden", "exceeded quota")

    api.fail = fail
    failed = RecordEvent(pod("owner"), "FailedCreate", "Error creating: {error}", "Warning")
    events, error = perform(api, [Burst([Create(pod(f"p{n}"), failed=failed) for n in range(50)])])
    assert error is not None
    assert len(api.calls) == 1
    assert events.seen == [("FailedCreate", "Error creating: exceeded quota")]


def test_a_burst_grows_and_tells_each_success() -> None:
    api = Api()
    done = RecordEvent(pod("owner"), "SuccessfulCreate", "Created pod: {name}")
    events, error = perform(api, [Burst([Create(pod(f"p{n}"), done) for n in range(20)])])
    assert error is None
    assert len(api.calls) == len(events.seen) == 20
    assert events.seen[0] == ("SuccessfulCreate", "Created pod: p0")


def test_deleting_what_is_gone_is_fine() -> None:
    api = Api()

    def fail(*_: str) -> None:
        raise not_found("pods", "a")

    api.fail = fail
    done = RecordEvent(pod("owner"), "SuccessfulDelete", "Deleted pod: {name}")
    events, error = perform(api, [Delete(pod("a"), done=done)])
    assert error is None
    assert events.seen == []
