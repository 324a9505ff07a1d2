"""Terminals: shells in pods, on nodes and in one's own pod, and files in and out of containers (spec 05).

:mod:`.messages` is what browsers say, :mod:`.channels` what Kubernetes says, and :mod:`.session` stands between the two
and knows no sockets.
"""
