"""Byte streams: eager writes, TLS over memory BIOs, coarse timeouts."""
