"""What values may be: schema nodes, and where they come from."""
