"""Cluster state kept true by list and watch loops.

- :mod:`.state`: :class:`~ksproxyd.state.state.State` owns everything here; its checks are what ``/readyz`` says;
- :mod:`.kinds`: the kinds we read, a line each;
- :mod:`.reflector`: keeps one store equal to what the API server has, through anything that happens;
- :mod:`.store`: what is known of one kind, with look-ups and subscriptions;
- :mod:`.references`: single Secrets and ConfigMaps that other objects refer to;
- :mod:`.backoff`: waits between attempts.

A request reads stores and indexes only: it never waits for the API server, lists or copies. Objects in stores are
decoded JSON, shared, and not to be changed by anybody.
"""
