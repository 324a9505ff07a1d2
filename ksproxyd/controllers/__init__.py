"""What keeps roles, workspaces and projects in order where no ks-controller-manager does (spec 03, 3.6)."""

from __future__ import annotations

from ksproxyd.controllers.controllers import Controllers

__all__ = ["Controllers"]
