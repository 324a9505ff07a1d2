"""The gateway's own APIs, one module a group."""
