"""What a Kubernetes API does, checked through a client that knows nothing of who serves it.

The checks are run here against the embedded API, in memory. Whoever wants to run them against another server makes
an ``api`` fixture (a :class:`contract.client.Client`, such as :class:`contract.over_http.HttpClient`), takes the other
fixtures from :mod:`contract.fixtures`, and puts what :func:`contract.suite.checks` gives into a test module.
"""
