"""What a reload changes."""

from __future__ import annotations

from ksproxyd.settings import Settings, defaults, diff, load_text
from ksproxyd.settings.section import keys


def load(text: str) -> Settings:
    return load_text(text, "x.yaml", {}).settings


def test_equal_settings_do_not_differ() -> None:
    assert diff(defaults(), load("ksproxyd: {limits: {headBytes: 128Ki}}")) == []


def test_changes_are_told_in_order_with_what_they_need() -> None:
    old = load("authentication: {issuer: {jwtSecret: oldoldoldoldoldoldoldoldoldoldoldold}}")
    new = load(
        """
authorization: {mode: AlwaysAllow}
authentication: {issuer: {jwtSecret: newnewnewnewnewnewnewnewnewnewnewnew}}
ksproxyd:
  listeners: [tcp:80]
  trustedProxies: [10.0.0.0/8]
  limits: {headBytes: 64Ki}
  timeouts: {idle: 1m}
  logging: {level: debug}
"""
    )
    changes = diff(old, new)
    assert [(change.path, change.needs_restart) for change in changes] == [
        ("authentication.issuer.jwtSecret", True),
        ("authorization.mode", True),
        ("ksproxyd.listeners", True),
        ("ksproxyd.trustedProxies", False),
        ("ksproxyd.limits.headBytes", False),
        ("ksproxyd.timeouts.idle", False),
        ("ksproxyd.logging.level", False),
    ]
    assert [str(change) for change in changes if "listeners" not in change.path] == [
        "authentication.issuer.jwtSecret: changed (needs a restart)",
        "authorization.mode: RBAC → AlwaysAllow (needs a restart)",
        "ksproxyd.trustedProxies: [] → [10.0.0.0/8] (takes effect on reload)",
        "ksproxyd.limits.headBytes: 128Ki → 64Ki (takes effect on reload)",
        "ksproxyd.timeouts.idle: 2m → 1m (takes effect on reload)",
        "ksproxyd.logging.level: info → debug (takes effect on reload)",
    ]


def test_no_secret_is_in_a_change() -> None:
    text = "s3: {{secretAccessKey: {0}}}\nauditing: {{webhookOptions: {{webhookUrl: 'https://u:{0}@a/'}}}}"
    changes = diff(load(text.format("first-secret")), load(text.format("other-secret")))
    assert len(changes) == 2
    assert "first-secret" not in repr(changes) and "other-secret" not in repr(changes)


def test_every_key_can_differ() -> None:
    """A key that diff() does not look at would change unnoticed at a reload."""
    for key in keys(Settings):
        value: object = object()
        for attribute, section in zip(reversed(key.attributes), reversed(owners(key.attributes)), strict=True):
            value = section.model_copy(update={attribute: value})
        assert isinstance(value, Settings)
        assert key.of(value) != key.of(defaults())


def owners(attributes: tuple[str, ...]) -> list[Settings]:
    found = [defaults()]
    for attribute in attributes[:-1]:
        found.append(getattr(found[-1], attribute))
    return found
