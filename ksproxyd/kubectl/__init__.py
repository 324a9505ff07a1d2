"""How ``kubectl`` logs in: a kubeconfig, and the plugin that it names for getting tokens.

The plugin speaks ``client.authentication.k8s.io`` on its standard output and to a person on its standard error. It runs
as a process of its own, on somebody's own machine, and may block.
"""
