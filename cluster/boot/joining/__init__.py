"""How hosts join a cluster: what is asked and refused (pure), the server on every server host, and its clients."""
