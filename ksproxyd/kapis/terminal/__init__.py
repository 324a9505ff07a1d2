"""``terminal.kubesphere.io/v1alpha2``: shells in pods, on nodes and in one's own pod (spec 05)."""
