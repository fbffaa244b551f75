"""Streams as channels of a WebSocket: each message begins with the number of its channel.

Source: upstream's wsstream. In the binary protocols the number is a byte, in the base64 ones a digit before base64
text; the message 255 N of v5 ends channel N.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

from oarlock.cluster.kubelet.streaming.inbox import Inbox
from oarlock.cluster.kubelet.streaming.websocket import Messages

CLOSE = 255


class Channel:
    """One numbered stream."""

    headers: Mapping[str, str] = {}

    def __init__(self, channels: Channels, number: int, *, readable: bool) -> None:
        self._channels = channels
        self._number = number
        self.inbox = Inbox()
        if not readable:
            self.inbox.discard()

    async def read(self) -> bytes:
        return await self.inbox.read()

    async def write(self, data: bytes) -> None:
        await self._channels.send(self._number, data)

    async def close(self) -> None:
        """Nothing is sent: to the client a channel ends with the connection."""

    def discard(self) -> None:
        self.inbox.discard()


class Channels:
    """An open WebSocket's channels. `readable` says of each whether the client may send on it."""

    def __init__(self, socket: Messages, readable: Sequence[bool]) -> None:
        self._socket = socket
        self._text = "base64." in socket.protocol
        self._closable = socket.protocol.startswith("v5.")
        self.channels = [Channel(self, number, readable=may) for number, may in enumerate(readable)]

    async def run(self) -> None:
        """Return once the client is gone; all channels are broken then."""
        try:
            while (message := await self._socket.receive()) is not None:
                if message:
                    await self._take(message[0], message[1:])
        except ConnectionError:
            pass
        finally:
            for channel in self.channels:
                channel.inbox.end(broken=True)

    async def send(self, number: int, data: bytes) -> None:
        """Send one message. Raises ConnectionError."""
        if self._text:
            await self._socket.send(chr(ord("0") + number) + base64.b64encode(data).decode())
        else:
            await self._socket.send(bytes((number,)) + data)

    async def leave(self) -> None:
        """End the connection, once the client has agreed or a time is over."""
        for channel in self.channels:
            channel.discard()
        await self._socket.close()

    async def _take(self, number: int, data: bytes) -> None:
        if self._closable and number == CLOSE:
            if len(data) == 1 and data[0] < len(self.channels):
                self.channels[data[0]].inbox.end()
            return
        if self._text:
            number -= ord("0")
            try:
                data = base64.b64decode(data, validate=True)
            except binascii.Error:
                return
        if 0 <= number < len(self.channels):
            inbox = self.channels[number].inbox
            inbox.put(data)
            await inbox.room()
