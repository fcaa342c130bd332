"""Pages that name a test as their proof name one that exists; what they call nightly has the marker."""

from __future__ import annotations

import re

import pytest
from places import ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@pytest.mark.parametrize("page", ["security.md", "reliability.md"])
def test_every_named_test_exists(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = NAMED.findall(text)
    assert len(named) > 10
    for file, name in named:
        source = (ROOT / file).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in source, (file, name)


def test_what_is_called_nightly_has_the_marker() -> None:
    rows = re.findall(
        r"^\| \d.*\|$", (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) > 20
    for row in rows:
        for file, name in NAMED.findall(row.split("|")[4]):
            before = (ROOT / file).read_text(encoding="utf-8").partition(f"def {name}(")[0]
            assert "nightly" in before.rpartition("\n\n\n")[2], (file, name)


def test_every_threat_has_a_test() -> None:
    table = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").partition("## What is defended")[2]
    rows = [row for row in table.splitlines() if row.startswith("| ")][2:]
    assert len(rows) > 8
    assert all(NAMED.search(row) or "see below" in row for row in rows)
