"""The policy of a role that has templates: its own, and theirs behind it, each in a section of its own.

Sections are marked by comments, so that a role's own policy is what stands outside of them, whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ksproxyd.authz.policy import UnsupportedPolicy, compile_policy

_END = "# End of RoleTemplate."
_HEAD = "package authz\n\ndefault allow = false\n"
_SECTION = re.compile(r"\n*^# From RoleTemplate [^\n]*:\n.*?^# End of RoleTemplate\.$\n?", re.MULTILINE | re.DOTALL)
_PACKAGE = re.compile(r"\A(?:\s|;|#[^\n]*\n)*package\s+authz\b[ \t]*;?")
_DEFAULT = re.compile(r"^[ \t]*default\s+allow\s*:?=\s*false\b[ \t]*;?", re.MULTILINE)


def own(policy: str) -> str:
    """What of ``policy`` is the role's own; nothing if that is just its beginning."""
    found = _SECTION.sub("\n", policy).rstrip()
    return "" if found == _HEAD.rstrip() else found


def merged(policy: str, templates: Iterable[tuple[str, str]]) -> tuple[str, list[str]]:
    """The policy of a role whose own one is in ``policy``, with those of templates (name and policy, empty for none).

    Also says which could not be used, and why: one that is not understood would take all others with it. A role whose
    own policy is not understood keeps just that.
    """
    mine = own(policy)
    skipped: list[str] = []
    sections: list[str] = []
    base = mine or _HEAD.rstrip()
    for name, text in templates:
        if not text.strip():
            continue
        body = _DEFAULT.sub("", _PACKAGE.sub("", text)).strip()
        section = f"\n\n# From RoleTemplate {name}:\n{body}\n{_END}\n"
        try:
            if _END in text:
                # It would end its section early, and leave the rest behind when it goes.
                raise UnsupportedPolicy(f"it has the words {_END!r}")
            compile_policy(text)
            compile_policy(base + "".join(sections) + section)
        except UnsupportedPolicy as error:
            skipped.append(f"the policy of RoleTemplate {name}: {error}")
            continue
        sections.append(section)
    if not sections:
        # As it was written, to the last line end.
        return (policy if own(policy) == policy.rstrip() else mine), skipped
    return base + "".join(sections), skipped
