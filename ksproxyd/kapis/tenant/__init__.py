"""``tenant.kubesphere.io``: workspaces, their namespaces, clusters and quotas (spec 03, 5)."""
