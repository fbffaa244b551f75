"""The client's own failures. What a server answers is an `oarlock.cluster.objects.status.ApiError` instead."""

from __future__ import annotations


class Unreachable(Exception):
    """No answer came from the API server.

    `sent` tells whether the request may have arrived: a write with `sent` true has an unknown outcome.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class BadKubeconfig(Exception):
    """A kubeconfig can't be used; the message names the file and what is wrong with it."""
