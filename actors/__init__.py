"""What decides: the scheduler and the controllers, and the shells that host them."""
