"""The service proxy: makes Services reachable on their addresses by relaying in user space."""
