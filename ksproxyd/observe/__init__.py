"""Logs, metrics and service notifications."""
