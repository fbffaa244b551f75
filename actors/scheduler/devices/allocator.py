"""Which devices claims get on a node: the first way that serves all of them, tried in a fixed order.

Source: dynamic-resource-allocation `structured/internal/incubating/allocator_incubating.go`. Devices of one request
are tried in ascending order only: what a set of devices is worth doesn't depend on the order in which they are taken.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from oarlock.actors.scheduler.devices.capacity import Consumption, consumption, has_room
from oarlock.actors.scheduler.devices.claimed import Ask, Claim, DeviceClass, Request
from oarlock.actors.scheduler.devices.counters import Counters
from oarlock.actors.scheduler.devices.matching import Unanswerable, attribute, chosen, tolerated
from oarlock.actors.scheduler.devices.pools import Pool, pools_of
from oarlock.actors.scheduler.devices.published import Device, DeviceId, PoolId
from oarlock.actors.scheduler.devices.state import Devices

RESULTS_MAX = 32
STEPS_MAX = 20_000
"""Devices tried on one node at most."""
TIMED_OUT = "timed out trying to allocate devices"
CANNOT = "cannot allocate all claims"
_INVALID_POOLS = "invalid resource pools were encountered"


class Unfit(Exception):
    """The node can't serve the claims; the message is for the pod's owner."""


@dataclass(frozen=True, slots=True)
class Given:
    """A device that a request gets, and what it takes of a shared one."""

    ask: Ask
    device: Device
    taken: Consumption | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a search is: the claim, its request, the alternative that was picked (-1: not yet), devices it has.

    `after` is the place in the order of devices behind which the next one of the request is looked for.
    """

    claim: int = 0
    request: int = 0
    ask: int = -1
    count: int = 0
    after: int = -1


def allocate(devices: Devices, claims: Sequence[Claim], node: str, labels: Mapping[str, str]) -> list[list[Given]]:
    """Return what each claim gets on the node. Raises Unfit, or Unanswerable."""
    return _Search(devices, claims, pools_of(devices, node, labels)).result()


class _Search:
    def __init__(self, devices: Devices, claims: Sequence[Claim], pools: Sequence[Pool]) -> None:
        self._devices, self._claims, self._pools = devices, claims, pools
        self._order = [device for pool in pools for device in pool.devices]
        self._shares = any(device.shared for device in self._order)
        self._counters = {pool.id: Counters(pool, devices) for pool in pools if pool.counters}
        self._given: list[list[Given]] = [[] for _ in claims]
        self._used: Counter[tuple[DeviceId, int]] = Counter()
        self._busy: Counter[DeviceId] = Counter()
        self._consumed: dict[DeviceId, Counter[str]] = defaultdict(Counter)
        self._steps = 0
        self._all: dict[tuple[int, str], list[Device]] = {}
        for index, claim in enumerate(claims):
            self._prepare(index, claim)

    def result(self) -> list[list[Given]]:
        stack = [self._options(Position())]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
            elif step.claim >= len(self._claims):
                return self._given
            else:
                stack.append(self._options(step))
        raise Unfit(_INVALID_POOLS if any(pool.invalid for pool in self._pools) else CANNOT)

    def _prepare(self, index: int, claim: Claim) -> None:
        """Find what "all devices" means, and that the claim can be served at all."""
        least = 0
        for request in claim.requests:
            counts = []
            for ask in request.asks:
                if ask.every:
                    self._all[index, ask.name] = self._every(claim, ask)
                counts.append(len(self._all[index, ask.name]) if ask.every else ask.count)
            least += min(counts, default=0)
        if least > RESULTS_MAX:
            raise Unfit(
                f"claim {claim.key}: number of requested devices {least} exceeds the claim limit of {RESULTS_MAX}"
            )

    def _every(self, claim: Claim, ask: Ask) -> list[Device]:
        asking = f"claim {claim.key}, request {ask.name.rpartition('/')[2]}: asks for all devices, but resource pool"
        for pool in self._pools:
            if pool.incomplete:
                raise Unfit(f"{asking} {pool.id} is currently being updated")
            if pool.invalid:
                raise Unfit(f"{asking} {pool.id} is currently invalid")
        return [one for one in self._order if self._selectable(claim, ask, one) and consumption(ask, one) is not None]

    def _class(self, claim: Claim, ask: Ask) -> DeviceClass:
        found = self._devices.classes.get(ask.class_name)
        if found is None:
            asked = f"claim {claim.key}, request {ask.name.rpartition('/')[2]}"
            raise Unanswerable(f"{asked}: could not retrieve device class {ask.class_name}")
        return found

    def _selectable(self, claim: Claim, ask: Ask, device: Device) -> bool:
        return chosen(self._devices, claim, ask, self._class(claim, ask), device)

    def _options(self, at: Position) -> Iterator[Position]:
        """Yield where the search may go from here; a device is kept until the next one is asked for."""
        claim = self._claims[at.claim]
        if at.request >= len(claim.requests):
            yield Position(at.claim + 1)
            return
        request = claim.requests[at.request]
        if at.ask < 0:
            yield from (Position(at.claim, at.request, ask) for ask in range(len(request.asks)))
            return
        ask = request.asks[at.ask]
        every = self._all.get((at.claim, ask.name)) if ask.every else None
        if every is not None and not every:
            return
        wanted = len(every) if every is not None else ask.count
        if at.count >= wanted:
            yield Position(at.claim, at.request + 1)
            return
        if len(self._given[at.claim]) + wanted - at.count > RESULTS_MAX:
            return
        if every is not None:
            yield from self._try(at, request, ask, every[at.count], at.count)
            return
        # Enough must be left for the others of the request, unless one may serve it twice.
        spare = 0 if self._shares else wanted - at.count - 1
        for place in range(at.after + 1, len(self._order) - spare):
            yield from self._try(at, request, ask, self._order[place], place)

    def _try(self, at: Position, request: Request, ask: Ask, device: Device, place: int) -> Iterator[Position]:
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise Unfit(TIMED_OUT)
        given = self._usable(at.claim, request, ask, device, must=ask.every)
        if given is None:
            return
        self._keep(at.claim, given, 1)
        # A shared device may serve one request more than once.
        after = place - 1 if device.shared else place
        yield Position(at.claim, at.request, at.ask, at.count + 1, after)
        self._keep(at.claim, given, -1)

    def _usable(self, index: int, request: Request, ask: Ask, device: Device, *, must: bool) -> Given | None:
        claim = self._claims[index]
        if self._is_in_use(index, ask, device) or not (must or self._selectable(claim, ask, device)):
            return None
        taken = consumption(ask, device)
        if taken is None or not tolerated(ask, device):
            return None
        shares = device.shared and not ask.admin
        if shares and not has_room(device, taken, self._devices.consumed(device.id), self._consumed[device.id]):
            return None
        if not ask.admin and device.consumes and not self._counters[_pool(device)].has_room(device):
            return None
        if not self._meets_constraints(index, request, ask, device):
            if must:
                name = ask.name.rpartition("/")[2]
                why = f"cannot add device {device.id} because a claim constraint would not be satisfied"
                raise Unanswerable(f"claim {claim.key}, request {name}: {why}")
            return None
        return Given(ask, device, taken if device.shared else None)

    def _is_in_use(self, index: int, ask: Ask, device: Device) -> bool:
        if ask.admin:
            return not device.shared and self._used[device.id, index] > 0
        return self._devices.is_taken(device.id) or self._busy[device.id] > 0

    def _meets_constraints(self, index: int, request: Request, ask: Ask, device: Device) -> bool:
        for one in self._claims[index].constraints:
            if one.requests and not one.requests & {request.name, ask.name}:
                continue
            value = attribute(device, one.attribute)
            if value is None:
                return False
            others = [
                attribute(given.device, one.attribute)
                for given in self._given[index]
                if not one.requests or one.requests & {given.ask.request, given.ask.name}
            ]
            if one.distinct and value in others:
                return False
            if not one.distinct and others and value != others[0]:
                return False
        return True

    def _keep(self, index: int, given: Given, sign: int) -> None:
        device = given.device
        if sign > 0:
            self._given[index].append(given)
        else:
            self._given[index].pop()
        if device.shared:
            if not given.ask.admin:
                for name, amount in (given.taken or {}).items():
                    self._consumed[device.id][name] += sign * amount.nano
            return
        self._used[device.id, index] += sign
        if not given.ask.admin:
            self._busy[device.id] += sign
            if device.consumes:
                self._counters[_pool(device)].take(device, sign)


def _pool(device: Device) -> PoolId:
    return PoolId(device.id.driver, device.id.pool)
