"""Addresses and node ports of Services: chosen here, taken in the Service's own transaction (decision 0017)."""
