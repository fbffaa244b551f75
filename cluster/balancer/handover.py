"""Connections given away whole: an API server of this host takes the socket itself, and no byte passes through here."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from oarlock.cluster.giving import NEWS_BYTES, NUMBER, TAKEN


@dataclass(slots=True)
class _Given:
    """A connection that the other end has; our own descriptor of it is only there to cut it."""

    client: socket.socket
    ended: Callable[[], None]
    is_taken: bool = False


class Handover:
    """The way to one API server. `again` gets the connections that it died over before it had taken them."""

    def __init__(self, path: str, again: Callable[[socket.socket], None]) -> None:
        self._path = path
        self._again = again
        self._channel: socket.socket | None = None
        self._given: dict[int, _Given] = {}
        self._numbers = count(1)

    def give(self, client: socket.socket, ended: Callable[[], None]) -> Callable[[], None]:
        """Give a connection away and return what cuts it; `ended` is told once when it is over here.

        Raises OSError if the other end doesn't take any at present; the connection is still the caller's then.
        """
        channel = self._open()
        number = next(self._numbers)
        socket.send_fds(channel, [NUMBER.pack(number)], [client.fileno()])
        self._given[number] = _Given(client, ended)

        def cut() -> None:
            if number in self._given:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
                self._forget(number)

        return cut

    def close(self) -> None:
        """Give no more. What was given is the other end's alone from now on."""
        channel, self._channel = self._channel, None
        if channel is not None:
            asyncio.get_running_loop().remove_reader(channel)
            channel.close()
        for number in list(self._given):
            self._forget(number)

    def _open(self) -> socket.socket:
        if self._channel is None:
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                channel.settimeout(0)
                channel.connect(self._path)
            except OSError:
                channel.close()
                raise
            asyncio.get_running_loop().add_reader(channel, self._readable)
            self._channel = channel
        return self._channel

    def _readable(self) -> None:
        assert self._channel is not None
        try:
            while news := self._channel.recv(NEWS_BYTES):
                self._hear(news)
        except BlockingIOError:
            return
        except OSError:
            pass  # it has broken, which is an end like any other
        self._ended()

    def _hear(self, news: bytes) -> None:
        (number,) = NUMBER.unpack(news[1:])
        given = self._given.get(number)
        if given is None:
            return
        if news[:1] == TAKEN:
            given.is_taken = True
        else:
            self._forget(number)

    def _ended(self) -> None:
        """The other end is gone, and with it what it held. Nobody has read from a connection that it hadn't taken."""
        untaken = [given for given in self._given.values() if not given.is_taken]
        spared = [given.client.dup() for given in untaken]
        self.close()
        for client in spared:
            self._again(client)

    def _forget(self, number: int) -> None:
        given = self._given.pop(number)
        given.client.close()
        given.ended()
