"""Decides which node a pod runs on, and binds it there."""
