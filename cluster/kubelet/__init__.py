"""The node agent: registers a node, runs the pods bound to it and reports on them."""
