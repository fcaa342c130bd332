"""Names of a package that are imported when they are first used."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def lazy_names(module: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make the imports under `if TYPE_CHECKING:` of a module available, each at its first use.

    Each name is listed once, for readers, type checkers and Python alike.

    Args:
        module: the module's `__name__`.
        file: its `__file__`.

    Returns:
        Its `__getattr__`, `__dir__` and `__all__`.
    """
    modules = map_names_to_modules(Path(file))

    def load_name(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return load_name, lambda: sorted({*vars(sys.modules[module]), *modules}), sorted(modules)


def map_names_to_modules(file: Path) -> dict[str, str]:
    """Map each name that a file imports under `if TYPE_CHECKING:` to its module."""
    blocks = [
        node.body
        for node in ast.parse(file.read_bytes()).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    return {
        alias.name: node.module
        for block in blocks
        for node in block
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def load_name(place: str) -> Any:
    """Import a module and return one of its names.

    A record of the contracts uses it for what a room above it offers, such as a drawing of a plan: the record must not
    import that room.

    Args:
        place: `module:name`.
    """
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
