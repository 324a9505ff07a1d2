"""Pages: what goes into them is escaped, in every language there is a word for everything."""

from __future__ import annotations

import re
from string import Template

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd import web
from ksproxyd.kapis.oauth.pages import Html, accepted_languages, escaped, fill, page_headers, shortened

EVERY = web.words(web.LANGUAGES[0])


@pytest.mark.parametrize("code", web.LANGUAGES)
def test_every_language_says_everything_about_the_same_values(code: str) -> None:
    words = web.words(code)
    assert list(words) == list(EVERY)
    for key, text in words.items():
        assert text.strip(), key
        assert set(Template(text).get_identifiers()) == set(Template(EVERY[key]).get_identifiers()), key
        assert Template(text).is_valid(), key


@given(st.text())
def test_nothing_that_is_put_in_is_markup(text: str) -> None:
    page = fill(Template('<p title="$a">$b</p>'), {"a": text, "b": text})
    inner = page.removeprefix('<p title="').removesuffix("</p>")
    assert not re.search(r"[<>'\x00-\x1f\x7f]", inner.replace('">', "", 1))
    assert inner.count('"') == 1


def test_html_stays_what_it_is() -> None:
    assert fill(Template("$a$b"), {"a": Html("<b>"), "b": "<b>"}) == "<b>&lt;b&gt;"
    assert escaped(Html("&amp;")) == "&amp;"
    with pytest.raises(KeyError):
        fill(Template("$a$b"), {"a": ""})


def test_a_value_is_not_a_template() -> None:
    assert fill(Template("$a"), {"a": "$b ${c} $"}) == "$b ${c} $"


def test_long_values_are_cut() -> None:
    assert shortened("x" * 200) == "x" * 200
    assert shortened("x" * 201) == "x" * 199 + "…"


@pytest.mark.parametrize(
    ("field", "tags"),
    [
        (None, []),
        (b"", []),
        (b"zh", ["zh"]),
        (b"en;q=0.5, zh-CN , fr;q=0.9", ["zh-CN", "fr", "en"]),
        (b"en;q=0,zh;q=x,fr;q=2,de;q=1", ["de"]),
        (b";q=1,,zh", ["zh"]),
    ],
)
def test_the_languages_of_a_browser(field: bytes | None, tags: list[str]) -> None:
    assert accepted_languages(field) == tags


@given(st.binary(max_size=600))
def test_any_field_of_languages(field: bytes) -> None:
    assert all(tag for tag in accepted_languages(field))


def test_the_policy_of_pages() -> None:
    fields = dict(page_headers(["https://rp.test"]))
    assert b"script" not in fields[b"Content-Security-Policy"]
    assert b"form-action 'self' https://rp.test;" in fields[b"Content-Security-Policy"]


@pytest.mark.parametrize(
    "name", ["consent", "device_code", "device_confirm", "layout", "message", "sign_in", "sign_out"]
)
def test_templates_bring_nothing_that_the_policy_forbids(name: str) -> None:
    text = web.template(name)
    assert "<script" not in text and "style=" not in text and "http" not in text
    assert not re.search(r"\son[a-z]+=", text)


def test_contrast() -> None:
    """Text can be read on what it stands on (WCAG 2.2, 1.4.3): at least 4.5 to 1, light and dark."""
    style = web.asset("style.css").decode()
    light, dark = re.findall(r":root \{(.*?)\}", style, re.S)
    for block in (light, dark):
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", block))
        for text, ground in (
            ("ink", "paper"),
            ("soft", "paper"),
            ("strong", "paper"),
            ("strong", "ground"),
            ("on-strong", "strong"),
            ("alarm", "alarm-ground"),
            ("ink", "care-ground"),
        ):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        # Edges of fields (1.4.11).
        assert contrast(colours["line"], colours["paper"]) >= 3


def contrast(one: str, other: str) -> float:
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:]
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    found = []
    for place in (0, 2, 4):
        value = int(digits[place : place + 2], 16) / 255
        found.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * found[0] + 0.7152 * found[1] + 0.0722 * found[2]
