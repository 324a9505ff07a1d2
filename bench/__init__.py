"""What a request costs in ksproxyd, measured beside proxies that anyone can install, in one run on one machine.

``python -m bench`` starts everything it needs on free loopback ports, measures, stops what it started, and prints
tables. docs/performance.md says how to read them. A file here is a subject: ``requests`` (CPU time, rate, latency),
``download``, ``slow_reader``, ``watches``, ``drain``, ``hot_path``; the rest is what they stand on.
"""
