"""Pure values. Imports nothing of ours and nothing of Twisted."""
