"""The replicated store: Raft, MVCC, watches and leases. Knows nothing of Kubernetes."""
