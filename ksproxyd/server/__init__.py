"""Sockets become exchanges."""
