"""The Kubernetes API client: HTTP, caches, queues, leases and events. Knows `oarlock.cluster.objects` only."""

from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.settings import ClientSettings

__all__ = ["ClientSettings", "Unreachable"]
