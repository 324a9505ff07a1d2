"""Secrets: read from files, and shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksproxyd.settings import Settings, SettingsError, load_text, render
from ksproxyd.settings.kubesphere import IssuerSettings
from ksproxyd.settings.section import Section, inner_section, is_secret, keys

SECRET = "kX9-do-not-show-this-secret-0123456789"


def problems(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_text(text, "x.yaml", {})
    assert SECRET not in str(caught.value) and SECRET not in repr(caught.value)
    return [str(problem) for problem in caught.value.problems]


def sections(section: type[Section]) -> list[type[Section]]:
    inner = [each for each in map(inner_section, section.model_fields.values()) if each is not None]
    return [section, *(found for each in inner for found in sections(each))]


def test_every_secret_has_a_file() -> None:
    for section in sections(Settings):
        for name, field in section.model_fields.items():
            if is_secret(field) and name != "sign_key_data":
                assert f"{name}_file" in section.model_fields, (section, name)
    assert "sign_key" in IssuerSettings.model_fields, "the file of sign_key_data"


def test_every_key_that_sounds_like_a_secret_is_one() -> None:
    secrets = {key.name for key in keys(Settings) if is_secret(key.field)}
    words = ("password", "secret", "token", "data")
    sounding = {key.name for key in keys(Settings) if key.path[-1].lower().endswith(words)}
    sounding |= {"s3.secretAccessKey"}
    # A file, and two permissions.
    others = {"ksproxyd.standalone.data", "ksproxyd.compat.defaultClientSecret", "ksproxyd.compat.shortJwtSecret"}
    assert secrets == sounding - others


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (SECRET, SECRET),
        (f"{SECRET}\n", SECRET),
        (f"{SECRET}\r\n", SECRET),
        (f" {SECRET} \n", f" {SECRET} "),
        (f"{SECRET}\nmore", f"{SECRET}\nmore"),
        ("null", "null"),
        ("12345", "12345"),
    ],
)
def test_a_secret_is_read_from_its_file(tmp_path: Path, content: str, secret: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content.encode())
    issuer = load_text(
        f"authentication: {{issuer: {{jwtSecretFile: {file}}}}}\nksproxyd: {{compat: {{shortJwtSecret: true}}}}",
        "x.yaml",
        {},
    ).settings.authentication.issuer
    assert issuer.jwt_secret.get_secret_value() == secret
    assert issuer.jwt_secret_file == str(file)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("cache: {options: {%s}}", "password"),
        ("s3: {%s}", "secretAccessKey"),
        ("s3: {%s}", "sessionToken"),
        ("authentication: {issuer: {%s}}", "jwtSecret"),
    ],
)
def test_a_secret_and_its_file_exclude_each_other(tmp_path: Path, section: str, key: str) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    load_text(section % f'{key}: "", {key}File: "{file}"', "x.yaml", {})
    found = problems(section % f'{key}: {SECRET}, {key}File: "{file}"')
    assert len(found) == 1
    assert f'{key}File: found "{str(file)[:60]}' in found[0]
    assert found[0].endswith(f"expected only one of {key} and {key}File")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"\n\r\n", "an empty file"),
        (b"abc\xff" + SECRET.encode(), "a file that is not UTF-8 at byte 3"),
        (b"x" * 65537, "a file of more than 65536 bytes"),
        (b"<hidden>", "a value that is not shown, expected the secret itself"),
    ],
)
def test_files_that_hold_no_secret(tmp_path: Path, content: bytes, found: str) -> None:
    file = tmp_path / "s"
    file.write_bytes(content)
    lines = problems(f"cache: {{options: {{passwordFile: {file}}}}}")
    assert len(lines) == 1 and found in lines[0]


def test_no_part_of_a_file_that_is_not_text_is_in_the_chain_of_exceptions(tmp_path: Path) -> None:
    file = tmp_path / "s"
    file.write_bytes(SECRET.encode() + b"\xff")
    with pytest.raises(SettingsError) as caught:
        load_text(f"cache: {{options: {{passwordFile: {file}}}}}", "x.yaml", {})
    assert caught.value.__cause__ is None and caught.value.__context__ is None


@pytest.mark.parametrize("name", ["missing", "."])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    line = problems(f"cache: {{options: {{passwordFile: '{tmp_path}/{name}'}}}}")[0]
    assert "a file that cannot be read (" in line and line.startswith("x.yaml:1: cache.options.passwordFile: ")


def test_a_secret_from_the_environment_wins_over_the_file_text() -> None:
    environ = {"KUBESPHERE_AUTHENTICATION_ISSUER_JWTSECRET": SECRET}
    loaded = load_text("authentication: {issuer: {jwtSecret: otherotherotherotherotherotherother}}", "x.yaml", environ)
    assert loaded.settings.authentication.issuer.jwt_secret.get_secret_value() == SECRET


def test_a_secret_is_shown_nowhere() -> None:
    text = f"""
cache: {{options: {{password: {SECRET}}}}}
authentication: {{issuer: {{jwtSecret: {SECRET}, signKeyData: {SECRET}}}}}
s3: {{secretAccessKey: {SECRET}, sessionToken: {SECRET}}}
auditing: {{webhookOptions: {{webhookUrl: "https://user:{SECRET}@audit.example.org/"}}}}
"""
    loaded = load_text(text, "x.yaml", {})
    url = loaded.settings.auditing.webhook_options.webhook_url
    assert SECRET in url
    assert SECRET not in repr(loaded).replace(url, "") and SECRET not in str(loaded.settings).replace(url, "")
    printed = render(loaded.settings)
    assert SECRET not in printed
    assert printed.count("<hidden>") == 6
    assert "https://<hidden>@audit.example.org/" in printed


@pytest.mark.parametrize("value", [f"[{SECRET}]", f"{{{SECRET}: {SECRET}}}", f"{{a: {SECRET}}}"])
def test_a_secret_of_the_wrong_shape_is_not_shown(value: str) -> None:
    lines = problems(f"authentication: {{issuer: {{jwtSecret: {value}}}}}")
    assert len(lines) == 1 and lines[0].endswith("expected a secret as text")


def test_the_placeholder_of_a_printed_configuration_is_refused() -> None:
    line = problems("authentication: {issuer: {jwtSecret: <hidden>}}")
    assert line == [
        "x.yaml:1: authentication.issuer.jwtSecret: found a value that is not shown, expected the secret itself, "
        "not the <hidden> of a printed configuration"
    ]


def test_a_missing_key_is_a_warning() -> None:
    warnings = load_text("authentication: {issuer: {}}", "x.yaml", {}).warnings
    found = "no secret, expected at least 32 bytes: until it is set no token can be verified"
    assert [str(each) for each in warnings] == [f"x.yaml:1: authentication.issuer.jwtSecret: found {found}"]


@pytest.mark.parametrize(("secret", "size"), [("short", 5), ("\u00e4\u00e4", 4)])
def test_a_weak_key_is_refused_unless_it_is_allowed(secret: str, size: int) -> None:
    text = f"authentication: {{issuer: {{jwtSecret: {secret}}}}}"
    found = f"a secret of {size} bytes, expected at least 32 bytes (or ksproxyd.compat.shortJwtSecret: true)"
    line = f"x.yaml:1: authentication.issuer.jwtSecret: found {found}"
    assert problems(text) == [line]
    loaded = load_text(text + "\nksproxyd: {compat: {shortJwtSecret: true}}", "x.yaml", {})
    assert [str(each) for each in loaded.warnings] == [line]


def test_a_sign_key_twice_is_a_warning(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.touch()
    text = f"authentication: {{issuer: {{jwtSecret: {SECRET}, signKey: {key}, signKeyData: {SECRET}}}}}"
    warnings = [str(each) for each in load_text(text, "x.yaml", {}).warnings]
    assert warnings == [
        "x.yaml:1: authentication.issuer.signKeyData: found a value that is not shown, expected only one of "
        "signKey and signKeyData: signKey is used"
    ]
