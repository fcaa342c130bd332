"""Names of files from any text; folders of runs keep the names that they had before there was one function."""

from __future__ import annotations

import string

from fssbench.reports.figures.drawing import make_slug
from hypothesis import given, strategies as st
from manifests import make_manifest

from fssbench.files.plain_names import make_plain_name, replace_unsafe
from fssbench.runs.identity import make_run_slug

PLAIN = set(string.ascii_letters + string.digits)
TEXTS = st.text() | st.text(alphabet="aB7._- :/é\n", max_size=200)


@given(TEXTS)
def test_a_plain_name_has_letters_digits_and_single_dashes(text: str) -> None:
    name = make_plain_name(text)
    assert set(name) <= PLAIN | {"-"}
    assert "--" not in name
    assert name == name.strip("-") == make_plain_name(name)
    assert [c for c in text if c in PLAIN] == [c for c in name if c != "-"]


@given(TEXTS)
def test_kept_characters_stay_and_the_length_too(text: str) -> None:
    safe = replace_unsafe(text, keep="._")
    assert len(safe) == len(text)
    assert all(a == b if b != "-" else a not in PLAIN | {".", "_"} for a, b in zip(text, safe, strict=True))


@given(TEXTS)
def test_run_folders_and_figures_have_the_names_they_always_had(text: str) -> None:
    """Whoever measured before must find the same folder again."""
    manifest = make_manifest(benchmark="b:v", method=text)
    before = f"b:v-f0-1shot-{text}-own".lower()
    before = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in before)
    while "--" in before:
        before = before.replace("--", "-")
    assert make_run_slug(manifest) == f"{before.strip('-.')[:120]}-{manifest.identity[:12]}"
    figure = "".join(c if c.isascii() and c.isalnum() else " " for c in text)
    assert make_slug(text) == ("-".join(figure.split())[:80].strip("-") or "x")
