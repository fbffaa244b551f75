"""A copy acts only while it holds its lease, and stands by otherwise."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest

from oarlock.actors.shell.component import ComponentContext, UnknownComponent, factory, fence_revision
from oarlock.actors.shell.hosting import ComponentHost, Stuck
from oarlock.cluster.client.settings import ClientSettings


@dataclass
class Term:
    fence: str


class World:
    """One lease for everybody; `take_away` is what a store would do to a silent holder."""

    def __init__(self) -> None:
        self.holder: Lease | None = None
        self.epoch = 0
        self.free = asyncio.Event()
        self.free.set()
        self.identities: list[str] = []

    def holder_of(self, identity: str) -> Lease:
        self.identities.append(identity)
        return Lease(self)

    def take_away(self) -> None:
        if self.holder is not None:
            self.holder.gone.set()
        self.holder = None
        self.free.set()


@dataclass
class Lease:
    world: World
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def acquire(self) -> Term:
        while self.world.holder is not None:
            self.world.free.clear()
            await self.world.free.wait()
        self.world.holder = self
        self.world.epoch += 1
        return Term(f"scheduler={self.world.epoch}")

    async def lost(self) -> None:
        await self.gone.wait()

    async def release(self) -> None:
        if self.world.holder is self:
            self.world.take_away()


@dataclass
class Leases:
    world: World

    def holder(self, identity: str) -> Lease:
        return self.world.holder_of(identity)

    async def close(self) -> None:
        pass


class Recording:
    """A component that notes what happens to it; fails in the terms it is told to."""

    def __init__(self, fails: tuple[str, ...] = ()) -> None:
        self.fails = fails
        self.story: list[str] = []
        self.acting, self.ended = asyncio.Event(), asyncio.Event()

    async def warm(self) -> None:
        self.story.append("warm")

    async def run(self, fence: str) -> None:
        self.story.append(f"run {fence}")
        if fence in self.fails:
            raise ValueError(fence)
        self.acting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.acting.clear()
            self.ended.set()
            self.story.append("ended")

    async def stop(self) -> None:
        self.story.append("stop")


def host(world: World, component: Recording, identity: str = "a") -> ComponentHost:
    context = ComponentContext(ClientSettings("http://unused"), identity, "scheduler")
    return ComponentHost(context, component, Leases(world))


def test_standby_takes_over_when_the_lease_goes() -> None:
    async def story() -> None:
        world, first, second = World(), Recording(), Recording()
        hosts = [host(world, first), host(world, second, "b")]
        await hosts[0].start()
        await first.acting.wait()
        await hosts[1].start()
        assert second.story == ["warm"]
        await hosts[0].stop()
        await second.acting.wait()
        assert first.story == ["warm", "run scheduler=1", "ended", "stop"]
        assert second.story == ["warm", "run scheduler=2"]
        assert hosts[1].active
        await hosts[1].stop()
        assert world.holder is None

    asyncio.run(story())


def test_a_lost_lease_ends_the_run_and_the_copy_competes_under_a_new_name() -> None:
    async def story() -> None:
        world, component = World(), Recording()
        hosting = host(world, component)
        await hosting.start()
        await component.acting.wait()
        world.take_away()
        await component.ended.wait()
        await component.acting.wait()
        assert component.story == ["warm", "run scheduler=1", "ended", "run scheduler=2"]
        assert world.identities == ["a.1", "a.2"]
        await hosting.stop()

    asyncio.run(story())


def test_a_component_that_fails_gives_the_lease_up() -> None:
    async def story() -> None:
        world, broken, sound = World(), Recording(fails=("scheduler=1",)), Recording()
        hosts = [host(world, broken), host(world, sound, "b")]
        for one in hosts:
            await one.start()
        await sound.acting.wait()
        assert broken.story == ["warm", "run scheduler=1"]
        for one in hosts:
            await one.stop()

    asyncio.run(story())


class Deaf(Recording):
    """A component that takes a cancellation for something else."""

    async def run(self, fence: str) -> None:
        self.story.append(f"run {fence}")
        self.acting.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()


def test_a_component_that_can_not_be_stopped_ends_its_copy() -> None:
    async def story() -> None:
        world, component, other = World(), Deaf(), Recording()
        context = ComponentContext(ClientSettings("http://unused"), "a", "scheduler")
        hosting, standby = ComponentHost(context, component, Leases(world), look_s=0.01), host(world, other, "b")
        await hosting.start()
        await component.acting.wait()
        await standby.start()
        world.take_away()
        with pytest.raises(Stuck, match=r"run-a does not end, at Deaf.run:\d+ > Event.wait:\d+"):
            await hosting.wait()
        assert other.story == ["warm", "run scheduler=2"]
        assert hosting.active, "it does act, and says so"
        await standby.stop()

    asyncio.run(story())


class Thorough(Recording):
    """A component that ends once it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.ending, self.may_end = asyncio.Event(), asyncio.Event()

    async def run(self, fence: str) -> None:
        try:
            await super().run(fence)
        finally:
            self.ending.set()
            await self.may_end.wait()
            self.story.append("tidied")


def test_stopping_while_the_lease_is_lost_waits_for_the_run_to_end() -> None:
    async def story() -> None:
        world, component, told = World(), Thorough(), []
        context = ComponentContext(ClientSettings("http://unused"), "a", "scheduler")
        hosting = ComponentHost(context, component, Leases(world), on_change=told.append)
        await hosting.start()
        await component.acting.wait()
        world.take_away()
        await component.ending.wait()
        stopping = asyncio.create_task(hosting.stop())
        await asyncio.sleep(0)  # it has cancelled
        component.may_end.set()
        await stopping
        assert component.story == ["warm", "run scheduler=1", "ended", "tidied", "stop"]
        assert told == [True, False]
        assert world.holder is None

    asyncio.run(story())


def test_fence_and_factory() -> None:
    assert fence_revision("scheduler=17") == 17
    assert factory("oarlock.actors.scheduler.component:create").__name__ == "create"
    with pytest.raises(UnknownComponent, match="nowhere"):
        factory("oarlock.nowhere:create")
    with pytest.raises(UnknownComponent, match="no factory"):
        factory("oarlock.actors.scheduler.component:DEFAULT_NAME")
