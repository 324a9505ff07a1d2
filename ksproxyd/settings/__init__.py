"""YAML and environment become checked settings."""
