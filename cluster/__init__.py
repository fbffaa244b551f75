"""The Kubernetes system: objects, API server, node agents and what boots them."""
