"""The whole judgement of a history."""

from __future__ import annotations

from checking.compaction import judge_compactions
from checking.fences import judge_fences
from checking.history import History
from checking.leases import judge_leases
from checking.linearizability import Witness
from checking.report import Violation
from checking.watches import judge_watches


def judge(history: History) -> list[Violation]:
    """Return everything that is wrong, nothing for a history that a correct store may have."""
    witness = Witness(history)
    violations = list(witness.judge())
    violations += judge_compactions(history)
    violations += judge_watches(history)
    violations += judge_leases(history, witness.moments, witness.ends)
    violations += judge_fences(history, witness.past)
    return violations
