"""What happens to objects without a request."""
