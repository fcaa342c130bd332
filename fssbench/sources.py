"""The source a plugin class is made of, hashed: part of every run's identity.

A method is its own file and the siblings that file imports; hashing the whole package would give a
run a new identity whenever an unrelated plugin beside it changes.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType


def source_sha256(cls: type, *, base: type) -> str:
    """Hash of the files that define `cls`: its module, its plugin bases' and what they import.

    Imports are followed inside the plugin's own package only; fssbench's core is covered by its version.

    Args:
        cls: the plugin class.
        base: the contract it derives from; bases from there on are not looked at.

    Returns:
        Hash over module names and file contents; it does not depend on where the files lie.
    """
    found: dict[str, Path] = {}
    for ancestor in cls.__mro__:
        if issubclass(ancestor, base) and not ancestor.__module__.startswith("fssbench.api"):
            _follow(ancestor.__module__, found)
    total = hashlib.sha256()
    for name in sorted(found):
        total.update(f"{name if '.' in name else found[name].stem}\n".encode())
        total.update(hashlib.sha256(found[name].read_bytes()).digest())
    return total.hexdigest()


def _follow(name: str, found: dict[str, Path]) -> None:
    file = _file(name)
    if name in found or file is None:
        return
    found[name] = file
    is_package = file.name == "__init__.py"
    package = name if is_package else name.rpartition(".")[0]
    if package:
        for imported in _imports(ast.parse(file.read_bytes()), package):
            if imported.startswith(f"{_root(package)}."):
                _follow(imported, found)


def _root(package: str) -> str:
    """The part of the name that is the plugin author's: built-ins share `fssbench` with the core."""
    parts = package.split(".")
    return ".".join(parts[:2]) if parts[0] == "fssbench" else parts[0]


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _file(name: str) -> Path | None:
    module: ModuleType | None = sys.modules.get(name)
    origin = getattr(module, "__file__", None)
    if origin is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None  # `from .layers import Conv` names a class, not a module
        origin = spec.origin if spec else None
    path = Path(origin) if origin else None
    return path if path is not None and path.suffix == ".py" and path.is_file() else None
