"""What a check has found nothing in before: pods of one template differ in what names them alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import orjson

_Finding = TypeVar("_Finding")
VALUES_MAX: Final = 512
VALUE_BYTES_MAX: Final = 8192
"""A value whose JSON is longer isn't remembered."""


class Known:
    """Values in which one check has found nothing, the latest `VALUES_MAX`; the check depends on the value alone."""

    def __init__(self) -> None:
        self._values: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._values)

    def checked(self, value: object, check: Callable[[], list[_Finding]]) -> list[_Finding]:
        """Return what `check` finds in `value`, without asking it about a value that is known."""
        try:
            text = orjson.dumps(value)
        except orjson.JSONEncodeError:  # a number or a depth that JSON texts of ours don't have
            return check()
        if text in self._values:
            return []
        found = check()
        if not found and len(text) <= VALUE_BYTES_MAX:
            if len(self._values) >= VALUES_MAX:
                del self._values[next(iter(self._values))]
            self._values[text] = None
        return found
