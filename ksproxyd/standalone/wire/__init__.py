"""Requests and answers as values."""
