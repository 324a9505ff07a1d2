"""Pods that terminals run in: one for each user's kubectl, one for each session on a node (spec 05, 3 and 4)."""
