"""What a request must be before it may enter the log: sizes, pairings, no key written twice."""

from __future__ import annotations

from oarlock.consensus.index import holds
from oarlock.consensus.model import (
    OPERATIONS_MAX,
    REQUEST_BYTES_MAX,
    Compare,
    Delete,
    InvalidRequest,
    Operation,
    Put,
    Range,
    Transaction,
)

NUMBER_MAX = (1 << 63) - 1
LEASE_TTL_MS_MAX = 9_000_000_000_000
"""Source: etcd's lease.MaxLeaseTTL, 9,000,000,000 s."""

_TARGETS = ("value", "version", "create", "mod", "lease")
_RELATIONS = ("==", "!=", "<", ">")


def validate_transaction(transaction: Transaction) -> None:
    """Raise InvalidRequest unless the machine can carry the transaction out."""
    compares, success, failure = transaction.compares, transaction.success, transaction.failure
    if max(len(compares), len(success), len(failure)) > OPERATIONS_MAX:
        raise InvalidRequest(f"too many operations in txn request, at most {OPERATIONS_MAX}")
    size = 0
    for compare in compares:
        size += _compare_bytes(compare)
    for branch in (success, failure):
        for operation in branch:
            size += _operation_bytes(operation)
        if len(branch) > 1:
            _check_distinct(branch)
    if size > REQUEST_BYTES_MAX:
        raise InvalidRequest(f"request is too large: {size} bytes, at most {REQUEST_BYTES_MAX}")


def validate_range(request: Range) -> None:
    """Raise InvalidRequest unless the read can be answered."""
    if not request.key:
        raise InvalidRequest("key is not provided")
    if not (0 <= request.limit <= NUMBER_MAX and 0 <= request.revision <= NUMBER_MAX):
        raise InvalidRequest("limit and revision are 0 to 2^63-1")
    if len(request.key) + len(request.range_end) > REQUEST_BYTES_MAX:
        raise InvalidRequest(f"request is too large, at most {REQUEST_BYTES_MAX} bytes")


def validate_watch(key: bytes, range_end: bytes, start_revision: int) -> None:
    """Raise InvalidRequest unless there can be such a watch."""
    validate_range(Range(key, range_end, revision=start_revision))


def validate_grant(lease: int, ttl_ms: int) -> None:
    """Raise InvalidRequest unless the lease can be granted."""
    if not 0 < ttl_ms <= LEASE_TTL_MS_MAX:
        raise InvalidRequest(f"lease TTL is 1 to {LEASE_TTL_MS_MAX} ms")
    if not 0 <= lease <= NUMBER_MAX:
        raise InvalidRequest("lease id is 0 to 2^63-1")


def _compare_bytes(compare: Compare) -> int:
    if not compare.key:
        raise InvalidRequest("key is not provided")
    if compare.target not in _TARGETS or compare.relation not in _RELATIONS:
        raise InvalidRequest("unknown comparison")
    value = compare.value
    if isinstance(value, bytes):
        if compare.target != "value":
            raise InvalidRequest(f"comparison of {compare.target} needs a number")
        return len(compare.key) + len(value)
    if compare.target == "value":
        raise InvalidRequest("comparison of value needs bytes")
    if not -NUMBER_MAX <= value <= NUMBER_MAX:
        raise InvalidRequest("a number to compare with is beyond 63 bits")
    return len(compare.key)


def _operation_bytes(operation: Operation) -> int:
    if isinstance(operation, Put):
        if not operation.key:
            raise InvalidRequest("key is not provided")
        if not 0 <= operation.lease <= NUMBER_MAX:
            raise InvalidRequest("lease id is 0 to 2^63-1")
        return len(operation.key) + len(operation.value)
    if isinstance(operation, Range):
        validate_range(operation)
    elif not operation.key:
        raise InvalidRequest("key is not provided")
    return len(operation.key) + len(operation.range_end)


def _check_distinct(branch: tuple[Operation, ...]) -> None:
    """One transaction writes a key once. Source: etcd checkIntervals."""
    puts = [operation.key for operation in branch if isinstance(operation, Put)]
    written = set(puts)
    deletes = [operation for operation in branch if isinstance(operation, Delete)]
    overlap = any(holds(delete.key, delete.range_end, key) for delete in deletes for key in written)
    if len(written) < len(puts) or overlap:
        raise InvalidRequest("duplicate key given in txn request")
