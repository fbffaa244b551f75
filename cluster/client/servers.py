"""Which of several API servers is asked: the same one until it fails, then the next."""

from __future__ import annotations

import random
from collections.abc import Sequence


class Servers:
    """The base URLs of the API servers of one cluster, any of which serves anything.

    Each client begins at one of its own, so that many clients are spread over all servers. It stays there, which keeps
    its connections and its reads at one server's cache.
    """

    def __init__(self, urls: Sequence[str], rng: random.Random | None = None) -> None:
        if not urls:
            raise ValueError("a client needs at least one server")
        self._urls = tuple(urls)
        self._at = (rng or random.Random()).randrange(len(urls))

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def current(self) -> str:
        """The server that the next request goes to."""
        return self._urls[self._at]

    def failed(self, url: str) -> bool:
        """Go on to the next server if `url` is still the current one, and tell whether there is another.

        Many requests fail with one server; only the first of them moves everybody on.
        """
        if url == self.current:
            self._at = (self._at + 1) % len(self._urls)
        return len(self._urls) > 1
