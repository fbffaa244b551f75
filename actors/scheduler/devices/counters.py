"""Counters that the devices of a pool share: parts of one whole can't be had together with it. Source: KEP-4815."""

from __future__ import annotations

from oarlock.actors.scheduler.devices.pools import Pool
from oarlock.actors.scheduler.devices.published import Device
from oarlock.actors.scheduler.devices.state import Devices


class Counters:
    """What is left of a pool's counters."""

    def __init__(self, pool: Pool, devices: Devices) -> None:
        sets = (pool.counters or {}).items()
        self._left = {(name, counter): amount for name, given in sets for counter, amount in given.items()}
        for device in (*pool.devices, *pool.others):
            if devices.is_taken(device.id) or devices.consumed(device.id):
                self.take(device, 1)

    def has_room(self, device: Device) -> bool:
        return all(amount <= self._left[name, counter] for name, counter, amount in device.consumes)

    def take(self, device: Device, sign: int) -> None:
        for name, counter, amount in device.consumes:
            self._left[name, counter] -= sign * amount
