"""A name that a module imports or defines means one thing in the whole module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPORTS = Path(__file__).parents[2] / "reports"
MODULES = sorted(str(file.relative_to(REPORTS)) for file in REPORTS.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_no_function_assigns_to_a_name_of_its_module(module: str) -> None:
    tree = ast.parse((REPORTS / module).read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = [node for function in functions for node in ast.walk(function)]
    assigned = {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    assert not names & assigned
