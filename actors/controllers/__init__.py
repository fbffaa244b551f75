"""Kubernetes' control loops: pure `reconcile(key, view) -> actions`, performed apart, hosted by one component."""
