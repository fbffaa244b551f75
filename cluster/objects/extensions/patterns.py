"""Regular expressions as schemas and rules have them: Go's syntax, which is RE2's, matched in linear time by RE2.

Python's `re` reads another syntax, and a pattern such as `(a+)+$` would keep it busy for ever.
Source: Go's `regexp/syntax`, whose words for faults these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import re2

#: RE2's words for faults where Go's differ.
_WORDS: Final[Mapping[str, str]] = {
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
}


def fault(pattern: str) -> str:
    """What is wrong with a pattern, in Go's words; empty if nothing is."""
    return _compiled(pattern)[1]


def search(pattern: str, text: str) -> bool:
    """Whether a pattern is found in a text; a faulty one never is."""
    compiled = _compiled(pattern)[0]
    return compiled is not None and compiled.search(text) is not None


def found(pattern: str, text: str) -> list[str]:
    """The parts of a text that a pattern matches. Raises ValueError for a faulty one."""
    compiled, wrong = _compiled(pattern)
    if compiled is None:
        raise ValueError(f"Illegal regex: {wrong}")
    return [one[0] for one in compiled.finditer(text)]


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> tuple[Any, str]:
    """Return the compiled pattern, None with what is wrong with it if it can't be."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options), ""
    except re2.error as error:
        return None, f"error parsing regexp: {_named(error.args[0].decode())}"


def _named(told: str) -> str:
    if told.startswith("trailing \\"):
        return "trailing backslash at end of expression: ``"
    words, _, place = told.partition(": ")
    return f"{_WORDS.get(words, words)}: `{place}`"
