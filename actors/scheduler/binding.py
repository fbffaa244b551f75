"""From the decision to the bound pod: what each step reserves, waits for and does, and how it is all taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from oarlock.actors.scheduler.extender import Extender
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Handle, Step, StepDefaults, StepFailed
from oarlock.actors.scheduler.profile import Profile
from oarlock.actors.scheduler.reporting import Reporter


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
    """Reserve with every step, or with none if one raises."""
    parts: list[tuple[Step, object]] = []
    try:
        for step in profile.steps:
            kept = step.reserve(pod, node, handle.snapshot)
            if kept is not None:
                parts.append((step, kept))
    except BaseException:
        unreserve(Reservation(pod, node, profile, tuple(parts)), handle)
        raise
    return Reservation(pod, node, profile, tuple(parts))


def unreserve(reservation: Reservation, handle: Handle) -> None:
    """Give everything back, last first."""
    for step, kept in reversed(reservation.parts):
        step.unreserve(reservation.pod, reservation.node, kept, handle.snapshot)


async def bind(
    reservation: Reservation, handle: Handle, reporter: Reporter, extenders: Iterable[Extender] = ()
) -> None:
    """Bind the pod once every step agrees. Raises StepFailed, ExtenderFailed, or what ApiClient raises."""
    pod, node, profile = reservation.pod, reservation.node, reservation.profile
    try:
        async with asyncio.timeout(profile.permit_s):
            for step in profile.steps:
                if _overrides(step, "permit"):
                    await step.permit(pod, node)
    except TimeoutError:
        raise StepFailed("timed out while waiting on permit") from None
    kept = {step.name: one for step, one in reservation.parts}
    for step in profile.steps:
        if step.name in kept or (_overrides(step, "pre_bind") and not _overrides(step, "reserve")):
            await step.pre_bind(pod, node, kept.get(step.name), handle)
    if await _bound_elsewhere(reservation, handle, extenders):
        reporter.say_bound(pod, node)
    else:
        await reporter.bind(pod, node)
    for step in profile.steps:
        step.post_bind(pod, node)


async def _bound_elsewhere(reservation: Reservation, handle: Handle, extenders: Iterable[Extender]) -> bool:
    pod, node = reservation.pod, reservation.node
    for extender in extenders:
        if await extender.bind(pod, node):
            return True
    for step in reservation.profile.steps:
        if _overrides(step, "bind") and await step.bind(pod, node, handle):
            return True
    return False


def _overrides(step: Step, method: str) -> bool:
    return getattr(type(step), method) is not getattr(StepDefaults, method)
