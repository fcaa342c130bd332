"""Functions that find the modules that a Python source imports, and their files, without executing code."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TypeGuard

from fssbench.clone import find_plugin_package
from fssbench.installed import find_version
from fssbench.plugins.import_files import find_plugin_folder
from fssbench.plugins.syntax_digest import parse_source

_BY_NAME = frozenset({"import_module", "__import__"})


def list_imported_names(content: bytes, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield the full names of the modules that a module imports, at its top and inside functions.

    `from a import b` yields `a` and `a.b`, because `b` may be a module.  `import_module("a")` counts if the
    name is a constant.

    Args:
        content: the module's source.
        module: its full name.
        is_package: whether it is the `__init__.py` of a package.
    """
    package = module if is_package else module.rpartition(".")[0]
    for node in _find_import_nodes(content):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield _resolve_name(alias.name, module)
        elif isinstance(node, ast.ImportFrom):
            base = _find_imported_package(node, module, package)
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)
        else:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value:
                yield from _find_name_in_call(name.value, module, package)


@lru_cache(maxsize=1024)
def _find_import_nodes(content: bytes) -> tuple[ast.Import | ast.ImportFrom | ast.Call, ...]:
    """Find the statements and calls that import.  The result is cached because each run asks for the same sources."""
    try:
        tree = parse_source(content)
    except (SyntaxError, ValueError, RecursionError):
        return ()
    return tuple(node for node in ast.walk(tree) if _is_import(node))


def _is_import(node: ast.AST) -> TypeGuard[ast.Import | ast.ImportFrom | ast.Call]:
    if isinstance(node, ast.Call):
        return bool(node.args) and _name_function(node.func) in _BY_NAME
    return isinstance(node, ast.Import | ast.ImportFrom)


def _find_imported_package(node: ast.ImportFrom, module: str, package: str) -> str | None:
    if not node.level:
        return _resolve_name(node.module or "", module)
    try:
        return importlib.util.resolve_name("." * node.level + (node.module or ""), package)
    except ImportError:  # a relative import beyond the top package, or outside a package, fails when it runs
        return None


def _find_name_in_call(name: str, module: str, package: str) -> Iterator[str]:
    if name.startswith("."):
        try:
            yield importlib.util.resolve_name(name, package)
        except ImportError:
            return
    else:
        yield name if name in sys.modules else _resolve_name(name, module)


def _name_function(function: ast.expr) -> str | None:
    return getattr(function, "attr", None) or getattr(function, "id", None)


def _resolve_name(name: str, importer: str) -> str:
    """Replace the plain name of a module beside a plugin file by its full name; return other names unchanged."""
    folder = find_plugin_folder(importer)
    return (folder.own_name(name, importer) if folder is not None else None) or name


def find_module_file(name: str) -> Path | None:
    """Return the file of a module, loaded or not, by its full name; None if there is none."""
    module = sys.modules.get(name)
    if module is not None:
        origin = getattr(module, "__file__", None)
    else:
        try:
            spec = _find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        origin = spec.origin if spec is not None and spec.has_location else None
    path = Path(origin) if origin else None
    return path if path is not None and path.is_file() else None


def _find_spec(name: str) -> ModuleSpec | None:
    """Find a module that is not loaded, without importing the packages that contain it."""
    parent = name.rpartition(".")[0]
    if not parent:
        return importlib.util.find_spec(name)
    locations = _list_locations(parent)
    if not locations:
        return None
    return find_plugin_package(name) or PathFinder.find_spec(name, locations)


def _list_locations(package: str) -> list[str] | None:
    """List the folders in which Python searches for the modules of a package."""
    module = sys.modules.get(package)
    if module is not None:
        return list(getattr(module, "__path__", ()))
    try:
        spec = _find_spec(package)
    except (ImportError, ValueError, AttributeError):
        return None
    return list(spec.submodule_search_locations or ()) if spec is not None else None


@cache
def map_distributions() -> dict[str, list[str]]:
    """Map the top-level names that are installed to the names of the distributions that contain them.

    The result is that of `importlib.metadata.packages_distributions`, which takes four times as long because it makes
    an object of each installed file.
    """
    names: dict[str, list[str]] = {}
    for distribution in importlib.metadata.distributions():
        for name in _list_top_level_names(distribution):
            names.setdefault(name, []).append(distribution.metadata["Name"])
    return names


def _list_top_level_names(distribution: importlib.metadata.Distribution) -> set[str]:
    declared = (distribution.read_text("top_level.txt") or "").split()
    if declared:
        return set(declared)
    record = distribution.read_text("RECORD")
    if record is not None:
        files = [row.partition(",")[0] for row in record.splitlines()]
    else:
        files = [str(file) for file in distribution.files or ()]
    if sys.version_info < (3, 12):  # where the library reads Python files alone
        files = [file for file in files if file.endswith(".py")]
    names = {file.partition("/")[0] if "/" in file else inspect.getmodulename(file) for file in files}
    return {name for name in names if name and "." not in name}


def find_distributions(name: str) -> dict[str, str]:
    """Return the versions of the installed distributions that contain a module, by name; empty if there are none."""
    names = map_distributions().get(name.partition(".")[0], ())
    versions = {each.lower().replace("_", "-"): find_version(each) for each in sorted(set(names))}
    return {each: version for each, version in versions.items() if version is not None}
