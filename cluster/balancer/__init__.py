"""A TCP balancer in front of the API servers: TLS passes through it, health decides who gets connections."""
