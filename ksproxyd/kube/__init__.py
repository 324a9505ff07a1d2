"""Where the Kubernetes API is and how to speak to it.

- :mod:`.access`: finds the API server (kubeconfig or the pod's service account) and keeps credentials fresh;
- :mod:`.kubeconfig`, :mod:`.exec_plugin`, :mod:`.address`: the parts of that;
- :mod:`.client`: get, list, create, update, patch and delete on decoded objects;
- :mod:`.listing`, :mod:`.watch`: reading whole collections page by page, and following their changes;
- :mod:`.resource`, :mod:`.errors`: which resource, and what can go wrong.
"""
