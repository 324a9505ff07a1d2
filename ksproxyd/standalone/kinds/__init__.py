"""The kinds that are served, and their own rules."""
