"""From the decision to the bound pod: what each step reserves, waits for and does, and how it is all taken back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from oarlock.actors.scheduler.extender import Extender
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Handle, PluginFailed, Step, StepDefaults, StepFailed
from oarlock.actors.scheduler.guarding import limited, named
from oarlock.actors.scheduler.plugin import Plugin
from oarlock.actors.scheduler.profile import Profile
from oarlock.actors.scheduler.reporting import Reporter
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.objects.status import ApiError

FOREIGN_STEP_S = 600.0
"""How long a plugin of one's own may take before the binding, or with it: as long as volumes may."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reservation:
    """What the steps keep for a pod on a node; `parts` holds those that keep anything."""

    pod: PodFacts
    node: str
    profile: Profile
    parts: tuple[tuple[Step, object], ...]

    @property
    def may_wait(self) -> bool:
        """Whether binding may take longer than a request to the API server."""
        return bool(self.parts) or any(_overrides(step, "permit") for step in self.profile.steps)


def reserve(pod: PodFacts, node: str, profile: Profile, handle: Handle) -> Reservation:
    """Reserve with every step, or with none if one raises. Raises PluginFailed."""
    parts: list[tuple[Step, object]] = []
    try:
        for step in profile.steps:
            kept = _called(step, "reserve", lambda step=step: step.reserve(pod, node, handle.snapshot))  # type: ignore[misc]
            if kept is not None:
                parts.append((step, kept))
    except BaseException:
        unreserve(Reservation(pod, node, profile, tuple(parts)), handle)
        raise
    return Reservation(pod, node, profile, tuple(parts))


def unreserve(reservation: Reservation, handle: Handle) -> None:
    """Give everything back, last first."""
    pod, node = reservation.pod, reservation.node
    for step, kept in reversed(reservation.parts):
        _told(step, "unreserve", lambda step=step, kept=kept: step.unreserve(pod, node, kept, handle.snapshot))  # type: ignore[misc]


async def bind(
    reservation: Reservation, handle: Handle, reporter: Reporter, extenders: Iterable[Extender] = ()
) -> None:
    """Bind the pod once every step agrees. Raises StepFailed, ExtenderFailed, or what ApiClient raises."""
    pod, node, profile = reservation.pod, reservation.node, reservation.profile
    try:
        async with asyncio.timeout(profile.permit_s):
            for step in profile.steps:
                if _overrides(step, "permit"):
                    await _awaited(step, "permit", step.permit(pod, node), None)
    except TimeoutError:
        raise StepFailed("timed out while waiting on permit") from None
    kept = {step.name: one for step, one in reservation.parts}
    for step in profile.steps:
        if step.name in kept or (_overrides(step, "pre_bind") and not _overrides(step, "reserve")):
            await _awaited(step, "pre-bind", step.pre_bind(pod, node, kept.get(step.name), handle), FOREIGN_STEP_S)
    if await _bound_elsewhere(reservation, handle, extenders):
        reporter.say_bound(pod, node)
    else:
        await reporter.bind(pod, node)
    for step in profile.steps:
        _told(step, "post-bind", lambda step=step: step.post_bind(pod, node))  # type: ignore[misc]


async def _bound_elsewhere(reservation: Reservation, handle: Handle, extenders: Iterable[Extender]) -> bool:
    pod, node = reservation.pod, reservation.node
    for extender in extenders:
        if await extender.bind(pod, node):
            return True
    for step in reservation.profile.steps:
        if _overrides(step, "bind") and await _awaited(step, "bind", step.bind(pod, node, handle), FOREIGN_STEP_S):
            return True
    return False


def _overrides(step: Step, method: str) -> bool:
    return getattr(type(step), method) is not getattr(StepDefaults, method)


def _called(step: Step, kind: str, call: Callable[[], T]) -> T:
    """Return what the step returns; foreign code is cut off when it hangs. Raises PluginFailed."""
    return limited(lambda: named(step.name, kind, call)) if isinstance(step, Plugin) else call()


def _told(step: Step, kind: str, call: Callable[[], None]) -> None:
    """Tell the step what has happened, which its failure doesn't change."""
    try:
        _called(step, kind, call)
    except PluginFailed as failure:
        _log.error("plugin failed error=%r", str(failure))


async def _awaited(step: Step, kind: str, work: Awaitable[T], limit_s: float | None) -> T:
    """Return what comes of a step's work; foreign code has so long, and is named. Raises as the step may."""
    if not isinstance(step, Plugin):
        return await work
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            return await work
    except (StepFailed, ApiError, Unreachable):
        raise
    except Exception as error:
        if limit.expired():
            raise StepFailed(f'running "{step.name}" {kind} plugin: cut off after {limit_s:g} s') from None
        raise StepFailed(f'running "{step.name}" {kind} plugin: {type(error).__name__}: {error}') from error
