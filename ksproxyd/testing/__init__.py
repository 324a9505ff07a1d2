"""What we ship for tests: ours and extension authors'."""
