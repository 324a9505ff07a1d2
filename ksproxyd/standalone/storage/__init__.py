"""Objects, their history, and who is told of it."""
