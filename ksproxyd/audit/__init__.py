"""The record of who did what (spec 03, 6).

A request becomes an :class:`~ksproxyd.audit.event.Event` when it is over, wherever it ended: refused at the edge,
answered by a node, dispatched to a member cluster. Events wait in a bounded queue for each sink, are written out when
they are sent, and never hold a request up: what finds its queue full is dropped and counted.
"""
