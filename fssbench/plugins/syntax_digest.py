"""Hashes the syntax of a Python source: comments, docstrings and layout do not count.

The syntax tree is written in a separate format, because `ast.dump` and `ast.unparse` give different texts in
different versions of Python, and a run must keep its identity if Python is upgraded.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

_TEXT_READERS = frozenset({"__doc__", "getdoc", "getsource", "getsourcelines", "findsource"})
"""Names by which a module can read docstrings or source, which can then change a figure."""


@lru_cache(maxsize=1024)
def hash_syntax(content: bytes) -> str:
    r"""Hash a module's syntax tree without docstrings.

    If a file cannot be parsed, or reads docstrings or source, its bytes are hashed.

    Args:
        content: the bytes of the file.

    Returns:
        A hash that is equal for sources that differ only in comments, docstrings and layout.

    Example:
        >>> hash_syntax(b"x = 1  # one") == hash_syntax(b'"About x."\\nx=1')
        True
    """
    try:
        parts: list[bytes] = []
        _write(parse_source(content), parts)
    except (SyntaxError, ValueError, RecursionError, _ReadsTextError):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha256(b"".join(parts)).hexdigest()


@lru_cache(maxsize=1)
def parse_source(content: bytes) -> ast.Module:
    """Parse a source.  A module is hashed and then searched for imports, so the last tree is kept; do not change it.

    Raises:
        SyntaxError, ValueError, RecursionError: if it cannot be parsed.
    """
    return ast.parse(content)


class _ReadsTextError(Exception):
    """A source reads docstrings or source."""


def _write(node: Any, parts: list[bytes]) -> None:
    """Append a node: its class, then its fields by name.  Empty fields are skipped, because new versions add some.

    Raises:
        _ReadsTextError: if the node reads docstrings or source.
    """
    if isinstance(node, ast.Constant):
        value = node.value
        if value == "__doc__":
            raise _ReadsTextError
        text = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else repr(value).encode()
        parts += [f"{type(value).__name__}:{len(text)}:".encode(), text]
    elif isinstance(node, ast.AST):
        name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None)
        if name in _TEXT_READERS:
            raise _ReadsTextError
        parts.append(f"({type(node).__name__}".encode())
        for name, value in ast.iter_fields(node):
            kept = value
            if isinstance(node, ast.JoinedStr):
                _refuse_text(node.values)
                kept = _joined(node.values)
            elif isinstance(value, list):
                _refuse_text(each.value for each in value if _is_text(each))
                kept = [each for each in value if not _is_text(each)]
            if kept is None or kept == []:
                continue
            parts.append(f" {name}=".encode())
            _write(kept, parts)
        parts.append(b")")
    elif isinstance(node, list):
        parts.append(b"[")
        for item in node:
            _write(item, parts)
            parts.append(b",")
        parts.append(b"]")
    else:
        parts.append(repr(node).encode())


def _refuse_text(nodes: Iterable[ast.AST]) -> None:
    """Look at texts that are not written as they are.

    Raises:
        _ReadsTextError: if one is the name of a docstring.
    """
    if any(isinstance(node, ast.Constant) and node.value == "__doc__" for node in nodes):
        raise _ReadsTextError


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """Join the parts of an f-string, because some versions of Python split its text or add empty text."""
    joined: list[ast.expr] = []
    for value in values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            last = joined[-1] if joined else None
            if isinstance(last, ast.Constant) and isinstance(last.value, str):
                joined[-1] = ast.Constant(last.value + value.value)
            elif value.value:
                joined.append(value)
        else:
            joined.append(value)
    return joined


def _is_text(node: Any) -> bool:
    """Return whether a statement is only a string: a docstring, or the text under a field."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
