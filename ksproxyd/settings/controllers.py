"""``ksproxyd.controllers``: what ks-controller-manager does where it is there."""

from __future__ import annotations

from ksproxyd.settings.kinds import TriState
from ksproxyd.settings.section import Section, setting


class ControllersSettings(Section):
    """Roles, workspaces and projects, kept in order."""

    mode: TriState = setting(
        "auto",
        "Whether the gateway puts roles together from their templates, and makes and clears away what belongs to "
        "workspaces and projects; `auto`: unless ks-controller-manager does.",
    )
