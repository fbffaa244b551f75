"""Hosts components: gives each its lease, runs the holder, keeps the others warm; with Ray or without."""
