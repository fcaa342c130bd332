"""What a source says is hashed, and not how it is written."""

from __future__ import annotations

import ast
import hashlib
import inspect
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

import fssbench
from fssbench.plugins.syntax_digest import hash_syntax

SOURCES = sorted(Path(inspect.getfile(fssbench)).parent.glob("*.py"))
PINNED = b'''
from __future__ import annotations
import os as system
@decorated(x, *y, key={**z, "a": 1})
class A[B](C):
    """Docstring."""
    field: int = 1_000
    async def f(self, a, /, b=2, *c, d: "str" = f"{b!r:>{a}} text", **e) -> None:
        """Docstring."""
        match a:
            case {"x": [1, *rest]} if (n := 3):
                return lambda: -1j + 0x10 if not rest else b"\\x00" 'x'[1:2, ...]
        try:
            del a
        except* OSError as error:
            raise error from None
'''.replace(b"class A[B](C)", b"class A(C)").replace(b"b\"\\x00\" 'x'", b"'y' 'x'")


def test_the_hash_is_the_same_on_every_python() -> None:
    assert hash_syntax(PINNED) == "e0ac9e4d3fc0dc90d6f3245fdf385d75511eb89d932b0831c4218881430664f1"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_comments_docstrings_and_layout_do_not_count(path: Path) -> None:
    content = path.read_bytes()
    tree = ast.parse(content)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            body[0] = ast.Expr(ast.Constant("another text"))
    again = "# a comment\n" + ast.unparse(ast.fix_missing_locations(tree)) + "\n# the end\n"
    if any(name in again for name in ("__doc__", "getdoc")):
        pytest.skip("reads docstrings")
    assert hash_syntax(again.encode()) == hash_syntax(content)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_every_other_change_counts(data: st.DataObject) -> None:
    content = data.draw(st.sampled_from(SOURCES)).read_text()
    tree = ast.parse(content)
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Constant | ast.Name | ast.arg | ast.Attribute)]
    texts = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    nodes = [n for n in nodes if id(n) not in texts]
    if not nodes:
        return
    node = data.draw(st.sampled_from(nodes))
    match node:
        case ast.Constant():
            node.value = "changed" if node.value != "changed" else 1
        case ast.Name():
            node.id += "x"
        case ast.arg():
            node.arg += "x"
        case ast.Attribute():
            node.attr += "x"
    assert _tree_sha256(tree) != hash_syntax(content.encode())


def _tree_sha256(tree: ast.Module) -> str:
    return hash_syntax(ast.unparse(tree).encode())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 'a'", "x = b'a'"),
        ("x = None", "x = 'None'"),
        ("x = -1", "x = 1"),
        ("f(a, b)", "f(a=b)"),
        ("x = [1, 2]", "x = (1, 2)"),
        ("x = ['a', 'b']", "x = ['ab']"),
        ("x = {**a}", "x = {None: a}"),
        ("def f(*, a=None): 1", "def f(*, a): 1"),
        ("return_ = a[1:]", "return_ = a[:1]"),
        ("for a in b: c\nelse: d", "for a in b: c\nd"),
        ("a < b", "a <= b"),
        ("if a:\n  b\n  c", "if a:\n  b\nc"),
    ],
)
def test_near_misses_differ(one: str, other: str) -> None:
    assert hash_syntax(one.encode()) != hash_syntax(other.encode())


@pytest.mark.parametrize(
    "line",
    [
        "x = f.__doc__",
        "from inspect import getdoc",
        "import inspect; inspect.getsource(f)",
        "x = vars(f)['__doc__']",
        "x = '__do' 'c__'",
        "x = f'{f}__doc__'",
        "x = 1; '__doc__'",
        "def getdoc(): pass",
    ],
)
def test_a_source_that_reads_its_text_is_hashed_with_it(line: str) -> None:
    text = 'def f():\n    """Is it a {}?"""\n' + line
    assert hash_syntax(text.replace("{}", "cat").encode()) != hash_syntax(text.replace("{}", "dog").encode())


def test_what_is_no_python_is_hashed_as_bytes() -> None:
    assert hash_syntax(b"print 'two'") == hashlib.sha256(b"print 'two'").hexdigest()
    assert hash_syntax(b"\0") == hashlib.sha256(b"\0").hexdigest()
