"""The commands: a table of names, the number of arguments that each takes, and what it does with the database.

They are those that Ray's GCS sends, with Redis' meanings, and FLUSHDB. Source: redis.io/commands; Ray 2.60,
gcs/store_client.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from oarlock.consensus.resp import replies
from oarlock.consensus.resp.database import Database, Guard, Refused, integer
from oarlock.consensus.resp.patterns import Pattern, compiled

SCAN_COUNT: Final = 10
SCAN_COUNT_MAX: Final = 1_000
CURSORS_MAX: Final = 64
_INFORMATION: Final = {
    b"cluster": b"# Cluster\r\ncluster_enabled:0\r\n",
    b"server": b"# Server\r\nredis_mode:standalone\r\n",
}

Arguments = Sequence[bytes]


class NoGuard(Exception):
    """A write from a session that hasn't named its lease."""


class Cursors:
    """Where the scans of one session go on: Redis' cursors are numbers. The oldest of too many is forgotten."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[bytes, bytes]] = {}
        self._last = 0

    def leave(self, name: bytes, after: bytes) -> int:
        """Return the cursor of a scan of hash `name` that has seen everything up to `after`."""
        self._last += 1
        self._places[self._last] = (name, after)
        if len(self._places) > CURSORS_MAX:
            del self._places[next(iter(self._places))]
        return self._last

    def find(self, name: bytes, cursor: int) -> bytes | None:
        """Return where to go on; None for cursor 0, the beginning. Raises Refused."""
        if cursor == 0:
            return None
        place = self._places.get(cursor)
        if place is None or place[0] != name:
            raise Refused("invalid cursor")
        return place[1]


class Context:
    """What commands work on: the database, and the session's guard and cursors."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.cursors = Cursors()
        self.held: Guard | None = None

    @property
    def guard(self) -> Guard:
        if self.held is None:
            raise NoGuard
        return self.held


async def _ping(_: Context, arguments: Arguments) -> bytes:
    return replies.bulk(arguments[0]) if arguments else replies.PONG


async def _info(_: Context, arguments: Arguments) -> bytes:
    sections = [section.lower() for section in arguments] or list(_INFORMATION)
    return replies.bulk(b"\r\n".join(_INFORMATION[section] for section in sections if section in _INFORMATION))


async def _hget(context: Context, arguments: Arguments) -> bytes:
    return replies.bulk(await context.database.get(*arguments))


async def _hmget(context: Context, arguments: Arguments) -> bytes:
    name, *fields = arguments
    return replies.array(replies.bulk(value) for value in await context.database.get_many(name, fields))


async def _hexists(context: Context, arguments: Arguments) -> bytes:
    return replies.integer(await context.database.get(*arguments) is not None)


async def _hset(context: Context, arguments: Arguments) -> bytes:
    name, *pairs = arguments
    if len(pairs) % 2:
        raise Refused("wrong number of arguments for 'hset' command")
    values = dict(zip(pairs[::2], pairs[1::2], strict=True))
    return replies.integer(await context.database.put(name, values, context.guard))


async def _hsetnx(context: Context, arguments: Arguments) -> bytes:
    name, field, value = arguments
    return replies.integer(await context.database.put_new(name, field, value, context.guard))


async def _hdel(context: Context, arguments: Arguments) -> bytes:
    name, *fields = arguments
    return replies.integer(await context.database.remove(name, fields, context.guard))


async def _hscan(context: Context, arguments: Arguments) -> bytes:
    name, cursor, *options = arguments
    pattern, count = _scan_options(options)
    after = context.cursors.find(name, _cursor(cursor))
    page = await context.database.page(name, pattern.prefix, after, count)
    following = context.cursors.leave(name, page.fields[-1][0]) if page.more else 0
    found = [part for field, value in page.fields if pattern.matches(field) for part in (field, value)]
    return replies.array((replies.bulk(b"%d" % following), replies.array(map(replies.bulk, found))))


def _scan_options(options: Arguments) -> tuple[Pattern, int]:
    if len(options) % 2:
        raise Refused("syntax error")
    given = {name.upper(): value for name, value in zip(options[::2], options[1::2], strict=True)}
    pattern, count = given.pop(b"MATCH", b"*"), integer(given.pop(b"COUNT", b"%d" % SCAN_COUNT))
    if given or count < 1:
        raise Refused("syntax error")
    return compiled(pattern), min(count, SCAN_COUNT_MAX)


def _cursor(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise Refused("invalid cursor")
    return int(text)


async def _del(context: Context, arguments: Arguments) -> bytes:
    return replies.integer(await context.database.drop(arguments, context.guard))


async def _incrby(context: Context, arguments: Arguments) -> bytes:
    name, amount = arguments
    return replies.integer(await context.database.add(name, integer(amount), context.guard))


async def _flushdb(context: Context, _: Arguments) -> bytes:
    await context.database.clear(context.guard)
    return replies.OK


class Entry(NamedTuple):
    """A command takes `least` to `most` arguments."""

    run: Callable[[Context, Arguments], Awaitable[bytes]]
    least: int
    most: int


_ANY: Final = 1 << 30

COMMANDS: Final[Mapping[bytes, Entry]] = {
    b"PING": Entry(_ping, 0, 1),
    b"INFO": Entry(_info, 0, _ANY),
    b"HGET": Entry(_hget, 2, 2),
    b"HMGET": Entry(_hmget, 2, _ANY),
    b"HEXISTS": Entry(_hexists, 2, 2),
    b"HSCAN": Entry(_hscan, 2, 6),
    b"HSET": Entry(_hset, 3, _ANY),
    b"HSETNX": Entry(_hsetnx, 3, 3),
    b"HDEL": Entry(_hdel, 2, _ANY),
    b"DEL": Entry(_del, 1, _ANY),
    b"UNLINK": Entry(_del, 1, _ANY),
    b"INCRBY": Entry(_incrby, 2, 2),
    b"FLUSHDB": Entry(_flushdb, 0, 1),
}
