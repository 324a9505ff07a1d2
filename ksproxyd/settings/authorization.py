"""``ksproxyd.authorization``: what is asked beyond whether a request is allowed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from ksproxyd.settings.kinds import read_text
from ksproxyd.settings.section import Section, setting


class RightsSettings(Section):
    """Who may give which rights to others."""

    escalation: Annotated[Literal["enforce", "warn", "off"], BeforeValidator(read_text)] = setting(
        "enforce",
        "Whether somebody may write roles and bindings only as far as they hold the rights themselves, or have the "
        "verbs `escalate` and `bind` on the role. `warn`: what would be refused is logged; `off`: nobody is asked.",
    )
