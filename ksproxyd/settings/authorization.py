"""``ksproxyd.authorization``: what is asked beyond whether a request is allowed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from ksproxyd.settings.kinds import Duration, read_text, seconds
from ksproxyd.settings.section import Section, setting


class RightsSettings(Section):
    """Who may give which rights to others."""

    escalation: Annotated[Literal["enforce", "warn", "off"], BeforeValidator(read_text)] = setting(
        "enforce",
        "Whether somebody may write roles and bindings only as far as they hold the rights themselves, or have the "
        "verbs `escalate` and `bind` on the role. `warn`: what would be refused is logged; `off`: nobody is asked.",
    )
    impersonation: Annotated[Literal["off", "restricted", "trusted"], BeforeValidator(read_text)] = setting(
        "off",
        "Whether requests to the Kubernetes API name their user, so that its audit log does. `restricted`: what its "
        "own RBAC does not grant the user is refused there; `trusted`: with group `system:masters`, so that what is "
        "allowed here is allowed there. The gateway's account needs the verb `impersonate` on users and groups.",
    )
    policy_engine: Annotated[Literal["auto", "off"], BeforeValidator(read_text)] = setting(
        "auto",
        "What becomes of policies of roles that are more than comparisons. `auto`: a Rego engine is asked where one is "
        "installed (the extra `rego`); `off`, or without one: they grant nothing.",
    )
    policy_timeout: Annotated[Duration, seconds(0.01, 5)] = setting(
        0.5, "How long the engine may take for one question; a policy that takes longer grants nothing for a minute."
    )
