"""What the replicated log carries: commands to the machine, and the outcomes it answers with."""

from __future__ import annotations

from typing import NamedTuple

from oarlock.consensus.model import Compacted, LeaseStatus, StoreError, Transaction, TransactionResult


class Grant(NamedTuple):
    """Make a lease; id 0 lets the machine choose one."""

    lease: int
    ttl_ms: int


class Revoke(NamedTuple):
    """End a lease and delete its keys."""

    lease: int


class Compact(NamedTuple):
    """Forget what precedes `revision`."""

    revision: int


Action = Transaction | Grant | Revoke | Compact


class Command(NamedTuple):
    """An action with its request id: a repeat of (`client`, `sequence`) gets the first outcome and changes nothing.

    The client has the outcomes of all its sequences below `acknowledged`. Client 0 asks for no such promise.
    """

    action: Action
    client: int = 0
    sequence: int = 0
    acknowledged: int = 0


Outcome = TransactionResult | LeaseStatus | int | StoreError
"""An error is returned, never raised; a revoke and a compaction answer with the revision after them."""


def fresh(error: StoreError) -> StoreError:
    """Return a like error to raise: one that is remembered must not collect the tracebacks of its raisings."""
    if isinstance(error, Compacted):
        return Compacted(error.compact_revision)
    return type(error)(*error.args)
