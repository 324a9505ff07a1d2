"""ksproxyd: an event-driven API gateway for Kubernetes.

A request's way through the package: :mod:`ksproxyd.server` turns bytes into an exchange,
:mod:`ksproxyd.chain` decides who it is from and whether it may pass, :mod:`ksproxyd.tree` finds the node
it is for, :mod:`ksproxyd.upstream` carries it to its backend and the answer back.
"""

__version__ = "0.1.0"
