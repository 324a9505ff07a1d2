"""``config.kubesphere.io``: what the platform is set to, as far as it is for others to see (spec 04, 4)."""
