"""Cluster state kept true by list and watch loops."""
