"""The store's metrics beside the replica's, by etcd's names where etcd has them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

KEYS = Gauge("etcd_debugging_mvcc_keys_total", "Keys in the store.")
WATCHERS = Gauge("etcd_debugging_mvcc_watcher_total", "Open watches on this member.")
CURRENT_REVISION = Gauge("etcd_debugging_mvcc_current_revision", "The store's revision on this member.")
COMPACT_REVISION = Gauge("etcd_debugging_mvcc_compact_revision", "The first revision that can be read.")
DATABASE_BYTES = Gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of live keys and values with bookkeeping.")
HISTORY_BYTES = Gauge("oarlock_store_history_bytes", "Bytes of retained revisions with bookkeeping.")
LEASES = Gauge("oarlock_store_leases", "Granted leases.")
CONNECTIONS = Gauge("oarlock_store_client_connections", "Open client connections.")
RECEIVED_BYTES = Counter("etcd_network_client_grpc_received_bytes", "Bytes received from clients.")
SENT_BYTES = Counter("etcd_network_client_grpc_sent_bytes", "Bytes sent to clients.")
REQUESTS = Counter("oarlock_store_requests", "Client requests by kind.", ["kind"])
