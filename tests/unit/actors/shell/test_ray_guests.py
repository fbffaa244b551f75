"""Guests on somebody else's Ray: when they are placed, with a stand-in for the process that places them."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from oarlock.actors.shell import ray_guests
from oarlock.actors.shell.ray_guests import REFUSED, Guest, GuestsRefused, GuestsSettings, RayGuests
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.settings import ClientSettings

GUESTS = (Guest("scheduler", "x:create", "kube-scheduler", "{}"),)


class Host:
    """A Ray cluster that notes what it is asked; `targets` is what the API tells, None while it doesn't answer."""

    def __init__(self, folder: Path, *, alone: bool = True, status: int = 0) -> None:
        self._notes = folder / "notes"
        self._notes.touch()
        note = f"open({str(self._notes)!r}, 'a').write(sys.stdin.read() + chr(10))"
        script = f"import sys; {note}; print('too old'); sys.exit({status})"
        settings = GuestsSettings("10.9.0.20:6379", "oarlock-0123", ClientSettings("http://127.0.0.1:1"), GUESTS, alone)
        self.guests = RayGuests(settings, [sys.executable, "-c", script])
        self.targets: list[dict[str, Any]] | None = copies(2)
        self.guests._client.get = self._get  # type: ignore[method-assign]

    async def _get(self, *_: object, **__: object) -> Any:
        if self.targets is None:
            raise Unreachable("nobody answers", sent=False)
        return self.targets

    @property
    def asked(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._notes.read_text().splitlines()]


def copies(number: int) -> list[dict[str, Any]]:
    others: dict[str, Any] = {"labels": {"job": "store"}}
    return [others, *({"labels": {"job": "kube-scheduler"}} for _ in range(number))]


def test_guests_are_made_anew_at_the_start_and_taken_away_at_the_stop(tmp_path: Path) -> None:
    async def main() -> None:
        host = Host(tmp_path)
        await host.guests.start()
        await host.guests.stop()
        await host.guests.stop()
        first, last = host.asked
        assert (first["replace"], [guest["name"] for guest in first["guests"]]) == (True, ["scheduler"])
        assert first["namespace"] == "oarlock-0123"
        assert (last["replace"], last["guests"]) == (True, [])

    asyncio.run(main())


def test_of_several_servers_none_takes_the_others_guests_away(tmp_path: Path) -> None:
    async def main() -> None:
        host = Host(tmp_path, alone=False)
        await host.guests.start()
        await host.guests.stop()
        (only,) = host.asked
        assert not only["replace"]

    asyncio.run(main())


def test_a_refusal_is_told_in_its_own_words(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(GuestsRefused, match="^too old$"):
            await Host(tmp_path, status=REFUSED).guests.start()
        with pytest.raises(GuestsRefused, match=r"10\.9\.0\.20:6379 failed"):
            await Host(tmp_path, status=1).guests.start()

    asyncio.run(main())


@pytest.mark.parametrize(("targets", "missing"), [(copies(2), False), (copies(1), True), ([], True), (None, False)])
def test_too_few_copies_are_missed_but_not_while_nobody_can_tell(
    tmp_path: Path, targets: list[dict[str, Any]] | None, *, missing: bool
) -> None:
    host = Host(tmp_path)
    host.targets = targets
    assert asyncio.run(host.guests._missing()) == missing


def test_what_ray_has_forgotten_is_placed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_guests, "LOOK_S", 0.001)
    monkeypatch.setattr(ray_guests, "AGAIN_S", 0.001)

    async def main() -> None:
        host = Host(tmp_path)
        await host.guests.start()
        host.targets = copies(0)
        while len(host.asked) < 2:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
        host.targets = copies(2)
        await host.guests.stop()
        assert not host.asked[1]["replace"]

    asyncio.run(main())
