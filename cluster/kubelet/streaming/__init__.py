"""Streams between a client and a pod: commands, attached terminals and forwarded ports over WebSocket and SPDY/3.1."""
