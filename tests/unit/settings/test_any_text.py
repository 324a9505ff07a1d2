"""Whatever the text is, the loader returns settings or says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ksproxyd.settings import Settings, SettingsError, load_text
from ksproxyd.settings.overrides import variables
from ksproxyd.settings.section import keys

NAMES = sorted({step for key in keys(Settings) for step in key.path} | {"endpoint", "port", "tls", "certFile", "kind"})
WORDS = st.sampled_from(
    [*NAMES, "ConfigMap", "v1", "<<", "tcp:1", "10s", "100Mi", "10.0.0.0/8", "true", "~", "RBAC", "0"]
)
TOKENS = st.sampled_from(
    [
        *": ,\n[]{}&*!|>-?#'\"%@`",
        ": ",
        "\n  ",
        "\n- ",
        "&a ",
        "*a ",
        "<<: ",
        "---\n",
        "...\n",
        "|\n",
        "!!str ",
        "!!x ",
        "\\",
    ]
)
SOUP = st.lists(st.one_of(WORDS, TOKENS, st.text(max_size=3)), max_size=60).map("".join)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), WORDS, st.binary(max_size=5), st.dates()
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(WORDS, LEAVES), inner, max_size=6)),
    max_leaves=40,
)
#: Values at places that exist, so that readers of every kind see values of every shape.
PLACED = st.lists(st.tuples(st.sampled_from([key.path for key in keys(Settings)]), TREES), max_size=6)


def outcome(text: str | bytes, environ: dict[str, str] | None = None) -> None:
    try:
        loaded = load_text(text, "x.yaml", environ or {})
    except SettingsError as error:
        assert error.problems
        assert all("\n" not in str(problem) for problem in error.problems)
    else:
        assert isinstance(loaded.settings, Settings)


@given(st.one_of(SOUP, st.text(), st.binary()))
@example("a: &a\n  b: *a\n")
@example("ksproxyd: {listeners: [&l {tls: *l}]}")
@example("\ud800")
@example("%YAML 1.999999999999\n---\n")
@example("kind: ConfigMap\napiVersion: v1\ndata: {kubesphere.yaml: 'kind: ConfigMap\n\n  apiVersion: v1'}")
@settings(max_examples=1000, deadline=None)
def test_any_text(text: str | bytes) -> None:
    outcome(text)


@given(TREES)
@settings(max_examples=300, deadline=None)
def test_any_tree(tree: object) -> None:
    outcome(yaml.safe_dump(tree))


@given(PLACED)
@settings(max_examples=500, deadline=None)
def test_any_values_at_known_places(placed: list[tuple[tuple[str, ...], object]]) -> None:
    root: dict[str, object] = {}
    for path, value in placed:
        here = root
        for step in path[:-1]:
            following = here.setdefault(step, {})
            assert isinstance(following, dict)
            here = following
        here[path[-1]] = value
    outcome(yaml.safe_dump(root))


@given(
    st.dictionaries(st.sampled_from([name for key in keys(Settings) for name in variables(key)]), st.text(), max_size=5)
)
@settings(max_examples=300, deadline=None)
def test_any_environment(environ: dict[str, str]) -> None:
    outcome("ksproxyd: {limits: {pipelined: 1}}\ncache: {type: redis}\n", environ)


GOLDEN = Path(__file__).parents[4] / "shared" / "golden" / "cluster" / "kubesphere-config.yaml"


def test_the_configuration_of_a_real_installation() -> None:
    if not GOLDEN.is_file():
        pytest.skip("the recorded installation (../shared/golden) is not here")
    loaded = load_text(GOLDEN.read_bytes(), GOLDEN.name, {})
    assert loaded.warnings == ()
    assert loaded.settings.multicluster.cluster_role == "host"
    assert loaded.settings.terminal.upload_file_limit == 100 * 2**20
