"""Ranges of pod addresses: each node gets its own, once, whatever becomes of writes and holders."""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import AsyncExitStack
from typing import Any

import pytest
from harness.controllers import acting, cluster
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from oarlock.actors.controllers.actions import Patch, RecordEvent, Requeue
from oarlock.actors.controllers.cluster_ranges import ClusterRange, cluster_ranges
from oarlock.actors.controllers.component import ControllerSettings, controllers
from oarlock.actors.controllers.node_ipam import NAME, Allocator, node_ipam

from .conftest import World

Object = dict[str, Any]
TWO = cluster_ranges({"cluster_cidr": "10.42.0.0/23"})
FOUR = cluster_ranges({"cluster_cidr": "10.42.0.0/22"})


def node(name: str, *cidrs: str) -> Object:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDRs": list(cidrs)}}


def cidrs(world: World, name: str) -> list[str]:
    found: list[str] = world.view.get("nodes", name)["spec"]["podCIDRs"]
    return found


def test_nodes_get_blocks_in_turn_and_keep_them(world: World) -> None:
    allocator = Allocator(FOUR)
    for name in ("a", "b"):
        world.put(node(name))
        world.act(allocator.reconcile(name, world.view))
    assert (cidrs(world, "a"), cidrs(world, "b")) == (["10.42.0.0/24"], ["10.42.1.0/24"])
    assert world.view.get("nodes", "a")["spec"]["podCIDR"] == "10.42.0.0/24"
    assert allocator.reconcile("a", world.view) == []
    world.remove(world.view.get("nodes", "a"))
    world.put(node("c"))
    world.act(allocator.reconcile("c", world.view))
    assert cidrs(world, "c") == ["10.42.2.0/24"], "a block that has just been left is used again last"


def test_what_nodes_have_already_and_what_services_have_is_left_out(world: World) -> None:
    world.put(node("mine", "10.42.1.128/25"))
    world.put(node("wide", "10.42.2.0/23"))
    world.put(node("elsewhere", "192.168.0.0/24", "fd00::/64"))
    allocator = Allocator(FOUR)
    world.put(node("a"))
    world.act(allocator.reconcile("a", world.view))
    assert cidrs(world, "a") == ["10.42.0.0/24"]
    assert Allocator(FOUR, ["10.42.0.0/23"]).reconcile("a", world.view) == []
    world.put(node("b"))
    assert isinstance(Allocator(FOUR, ["10.42.0.0/23"]).reconcile("b", world.view)[0], RecordEvent)


def test_without_a_free_block_a_node_is_told_and_gets_the_first_that_is_left(world: World) -> None:
    allocator = Allocator(cluster_ranges({"cluster_cidr": "10.42.0.0/24"}))
    for name in ("a", "b"):
        world.put(node(name))
        world.act(allocator.reconcile(name, world.view))
    assert cidrs(world, "b") == []
    assert world.events == [("CIDRNotAvailable", "Node b status is now: CIDRNotAvailable")]
    assert world.requeues
    gone = world.view.get("nodes", "a")
    assert gone is not None
    world.remove(gone)
    assert {due.key for due in allocator.keys("nodes", gone, None, world.view)} == {"a", "b"}
    world.act(allocator.reconcile("b", world.view))
    assert cidrs(world, "b") == ["10.42.0.0/24"]


def test_two_families_are_given_together_or_not_at_all(world: World) -> None:
    ranges = cluster_ranges({"cluster_cidr": "10.42.0.0/23,fd00:42::/64"})
    allocator = Allocator(ranges)
    for name in ("a", "b"):
        world.put(node(name))
        world.act(allocator.reconcile(name, world.view))
    assert cidrs(world, "a") == ["10.42.0.0/24", "fd00:42::/64"]
    assert cidrs(world, "b") == []


@given(st.integers(8, 28), st.data())
@settings(deadline=None)
def test_blocks_are_disjoint_parts_of_their_range(length: int, data: st.DataObject) -> None:
    prefix = data.draw(st.integers(length, 32))
    one = ClusterRange(ipaddress.ip_network((0x0A000000, length)), prefix)
    first, second = (data.draw(st.integers(0, one.count - 1)) for _ in range(2))
    block = ipaddress.ip_network(one.block(first))
    assert block.subnet_of(one.network)
    assert list(one.touched(str(block))) == [first]
    assert block.overlaps(ipaddress.ip_network(one.block(second))) == (first == second)


def patched(world: World, allocator: Allocator, name: str) -> Object:
    """What the allocator would write to a node, which isn't done."""
    (action,) = allocator.reconcile(name, world.view)
    assert isinstance(action, Patch)
    assert isinstance(action.patch, dict)
    return action.patch


def test_a_block_whose_write_may_yet_arrive_is_given_to_nobody_else(world: World) -> None:
    allocator = Allocator(TWO)
    late = world.put(node("late"))
    first = patched(world, allocator, "late")
    world.put(node("a"))
    world.act(allocator.reconcile("a", world.view))
    world.remove(world.view.get("nodes", "a"))
    world.put(node("b"))
    world.act(allocator.reconcile("b", world.view))
    assert cidrs(world, "b") == ["10.42.1.0/24"]
    assert patched(world, allocator, "late") == first, "and tried again it is the same"
    assert first["metadata"]["uid"] == late["metadata"]["uid"], "or it would arrive at another node of the same name"
    world.remove(late)
    world.put(node("c"))
    world.act(allocator.reconcile("c", world.view))
    assert cidrs(world, "c") == ["10.42.0.0/24"], "nothing arrives at a node that is gone"


def test_what_was_promised_in_an_earlier_term_may_have_been_given_by_another_holder(world: World) -> None:
    deposed, holder = Allocator(TWO), Allocator(TWO)
    world.put(node("a"))
    patched(world, deposed, "a")
    world.put(node("b"))
    world.act(holder.reconcile("b", world.view))
    world.act(deposed.reconcile("a", world.view))
    assert (cidrs(world, "b"), cidrs(world, "a")) == (["10.42.0.0/24"], ["10.42.1.0/24"])


class Holders(RuleBasedStateMachine):
    """Nodes come and go, writes are lost or arrive late, and who decides changes."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.allocator = Allocator(TWO)
        self.others = [Allocator(TWO), Allocator(TWO)]
        self.late: list[Object] = []
        self.given: dict[str, list[str]] = {}
        self.made = 0

    def _names(self) -> list[str]:
        return sorted(one["metadata"]["name"] for one in self.world.view.list("nodes"))

    @rule()
    def a_node_comes(self) -> None:
        self.made += 1
        if f"n{self.made % 3}" not in self._names():
            self.world.put(node(f"n{self.made % 3}"))

    @precondition(lambda self: bool(self._names()))
    @rule(data=st.data())
    def a_node_goes(self, data: st.DataObject) -> None:
        gone = self.world.view.get("nodes", data.draw(st.sampled_from(self._names())))
        assert gone is not None
        self.given.pop(gone["metadata"]["uid"], None)
        self.world.remove(gone)
        self.allocator.reconcile(gone["metadata"]["name"], self.world.view)

    @precondition(lambda self: bool(self._names()))
    @rule(data=st.data(), fate=st.sampled_from(["arrives", "is lost", "is late"]))
    def a_node_is_looked_at(self, data: st.DataObject, fate: str) -> None:
        name = data.draw(st.sampled_from(self._names()))
        for action in self.allocator.reconcile(name, self.world.view):
            if isinstance(action, Patch) and fate != "is lost":
                assert isinstance(action.patch, dict)
                told = {"name": name, **action.patch}
                self._arrive(told) if fate == "arrives" else self.late.append(told)
            else:
                assert isinstance(action, Patch | RecordEvent | Requeue)

    @precondition(lambda self: bool(self.late))
    @rule()
    def a_late_write_arrives(self) -> None:
        self._arrive(self.late.pop(0))

    @rule(number=st.integers(0, 1))
    def another_holds_the_lease(self, number: int) -> None:
        """What the deposed one has on its way is refused."""
        self.late.clear()
        self.others[number], self.allocator = self.allocator, self.others[number]

    def _arrive(self, told: Object) -> None:
        """Do as the API server does: another uid is a conflict, and ranges are set once."""
        live = self.world.view.get("nodes", told["name"])
        if live is not None and live["metadata"]["uid"] == told["metadata"]["uid"] and not live["spec"]["podCIDRs"]:
            self.world.put({**live, "spec": told["spec"]})

    @invariant()
    def no_two_nodes_share_a_block(self) -> None:
        held = [
            (one["metadata"]["uid"], one["spec"]["podCIDRs"])
            for one in self.world.view.list("nodes")
            if one["spec"]["podCIDRs"]
        ]
        assert len({tuple(found) for _, found in held}) == len(held)
        for uid, found in held:
            assert self.given.setdefault(uid, found) == found

    def teardown(self) -> None:
        """With all writes arriving, as many nodes as there are blocks have one."""
        self.late.clear()
        for _ in range(2):
            for name in self._names():
                for action in self.allocator.reconcile(name, self.world.view):
                    if isinstance(action, Patch):
                        assert isinstance(action.patch, dict)
                        self._arrive({"name": name, **action.patch})
        having = sum(bool(one["spec"]["podCIDRs"]) for one in self.world.view.list("nodes"))
        assert having == min(2, len(self._names()))


TestHolders = Holders.TestCase
TestHolders.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize(
    ("given_settings", "words"),
    [
        ({"cluster_cidr": "10.42.0.1/16"}, "host bits"),
        ({"cluster_cidr": "10.42.0.0/16,10.43.0.0/16"}, "one of each IP family"),
        ({"cluster_cidr": "10.42.0.0/26"}, "no blocks of /24"),
        ({"cluster_cidr": "10.42.0.0/16,fd00::/56", "node_cidr_mask_size": 24}, "node_cidr_mask_size_ipv4"),
        ({"cluster_cidr": "fd00::/40"}, "65,536"),
    ],
)
def test_wrong_ranges_are_named(given_settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ControllerSettings.of(given_settings)


def test_it_acts_only_where_there_is_a_range_to_give() -> None:
    def hosted(told: dict[str, object]) -> list[str]:
        return [one.name for one in controllers(ControllerSettings.of(told))]

    assert NAME not in hosted({})
    assert NAME in hosted({"cluster_cidr": "10.42.0.0/16"})
    assert node_ipam(FOUR).undivided, "two shards would give the same block to two nodes"


def test_nodes_of_a_real_server_get_theirs_from_two_shards_and_a_successor() -> None:
    async def scenario() -> None:
        async with cluster() as here:
            nodes = here.watch("", "v1", "nodes")
            here.informers.start()
            await here.informers.synced()

            async def come(*numbers: int) -> None:
                for number in numbers:
                    await here.client.create("/api/v1/nodes", {"metadata": {"name": f"m{number}"}})
                await here.until(lambda: all(one["spec"].get("podCIDR") for one in nodes))

            for term in range(2):
                async with AsyncExitStack() as stack:
                    for number in (1, 2):
                        told: Any = {"controllers": [NAME], "shard": number, "shards": 2, "shard_by": "uid"}
                        told |= {"cluster_cidr": "10.42.0.0/16"}
                        await stack.enter_async_context(acting(here, f"ipam-{number}", f"i{term}", **told))
                    await come(*range(10 * term, 10 * term + 10))
            held = [one["spec"]["podCIDR"] for one in nodes]
            assert len(set(held)) == len(held) == 21

    asyncio.run(scenario())
