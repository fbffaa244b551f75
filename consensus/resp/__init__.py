"""Hashes and counters of the store for programs that know only Redis; see decision 0027."""
