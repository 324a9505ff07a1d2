"""What happens to a request before it reaches its node: an ordered list of steps."""
