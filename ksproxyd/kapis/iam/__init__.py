"""``iam.kubesphere.io``: users (spec 02, 6)."""
