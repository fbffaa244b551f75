"""What can befall a world: a table of faults. Each begins, and returns how it ends; None if it can't happen now."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from math import inf
from typing import TYPE_CHECKING

from simulation.clock import HostClock
from simulation.disk import File, Folder
from simulation.members import Member
from simulation.process import Process

if TYPE_CHECKING:
    from simulation.troubles import Troubles

End = Callable[[], None]


def _crash(troubles: Troubles, *, powerless: bool) -> End | None:
    members = troubles.some()
    for member in members:
        troubles.world.log("power cut" if powerless else "kill", member.name)
        member.held_down = True
        member.kill(powerless=powerless)

    def end() -> None:
        for member in members:
            member.held_down = False
            if not member.refused:
                member.boot()

    return end if members else None


def kill(troubles: Troubles) -> End | None:
    """kill -9: the page cache survives."""
    return _crash(troubles, powerless=False)


def power_cut(troubles: Troubles) -> End | None:
    """Of what isn't synced, luck keeps some."""
    return _crash(troubles, powerless=True)


def kill_voters(troubles: Troubles) -> End | None:
    """The leader is cut off; then members die right after they have voted, and so is whom they voted for."""
    world, rng, network = troubles.world, troubles.rng, troubles.world.network
    cuts: set[tuple[str, str]] = set()

    def cut_off(name: str) -> None:
        cuts.update((one, other) for one, other in itertools.permutations(world.names, 2) if name in {one, other})
        network.set_cuts(network.cuts | cuts)

    def voted(member: Member) -> None:
        raft, process = member.raft, member.process
        candidate = "" if raft is None else raft.vote
        if not candidate or candidate == member.name or rng.random() < 0.2:
            return

        def strike() -> None:
            if member.process is process and not member.held_down and not troubles.ended_s:
                world.log("dies after a vote", member.name, "for", candidate)
                member.kill(powerless=rng.random() < 0.5)
                world.schedule.after(rng.uniform(0.001, 0.1), member.boot)
                cut_off(candidate)

        world.schedule.after(rng.uniform(0.004, 0.02), strike)

    def end() -> None:
        world.oracle.on_vote.remove(voted)
        network.set_cuts(network.cuts - cuts)

    world.oracle.on_vote.append(voted)
    for member in troubles.leaders():
        cut_off(member.name)
    return end


def stop(troubles: Troubles) -> End | None:
    """An orderly restart."""
    for member in troubles.some():
        troubles.world.log("stop", member.name)
        member.stop()
    return lambda: None


def pause(troubles: Troubles) -> End | None:
    members = [member for member in troubles.some() if member.process is not None]
    for member in members:
        process = member.process
        assert process is not None
        troubles.world.log("pause", member.name)
        process.pause(inf)

    def end() -> None:
        for member in members:
            if member.process is not None:
                member.process.pause(0.0)

    return end if members else None


def _sleep(process: Process | None, clock: HostClock) -> End | None:
    """A machine sleeps: nothing runs and its monotonic clock stands; the true time goes on."""
    if process is None:
        return None
    process.pause(inf)
    clock.run(0.0)

    def end() -> None:
        clock.run(1.0)
        process.pause(0.0)

    return end


def sleep(troubles: Troubles) -> End | None:
    """A member's machine, often the leader's."""
    member = troubles.rng.choice(troubles.leaders() or [troubles.member()])
    troubles.world.log("sleep", member.name)
    return _sleep(member.process, member.clock)


def client_sleep(troubles: Troubles) -> End | None:
    client = troubles.rng.choice(troubles.world.clients)
    troubles.world.log("sleep", client.name)
    return _sleep(client.process, client.clock)


def client_pause(troubles: Troubles) -> End | None:
    client = troubles.rng.choice(troubles.world.clients)
    process = client.process
    if process is None:
        return None
    troubles.world.log("pause", client.name)
    process.pause(inf)
    return lambda: process.pause(0.0)


def cut(troubles: Troubles) -> End | None:
    """The hosts fall into two parts, in one direction or both."""
    rng, network = troubles.rng, troubles.world.network
    left = {name for name in troubles.hosts() if rng.random() < 0.5}
    one_way = rng.random() < 0.4
    cuts = {
        (one, other)
        for one, other in itertools.permutations(troubles.hosts(), 2)
        if (one in left) != (other in left) and not (one_way and one in left)
    }
    troubles.world.log("cut", sorted(left), "one way" if one_way else "both ways")
    troubles.world.stats["one_way_cuts"] += one_way
    network.set_cuts(cuts)
    return lambda: network.set_cuts(network.cuts - cuts)


def isolate_leader(troubles: Troubles) -> End | None:
    """The leader still reaches its clients, but no other member; or hears them but isn't heard, or the other way."""
    world, rng = troubles.world, troubles.rng
    leaders = troubles.leaders()
    if not leaders:
        return None
    leader = rng.choice(leaders).name
    kind = rng.choice(("both", "deaf", "mute"))
    others = [name for name in world.names if name != leader]
    cuts = {(leader, other) for other in others if kind != "deaf"} | {(o, leader) for o in others if kind != "mute"}
    world.log("isolate", leader, kind)
    world.stats["one_way_cuts"] += kind != "both"
    world.network.set_cuts(world.network.cuts | cuts)
    return lambda: world.network.set_cuts(world.network.cuts - cuts)


def stale_leader(troubles: Troubles) -> End | None:
    """The leader is alone with some of the clients, and its clock so slow that it believes that it leads on."""
    world, rng, network = troubles.world, troubles.rng, troubles.world.network
    leaders = troubles.leaders()
    if not leaders:
        return None
    leader = rng.choice(leaders)
    clients = [client.name for client in world.clients]
    left = {leader.name, *rng.sample(clients, (len(clients) + 1) // 2)}
    cuts = {
        (one, other) for one, other in itertools.permutations(troubles.hosts(), 2) if (one in left) != (other in left)
    }
    world.log("stale leader", leader.name, sorted(left))
    network.set_cuts(network.cuts | cuts)
    leader.clock.run(rng.choice((0.0, 0.1, 0.3)))

    def end() -> None:
        network.set_cuts(network.cuts - cuts)
        leader.clock.run(1.0)

    return end


def reset(troubles: Troubles) -> End | None:
    """Some connections break."""
    network = troubles.world.network
    for connection in network.connections():
        if troubles.rng.random() < 0.3:
            network.reset(connection)
    return lambda: None


def hostile(troubles: Troubles) -> End | None:
    """Messages between members are lost, repeated, late and out of order, beyond what TCP allows."""
    network = troubles.world.network
    if network.hostility:
        return None
    network.hostility = troubles.rng.choice((0.01, 0.05, 0.2))

    def end() -> None:
        network.hostility = 0.0

    return end


def slow_network(troubles: Troubles) -> End | None:
    """Everything takes up to a quarter of a second, so that elections cross each other."""
    network = troubles.world.network
    network.slowness = troubles.rng.choice((20.0, 100.0, 200.0))

    def end() -> None:
        network.slowness = 1.0

    return end


def disk_full(troubles: Troubles) -> End | None:
    members = troubles.some()
    for member in members:
        troubles.world.log("disk full", member.name)
        member.disk.full = True

    def end() -> None:
        for member in members:
            member.disk.full = False

    return end if members else None


def fsync_error(troubles: Troubles) -> End | None:
    """The next fsync of one member fails, and what it was for is lost for good."""
    member = troubles.member()
    if any(other.suspect for other in troubles.world.members.values()):
        return None
    troubles.world.log("fsync will fail", member.name)
    member.disk.sync_fails = True

    def end() -> None:
        member.disk.sync_fails = False

    return end


def disk_stall(troubles: Troubles) -> End | None:
    for member in troubles.some():
        member.disk.stall_s = troubles.rng.uniform(0.05, 2)
    return lambda: None


def clock(troubles: Troubles) -> End | None:
    """A host's clock runs fast or slow, stands still, or leaps."""
    rng = troubles.rng
    member = troubles.member()
    rate, leap_s = rng.choice(((2.0, 0.0), (1.1, 0.0), (0.5, 0.0), (0.9, 0.0), (0.0, 0.0), (1.0, 0.2), (1.0, 3.0)))
    troubles.world.log("clock", member.name, rate, leap_s)
    troubles.world.stats["clock_leaps" if leap_s else "clock_stands" if not rate else "clock_drifts"] += 1
    member.clock.run(rate, leap_s=leap_s)
    return lambda: member.clock.run(1.0)


def client_kill(troubles: Troubles) -> End | None:
    client = troubles.rng.choice(troubles.world.clients)
    client.kill()
    return client.boot


def rot(troubles: Troubles) -> End | None:
    """While a member is down, bits of one of its files flip; it must refuse to start."""
    world, rng = troubles.world, troubles.rng
    member = troubles.member()
    if member.process is None or any(other.suspect for other in world.members.values()):
        return None
    member.held_down = True
    member.kill()
    places = list(_places_to_rot(member))
    if places:
        path, file, start, end = rng.choice(places)
        position = rng.randrange(start, end)
        world.log("rot", member.name, path, position)
        flipped = file.data[position] ^ (1 << rng.randrange(8))
        file.data[position : position + 1] = file.durable[position : position + 1] = bytes((flipped,))
        member.rotten = True

    def restart() -> None:
        member.held_down = False
        member.boot()

    return restart


def _places_to_rot(member: Member) -> Iterator[tuple[str, File, int, int]]:
    """Yield (path, file, from, to) of what is on a member's disk and must be noticed when it changes."""
    data = member.disk.root.names.get("data")
    if not isinstance(data, Folder):
        return
    snapshots, journal = data.names.get("snapshots"), data.names.get("journal")
    found: list[tuple[str, File | Folder]] = []
    if isinstance(snapshots, Folder):  # of which older ones are of no account
        found += sorted(one for one in snapshots.names.items() if one[0].endswith(".snapshot"))[-1:]
    if isinstance(journal, Folder):
        found += sorted(journal.names.items())
    for name, file in found:
        if isinstance(file, File) and file.data and not file.dirty:
            written = file.data.rstrip(b"\0") if name.endswith(".log") else file.data  # what is behind is of no account
            yield name, file, 0, len(written)


def old_disk(troubles: Troubles) -> End | None:
    """A member gets an empty disk. When that has taken the seat and others lag behind it, its old one comes back.

    Sometimes one of those that lag has got an empty disk meanwhile, too.
    """
    world, rng, network = troubles.world, troubles.rng, troubles.world.network
    member = troubles.member()
    if member.process is None or any(one.suspect for one in world.members.values()):
        return None
    others = [name for name in world.names if name != member.name]
    lagging = set(rng.sample(others, len(others) // 2))
    wiped = world.members[rng.choice(sorted(lagging))] if rng.random() < 0.3 else None
    hasty = rng.random() < 0.2  # then the old one comes back whether or not the new one has got anywhere

    def split(apart: set[str]) -> set[tuple[str, str]]:
        return {pair for pair in itertools.permutations(world.names, 2) if (pair[0] in apart) != (pair[1] in apart)}

    def exchange(*, outdated: bool) -> None:
        member.kill(powerless=rng.random() < 0.5)
        world.log("exchanged disk", member.name, "outdated" if outdated else "")
        member.exchange(outdated=outdated)
        member.boot()

    def wait() -> None:
        nonlocal wiped
        if troubles.ended_s:
            return
        if member.joined and wiped is not None:
            if not any(one.suspect for one in world.members.values() if one is not member):
                world.log("wiped", wiped.name)
                wiped.kill()
                wiped.wipe()
                wiped.boot()
            wiped = None
            world.schedule.after(0.1, wait)
        elif hasty or all(one.joined for one in world.members.values()):
            network.set_cuts(network.cuts | split(lagging))
            world.schedule.after(rng.uniform(0.3, 1.0), come_back)
        else:
            world.schedule.after(0.1, wait)

    def come_back() -> None:
        if troubles.ended_s or member.rotten or member.refused or member.disk.lied:
            return
        joined = member.joined
        if joined or hasty:
            world.stats["old_disks"] += 1
            network.set_cuts(network.cuts - split(lagging) | split(set(others) - lagging))
            exchange(outdated=joined)
            world.schedule.after(rng.uniform(0.5, 2.5), heal)

    def heal() -> None:
        network.set_cuts(network.cuts - split(set(others) - lagging))

    exchange(outdated=False)
    world.schedule.after(rng.uniform(0.0, 1.0), wait)
    return lambda: None


FAULTS: dict[str, Callable[[Troubles], End | None]] = {
    fault.__name__: fault
    for fault in (
        kill, power_cut, kill_voters, stop, pause, sleep, cut, isolate_leader, stale_leader, reset, hostile,
        slow_network, disk_full, fsync_error, disk_stall, clock, client_kill, client_pause, client_sleep, rot, old_disk,
    )
}  # fmt: skip
