"""Pods' addresses across hosts: which routes this host needs, and the one place that sets them (decision 0036)."""
