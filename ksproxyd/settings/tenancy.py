"""``ksproxyd.tenancy``: what tenants see of one another."""

from __future__ import annotations

from ksproxyd.settings.kinds import Flag
from ksproxyd.settings.section import Section, setting


class TenancySettings(Section):
    """What tenants see of one another in the API group `tenant.kubesphere.io`."""

    hide_foreign: Flag = setting(
        False,
        "Whether a workspace, namespace or quota in which somebody has no part is answered with 404, and members' "
        "namespaces are shown only to who may list the members. Without it everybody who is logged in may read them by "
        "name, as in KubeSphere; lists show only one's own in any case.",
    )
