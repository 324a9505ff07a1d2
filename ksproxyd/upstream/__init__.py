"""Connections to backends: targets, pools, the relay and the tunnel."""
