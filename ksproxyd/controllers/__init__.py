"""What keeps roles, workspaces and projects in order where no ks-controller-manager does (spec 03, 3.6)."""
