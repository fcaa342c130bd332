"""Errors as a notebook shows them."""

from __future__ import annotations

import linecache

import pytest

import fssbench
from fssbench.errors import FssbenchError, UsageError

CELL = 'import fssbench\nplan = fssbench.plan(\n    "pascal5j", data="mini")\n'


def run_cell(text: str) -> FssbenchError:
    """Run a cell as IPython does: its source is known to `linecache`, its module is `__main__`."""
    linecache.cache["<cell>"] = (len(text), None, text.splitlines(keepends=True), "<cell>")
    with pytest.raises(FssbenchError) as caught:
        exec(compile(text, "<cell>", "exec"), {"__name__": "__main__"})
    return caught.value


def test_a_users_mistake_is_the_line_and_the_sentence() -> None:
    error = run_cell(CELL)
    place, sentence = error._render_traceback_()
    assert place == "UsageError in line 2: plan = fssbench.plan("
    assert sentence == str(error)
    assert "Did you mean pascal5i" in sentence


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    error = run_cell(CELL)
    monkeypatch.setenv("FSSBENCH_DEBUG", "1")
    assert any("Traceback" in line for line in error._render_traceback_())


def test_a_name_cannot_command_the_notebook() -> None:
    with pytest.raises(UsageError) as caught:
        fssbench.plan("\x1b[31mx", data="mini")
    assert not any("\x1b" in line for line in caught.value._render_traceback_())
