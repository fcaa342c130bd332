"""JSON that is nested too deeply is damaged like any other: Python's reader answers it with RecursionError."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from fssbench.data.list_files import load_plain_json
from fssbench.errors import DataError
from fssbench.runs.sessions import FILE, read_sessions

ROOT = Path(__file__).parents[2]
SOURCES = [
    path for name in ("fssbench", "datasets", "methods", "reports") for path in (ROOT / name).rglob("*.py")
]
DEEP = "[" * 100_000


def list_caught_names(node: ast.Try | ast.With) -> set[str]:
    """List what a `try` or a `with suppress(...)` catches."""
    caught: list[ast.expr] = []
    if isinstance(node, ast.Try):
        caught = [handler.type for handler in node.handlers if handler.type is not None]
    else:
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("suppress"):
                caught += call.args
    return {each.id for outer in caught for each in ast.walk(outer) if isinstance(each, ast.Name)}


def find_readers(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Find the blocks that call `json.loads` and catch ValueError: their place and all that they catch."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)) if "loads" in text else ():
        if isinstance(node, ast.Try | ast.With):
            calls = (
                ast.unparse(n.func) for part in node.body for n in ast.walk(part) if isinstance(n, ast.Call)
            )
            if "json.loads" in calls and "ValueError" in (names := list_caught_names(node)):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", names


def test_code_that_expects_damaged_json_expects_deep_json() -> None:
    readers = dict(reader for path in SOURCES for reader in find_readers(path))
    assert len(readers) > 15
    assert [place for place, names in readers.items() if "RecursionError" not in names] == []


def test_a_deep_line_of_the_sessions_is_skipped(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(f"{DEEP}\n")
    assert read_sessions(tmp_path) == []


def test_a_deep_list_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text(DEEP)
    with pytest.raises(DataError, match=r"list\.json"):
        load_plain_json(path)
