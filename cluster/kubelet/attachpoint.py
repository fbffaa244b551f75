"""Where an agent joins a container's streams: the keeper's side of a Unix socket in the container's folder.

Part of the keeper (see shim.py): imports built-in modules and _socket only. Each message is one packet, a letter and
its content. To the agent go "o" and "e" with what the container writes to standard output and error. From the agent
come "i" with input, "x" for the input's end and "r" with a terminal's columns and rows.

An agent that reads slower than the container writes slows the container down; one that reads nothing for
SEND_TIMEOUT_S is cut off.
"""

import _socket
import posix
import select
from sys import byteorder

NAME = "attach"
PACKET_BYTES = 32768
SEND_TIMEOUT_S = 10
CLIENTS_MAX = 64


class AttachPoint:
    """The container's input, and those who are attached."""

    def __init__(self, folder: str, poll: "select.poll", stdin: int, *, once: bool, tty: bool) -> None:
        """`stdin` is what the container reads from, -1 for nothing; `once` lets the first user's end close it."""
        self._poll = poll
        self._stdin = stdin
        self._once = once
        self._tty = tty
        self._pending = b""
        self._waiting = False
        self._closing = False
        self._clients: dict[int, _socket.socket] = {}
        self._listener = _listen(folder)
        poll.register(self._listener.fileno(), select.POLLIN)

    def handle(self, descriptor: int) -> bool:
        """Do what the descriptor asks for; tell whether it is one of ours."""
        if descriptor == self._listener.fileno():
            self._accept()
        elif descriptor in self._clients:
            self._receive(self._clients[descriptor])
        elif self._waiting and descriptor == self._stdin:
            self._pump()
        else:
            return False
        return True

    def send(self, letter: bytes, data: bytes) -> None:
        """Show everybody attached what the container wrote."""
        for client in list(self._clients.values()):
            for start in range(0, len(data), PACKET_BYTES):
                try:
                    client.send(letter + data[start : start + PACKET_BYTES])
                except OSError:
                    self._drop(client)
                    break

    def _accept(self) -> None:
        try:
            descriptor, _ = self._listener._accept()  # type: ignore[attr-defined] # noqa: SLF001
        except OSError:
            return
        client = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, descriptor)
        if len(self._clients) >= CLIENTS_MAX:
            client.close()
            return
        client.settimeout(SEND_TIMEOUT_S)
        self._clients[descriptor] = client
        self._poll.register(descriptor, 0 if self._waiting else select.POLLIN)

    def _drop(self, client: "_socket.socket") -> None:
        descriptor = client.fileno()
        self._poll.unregister(descriptor)
        del self._clients[descriptor]
        client.close()

    def _receive(self, client: "_socket.socket") -> None:
        try:
            packet = client.recv(PACKET_BYTES + 1)
        except OSError:
            packet = b""
        letter, content = packet[:1], packet[1:]
        if not packet:
            self._drop(client)
        elif letter == b"i" and self._stdin >= 0:
            self._pending += content
            self._pump()
        elif letter == b"x" and self._once and not self._tty:
            self._closing = True
            self._pump()
        elif letter == b"r" and self._tty:
            self._resize(content)

    def _pump(self) -> None:
        """Hand over input; while the container has no room for it, take no more."""
        try:
            if self._pending:
                self._pending = self._pending[posix.write(self._stdin, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self._pending, self._closing = b"", True
        if self._waiting != bool(self._pending):
            self._waiting = bool(self._pending)
            for descriptor in self._clients:
                self._poll.modify(descriptor, 0 if self._waiting else select.POLLIN)
            if self._waiting:
                self._poll.register(self._stdin, select.POLLOUT)
            else:
                self._poll.unregister(self._stdin)
        if self._closing and not self._pending and self._stdin >= 0:
            posix.close(self._stdin)
            self._stdin = -1

    def _resize(self, content: bytes) -> None:
        from fcntl import ioctl
        from termios import TIOCSWINSZ

        if self._stdin >= 0:
            columns, rows = (int(number) & 0xFFFF for number in content.split())
            ioctl(self._stdin, TIOCSWINSZ, rows.to_bytes(2, byteorder) + columns.to_bytes(2, byteorder) + bytes(4))


def _listen(folder: str) -> "_socket.socket":
    # Relative to the folder: a socket's whole path may have 107 bytes only.
    posix.chdir(folder)
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    listener.bind(NAME)
    listener.listen(8)
    posix.chdir("/")
    return listener
