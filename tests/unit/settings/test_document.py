"""The sample configuration and the document are those of the models."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ksproxyd.settings import Settings, defaults, load_file
from ksproxyd.settings.document import BEGIN, DOCUMENT, END, SAMPLE, document, main, sample
from ksproxyd.settings.section import Section, inner_section, item_section, key_of, keys

ROOT = Path(__file__).parents[3]
COMMAND = "python -m ksproxyd.settings.document"


def all_sections(section: type[Section], path: str) -> Iterator[tuple[str, type[Section]]]:
    """Every section with the heading it has in the document, those of lists included."""
    yield path, section
    for field in section.model_fields.values():
        name = f"{path}.{key_of(field)}" if path else key_of(field)
        inner, items = inner_section(field), item_section(field)
        if inner is not None:
            yield from all_sections(inner, name)
        if items is not None:
            yield from all_sections(items, f"{name}[]")


def test_the_sample_is_up_to_date() -> None:
    assert (ROOT / SAMPLE).read_text(encoding="utf-8") == sample(), f"run: {COMMAND}"


def test_the_document_is_up_to_date() -> None:
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    assert text == document(text), f"run: {COMMAND}"


def test_the_sample_loads_to_exactly_the_defaults() -> None:
    loaded = load_file(ROOT / SAMPLE, {})
    assert loaded.settings == defaults()
    assert [warning.path for warning in loaded.warnings] == ["authentication.issuer.jwtSecret"]


def test_the_sample_has_every_key() -> None:
    values = yaml.safe_load((ROOT / SAMPLE).read_text(encoding="utf-8"))
    for key in keys(Settings):
        here = values
        for step in key.path:
            assert step in here, key.name
            here = here[step]
    text = (ROOT / SAMPLE).read_text(encoding="utf-8")
    for _, section in all_sections(Settings, ""):
        for field in section.model_fields.values():
            assert re.search(rf"^[ #-]*{key_of(field)}:( |$)", text, re.MULTILINE), key_of(field)


def test_the_document_has_every_key_below_its_section() -> None:
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    for path, section in all_sections(Settings, ""):
        if not path:
            continue
        assert text.count(f"### `{path}`\n") == 1
        below = text.partition(f"### `{path}`\n")[2].partition("\n### ")[0]
        for field in section.model_fields.values():
            name = key_of(field)
            assert f"| `{name}` |" in below or f"### `{path}.{name}`" in text, f"{path}.{name}"


def test_every_key_and_section_says_what_it_is_for() -> None:
    for path, section in all_sections(Settings, ""):
        assert (section.__doc__ or "").strip().endswith("."), path
        for field in section.model_fields.values():
            if inner_section(field) is None:
                assert (field.description or "").endswith("."), key_of(field)


def test_the_sample_describes_each_line() -> None:
    lines = (ROOT / SAMPLE).read_text(encoding="utf-8").splitlines()
    assert all(len(line) <= 120 for line in lines)
    for before, line in itertools.pairwise(lines):
        if re.match(r" *(- )?[A-Za-z0-9]+:", line) and not line.strip().startswith("- "):
            assert before.strip().startswith("#") or before.strip() == "listeners:", line


def test_the_command_writes_both_files(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / DOCUMENT).write_text(f"# Title\n\n{BEGIN}\nwritten before\n{END}\n\nafter\n", encoding="utf-8")
    main(str(tmp_path))
    assert (tmp_path / SAMPLE).read_text(encoding="utf-8") == sample()
    text = (tmp_path / DOCUMENT).read_text(encoding="utf-8")
    assert text.startswith(f"# Title\n\n{BEGIN}\n\n### `kubernetes`\n") and text.endswith(f"{END}\n\nafter\n")
    assert "written before" not in text


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}"])
def test_a_document_without_the_marks_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / DOCUMENT).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="needs the lines"):
        main(str(tmp_path))
    assert (tmp_path / DOCUMENT).read_text(encoding="utf-8") == text
    assert not (tmp_path / SAMPLE).exists()
