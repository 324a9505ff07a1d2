"""What a reload changes."""

from __future__ import annotations

from dataclasses import dataclass

from ksproxyd.settings.model import Settings
from ksproxyd.settings.rendering import show_value
from ksproxyd.settings.section import is_secret, keys, takes_effect_on_reload


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose value changed. ``old`` and ``new`` are as the file would have them, secrets hidden.

    ``needs_restart`` tells whether a running gateway goes on with the old value.
    """

    path: str
    old: str
    new: str
    needs_restart: bool

    def __str__(self) -> str:
        what = "changed" if self.old == self.new else f"{self.old} → {self.new}"
        return f"{self.path}: {what} ({'needs a restart' if self.needs_restart else 'takes effect on reload'})"


def diff(old: Settings, new: Settings) -> list[Change]:
    """The keys whose values differ, in the order of the documents. A list counts as one value."""
    changes = []
    for key in keys(Settings):
        before, after = key.of(old), key.of(new)
        if before == after:
            continue
        shown = ("", "") if is_secret(key.field) else (show_value(key.field, before), show_value(key.field, after))
        changes.append(Change(key.name, *shown, needs_restart=not takes_effect_on_reload(key.field)))
    return changes
