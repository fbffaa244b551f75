"""What one replica of a store shows of itself, asked over one connection of a `StoreClient`."""

from __future__ import annotations

from oarlock.consensus.encoding import decoder, encode
from oarlock.consensus.link import Link
from oarlock.consensus.model import MemberStatus, Range, RangeResult
from oarlock.consensus.wire import Kind

_member_status = decoder(MemberStatus)
_range_result = decoder(RangeResult)


async def name_of(link: Link, deadline_s: float) -> str:
    """Return the replica's name. Raises StoreError, and TimeoutError at the deadline of the loop's clock."""
    status = await link.request(Kind.STATUS, b"", deadline_s, for_leader=False)
    return _member_status.decode(status).name


async def read_at(link: Link, request: Range, deadline_s: float) -> RangeResult:
    """Return a serializable read of the replica's own state. Raises as `name_of`."""
    answer = link.request(Kind.RANGE, encode((request, True)), deadline_s, for_leader=False)
    await answer
    result = _range_result.decode(answer.result())
    return result._replace(kvs=tuple(answer.parts)) if answer.parts else result
