"""Changes one operator or number of a module's functions at a time, and asks whether its tests notice.

As a program, it runs tests on every mutant in a forked process and prints one line of JSON for each:

    python tests/support/mutants.py fssbench.metrics tests/test_metrics.py
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

_PATIENCE = 5
"""A mutant whose tests take so many times as long as without a change never ends; it counts as noticed."""
_SWAPS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}

_FUTURE = ast.parse("from __future__ import annotations").body[0]


@dataclass(frozen=True)
class Mutant:
    """One changed function."""

    function: str
    """Its name in the module."""
    line: int
    """Line of the change in the file of the module."""
    change: str
    """What was changed, as text."""
    code: CodeType


def make_mutants(module: ModuleType, only: str | None = None) -> Iterator[Mutant]:
    """Make every mutant of the functions of a module, or of one of them.

    What only words an error is left alone: messages are read by people, and tests ask for the facts in them.
    """
    tree = ast.parse(Path(inspect.getfile(module)).read_text(encoding="utf-8"))
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef) or only not in (None, function.name):
            continue
        function.decorator_list = []
        for number, node in enumerate(_list_nodes(function)):
            for change in _list_changes(node):
                mutated = copy.deepcopy(function)
                changed = _list_nodes(mutated)[number]
                before = _describe(changed)
                setattr(changed, *change)
                text = f"{before} -> {_describe(changed)}"
                alone = ast.fix_missing_locations(ast.Module([_FUTURE, mutated], type_ignores=[]))
                code = compile(alone, module.__file__ or "", "exec")
                yield Mutant(function.name, getattr(node, "lineno", 0), text, _find_code(code, function.name))


def _describe(node: ast.AST) -> str:
    return ast.unparse(node.test if isinstance(node, ast.If) else node)


def _find_code(code: CodeType, name: str) -> CodeType:
    return next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)


def _list_nodes(function: ast.FunctionDef) -> list[ast.AST]:
    """List the nodes of a function's body that may change, in a fixed order."""
    nodes: list[ast.AST] = []
    waiting: list[ast.AST] = list(reversed(function.body))
    while waiting:
        node = waiting.pop()
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Raise | ast.JoinedStr):
            continue
        nodes.append(node)
        waiting += reversed(list(ast.iter_child_nodes(node)))
    return nodes


def _list_changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    """Yield the changes of one node, as a field and its new value."""
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in _SWAPS:
        yield "op", _SWAPS[type(node.op)]()
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
        yield "ops", [_SWAPS[type(node.ops[0])](), *node.ops[1:]]
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield "value", node.value + 1
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield "value", not node.value
    if isinstance(node, ast.If | ast.IfExp) and not isinstance(node.test, ast.Compare):
        yield "test", ast.UnaryOp(ast.Not(), node.test)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert | ast.USub):
        yield "op", ast.UAdd() if isinstance(node.op, ast.USub) else ast.USub()


def find_function(module: ModuleType, name: str) -> FunctionType:
    """Return a function of a module without what decorators put around it."""
    function = inspect.unwrap(getattr(module, name))
    assert isinstance(function, FunctionType)
    return function


def wait(pid: int, seconds: float) -> int:
    """Wait for a child and return its status; it is killed after some seconds.

    A child cannot end itself by an alarm: a test runner has its own, and Hypothesis goes on after its exception.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def main(name: str, tests: list[str]) -> None:
    """Run tests on the module as it is, then on every mutant."""
    import pytest
    import torch  # noqa: F401 - once for all the forks

    module = importlib.import_module(name)
    originals = {m.function: find_function(module, m.function).__code__ for m in make_mutants(module)}

    def run_tests(seconds: float) -> int:
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            code = 1
            with suppress(BaseException):
                code = int(pytest.main(["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests]))
            os._exit(code)
        return wait(pid, seconds)

    start = time.monotonic()
    if run_tests(math.inf) != 0:
        raise SystemExit("the tests fail without any change")
    seconds = _PATIENCE * (time.monotonic() - start)
    for mutant in make_mutants(module):
        function = find_function(module, mutant.function)
        function.__code__ = mutant.code
        noticed = run_tests(seconds) != 0
        function.__code__ = originals[mutant.function]
        print(
            json.dumps(
                {"where": f"{mutant.function}:{mutant.line}", "change": mutant.change, "noticed": noticed}
            ),
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
