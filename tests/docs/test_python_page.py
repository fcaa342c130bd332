"""docs/python.md: every verb is in its table, and every name exists."""

from __future__ import annotations

import importlib
import re

import pytest
from places import DOCS

from fssbench.cli import VERBS

PAGE = (DOCS / "python.md").read_text()
NAMES = sorted(set(re.findall(r"`(fssbench(?:\.\w+)+)", PAGE)))


def test_the_table_has_every_verb() -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    named = {verb for row in rows for verb in re.findall(r"`(\w+)", row)}
    assert named == set(VERBS)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_exists(name: str) -> None:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            value = getattr(value, part)
        return
    raise AssertionError(name)


def test_notebooks_are_linked() -> None:
    linked = set(re.findall(r"\(notebooks/([\w-]+\.ipynb)\)", PAGE))
    assert linked == {path.name for path in (DOCS / "notebooks").iterdir()}
