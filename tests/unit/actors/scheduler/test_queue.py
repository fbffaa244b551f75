"""Who is scheduled next, and when a refused pod gets another chance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.plugins import FILTERS
from oarlock.actors.scheduler.queue import Rules, SchedulingQueue

MakePod = Callable[..., PodFacts]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[SchedulingQueue, Clock]:
    clock = Clock()
    return SchedulingQueue(FILTERS, clock=clock), clock


async def popped(queue: SchedulingQueue) -> tuple[str, int] | None:
    """The next pod and its attempt, or None if nobody is ready now."""
    task = asyncio.ensure_future(queue.pop())
    for _ in range(3):
        await asyncio.sleep(0)
    if not task.done():
        task.cancel()
        return None
    pod, attempt = task.result()
    return pod.name, attempt


def test_priority_first_then_first_come(make_pod: MakePod) -> None:
    async def story() -> None:
        queue, _ = make()
        for name, priority in (("low", 0), ("first", 5), ("second", 5)):
            queue.add(make_pod(name, priority=priority))
        assert [await popped(queue) for _ in range(4)] == [("first", 1), ("second", 1), ("low", 1), None]

    asyncio.run(story())


def test_a_change_that_concerns_nobody_wakes_nobody(make_pod: MakePod) -> None:
    async def story() -> None:
        queue, clock = make()
        queue.refuse(make_pod(), frozenset(("NodeResourcesFit",)), 1)
        clock.now += 20
        queue.note("NodeTaintChanged")
        assert await popped(queue) is None
        queue.note("AssignedPodDeleted")
        assert await popped(queue) == ("p", 2)

    asyncio.run(story())


def test_back_off_doubles_to_ten_seconds(make_pod: MakePod) -> None:
    async def story() -> None:
        queue, clock = make()
        pod = make_pod()
        for attempts, pause in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (9, 10)):
            queue.fail(pod, attempts)
            clock.now += pause - 0.01
            assert await popped(queue) is None
            clock.now += 0.02
            assert await popped(queue) == ("p", attempts + 1)

    asyncio.run(story())


def test_back_off_is_cut_short_while_nobody_else_is_ready(make_pod: MakePod) -> None:
    """Source: KEP-5142, on by default since v1.33."""

    async def story() -> None:
        queue, clock = make()
        for name, priority, attempts in (("lesser", 1, 4), ("greater", 9, 4), ("soon", 0, 1)):
            queue.refuse(make_pod(name, priority=priority), frozenset(("NodeResourcesFit",)), attempts)
        queue.fail(make_pod("wrong"), 1)
        queue.note("AssignedPodDeleted")
        queue.add(make_pod("new"))
        # Who is ready goes first; then who would be ready sooner; in the same second the more important.
        assert [await popped(queue) for _ in range(5)] == [
            ("new", 1),
            ("soon", 2),
            ("greater", 5),
            ("lesser", 5),
            None,
        ]
        clock.now += 1.01
        assert await popped(queue) == ("wrong", 2)

    asyncio.run(story())


def test_another_order_holds_for_those_backing_off_too(make_pod: MakePod) -> None:
    async def story() -> None:
        queue, _ = make()
        for name, priority in (("a", 1), ("b", 9)):
            queue.refuse(make_pod(name, priority=priority), frozenset(("NodeResourcesFit",)), 4)
        queue.note("AssignedPodDeleted")
        queue.use(Rules(tuple(FILTERS), order=lambda pod: pod.name))
        queue.refuse(make_pod("aa"), frozenset(("NodeResourcesFit",)), 4)
        queue.note("AssignedPodDeleted")
        assert [await popped(queue) for _ in range(4)] == [("a", 5), ("aa", 5), ("b", 5), None]

    asyncio.run(story())


def test_who_left_while_backing_off_does_not_come_early(make_pod: MakePod) -> None:
    async def story() -> None:
        queue, clock = make()
        for name in ("gone", "gated"):
            queue.refuse(make_pod(name), frozenset(("NodeResourcesFit",)), 4)
        queue.note("AssignedPodDeleted")
        queue.remove("default/gone")
        queue.add(make_pod("gated", schedulingGates=[{"name": "quota"}]))
        assert await popped(queue) is None
        clock.now += 100
        assert await popped(queue) is None

    asyncio.run(story())


def test_where_a_pod_stands_is_told(make_pod: MakePod) -> None:
    queue, clock = make()
    queue.refuse(make_pod("refused"), frozenset(("NodeName",)), 2)
    queue.fail(make_pod("wrong"), 3)
    queue.add(make_pod("gated", schedulingGates=[{"name": "quota"}]))
    queue.add(make_pod("new"))
    clock.now += 1
    told = {name: queue.standing(f"default/{name}") for name in ("refused", "wrong", "gated", "new", "unknown")}
    places = {name: None if one is None else (one.place, one.attempts, one.due_s) for name, one in told.items()}
    assert places == {
        "refused": ("unschedulable", 2, 299.0),
        "wrong": ("backoff", 3, 3.0),
        "gated": ("gated", 0, None),
        "new": ("active", 0, None),
        "unknown": None,
    }


def test_a_refused_pod_is_tried_again_after_five_minutes(make_pod: MakePod) -> None:
    async def story() -> None:
        queue, clock = make()
        queue.refuse(make_pod(), frozenset(("NodeAffinity",)), 3)
        clock.now += 299
        assert await popped(queue) is None
        clock.now += 2
        assert await popped(queue) == ("p", 4)

    asyncio.run(story())


def test_gates_hold_a_pod_until_they_are_gone(make_pod: MakePod) -> None:
    async def story() -> None:
        queue, _ = make()
        queue.add(make_pod(schedulingGates=[{"name": "quota"}]))
        queue.note("NodeAdded")
        assert await popped(queue) is None
        queue.add(make_pod())
        assert await popped(queue) == ("p", 1)

    asyncio.run(story())


def test_a_removed_pod_never_comes_out(make_pod: MakePod) -> None:
    async def story() -> None:
        queue, clock = make()
        queue.add(make_pod())
        queue.remove("default/p")
        queue.refuse(make_pod("q"), frozenset(("NodeName",)), 1)
        queue.remove("default/q")
        clock.now += 1000
        assert await popped(queue) is None
        assert not len(queue)

    asyncio.run(story())
