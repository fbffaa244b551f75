"""Benchmarks of the whole system. `python -m bench` measures and writes the tables of docs/benchmarks.md."""
