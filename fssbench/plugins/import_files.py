"""Imports plugin files and folders that are not installed; each folder becomes a separate package.

A plugin file imports the modules beside it by their plain names, as a script does.  Two plugins may each
have a `layers.py`, so these modules are not entered into `sys.modules` under their plain names: the folder
is a package such as `fssbench_plugin_1a2b3c4d`, and `import layers` inside it gives
`fssbench_plugin_1a2b3c4d.layers`.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from fssbench.errors import UsageError
from fssbench.plugins import execution
from fssbench.plugins.announced_folders import announce_folder, read_announced_folders

PREFIX = "fssbench_plugin_"
"""Beginning of the package names of plugin folders."""
_DOT = "%2e"
"""Stands for a dot of a file name in the name of its module."""


@dataclass
class PluginFolder:
    """A folder from which plugin files import modules, and its package."""

    folder: Path
    package: str
    searched: list[str] = field(default_factory=list)
    """Packages of this folder in which plain names are searched: those that hold a plugin file, then the folder."""

    def import_(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """Import as `__import__` does, but search this folder first."""
        importer = str((globals or {}).get("__name__", self.package))
        own = self.own_name(name, importer) if level == 0 else None
        if own is None:
            return builtins.__import__(name, globals, locals, fromlist, level)
        module = builtins.__import__(own, globals, locals, fromlist or ("__name__",), 0)
        if fromlist:
            return module
        return sys.modules[own.removesuffix(name) + name.partition(".")[0]]  # `import a.b` binds `a`

    def own_name(self, name: str, importer: str) -> str | None:
        """Return the full name of the module of this folder that a plain name means; None if it means another."""
        top = name.partition(".")[0]
        # a plugin in the root of a clone has that folder beside it, and means this program
        if top == "fssbench":
            return None
        for package in self.searched:
            inside = package == self.package or f"{importer}.".startswith(f"{package}.")
            full = f"{package}.{top}"
            if not inside or full == importer:  # a plugin `scipy.py` that imports scipy means the library
                continue
            if full in sys.modules:
                return f"{package}.{name}"
            spec = PathFinder.find_spec(full, self._locations(package))
            if spec is not None and (spec.origin is not None or not _exists_elsewhere(top)):
                return f"{package}.{name}"
        return None

    def _locations(self, package: str) -> list[str]:
        below = [part.replace(_DOT, ".") for part in package.removeprefix(self.package).split(".")]
        return [str(self.folder.joinpath(*below))]


_FOLDERS: dict[str, PluginFolder] = {}


def find_plugin_folder(module: str) -> PluginFolder | None:
    """Return the plugin folder of a module, by the name of the module; None for other modules."""
    return _FOLDERS.get(module.partition(".")[0])


def name_module_of_file(path: Path) -> str:
    """Return the name under which a plugin file is imported; its folder becomes a package first.

    Args:
        path: the file, or a folder with `__init__.py`.
    """
    path = path.resolve()
    parts = [] if path.name == "__init__.py" else [path.stem if path.is_file() else path.name]
    folder = path.parent
    if path.name == "__init__.py":
        parts, folder = [folder.name], folder.parent
    while (folder / "__init__.py").is_file():  # the file is part of a package, which imports itself by name
        parts.insert(0, folder.name)
        folder = folder.parent
    package = _name_package(folder)
    if package not in _FOLDERS:
        _FOLDERS[package] = PluginFolder(folder, package, [package])
        _enter_package(_FOLDERS[package])
    holder = _name_module(package, parts[:-1])
    if holder not in _FOLDERS[package].searched:
        _FOLDERS[package].searched.insert(0, holder)
    announce_folder(package, str(folder), _FOLDERS[package].searched)
    return _name_module(package, parts)


def enter_announced_folders() -> None:
    """Make the plugin folders of the parent process importable in this process."""
    for package, folder, searched in read_announced_folders():
        if package not in _FOLDERS and package == _name_package(Path(folder)):
            _FOLDERS[package] = PluginFolder(Path(folder), package, searched)
            _enter_package(_FOLDERS[package])


def _name_package(folder: Path) -> str:
    return PREFIX + hashlib.sha256(str(folder).encode()).hexdigest()[:8]


def _name_module(package: str, parts: Sequence[str]) -> str:
    """Return the full name of a module from the names of its folders and the stem of its file."""
    return ".".join([package, *(part.replace(".", _DOT) for part in parts)])


def import_file(path: Path) -> ModuleType:
    """Import a plugin file or package folder; import it again only if one of its files was edited since.

    Raises:
        UsageError: if it is not a Python file.
        BaseException: any exception of its code.
    """
    if path.is_file() and path.suffix != ".py":
        raise UsageError(f"plugin file {path} is not a Python file: its name must end in .py")
    name = name_module_of_file(path)
    folder = _FOLDERS[name.partition(".")[0]]
    if _is_stale(folder):
        _unload(folder)
    return importlib.import_module(name)


def _enter_package(folder: PluginFolder) -> None:
    module = ModuleType(folder.package)
    module.__path__ = [str(folder.folder)]
    module.__spec__ = ModuleSpec(folder.package, None, is_package=True)
    module.__spec__.submodule_search_locations = module.__path__
    sys.modules[folder.package] = module
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
        sys.meta_path.insert(0, _FINDER.first)


def _list_loaded_modules(folder: PluginFolder) -> Iterator[tuple[str, Path]]:
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{folder.package}.") and (file := getattr(module, "__file__", None)):
            yield name, Path(file)


def _is_stale(folder: PluginFolder) -> bool:
    files = {file: execution.file_sha256(file) for _, file in _list_loaded_modules(folder)}
    return any(sha256 is None or execution.is_stale(file, sha256) for file, sha256 in files.items())


def _unload(folder: PluginFolder) -> None:
    for name, _ in [*_list_loaded_modules(folder)]:
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def _exists_elsewhere(name: str) -> bool:
    """Return whether a top-level name is a module of Python, of an installed package or on PYTHONPATH."""
    if name in sys.modules:
        return True
    for finder in sys.meta_path:
        if finder not in (_FINDER, _FINDER.first):
            find = getattr(finder, "find_spec", None)
            if find is not None and find(name, None) is not None:
                return True
    return False


class _Loader(SourceFileLoader):
    """Runs a module of a plugin folder with its folder's `__import__`.

    The source is compiled each time, because Python recognises bytecode files by seconds and size, and would use an
    old one for a file that was edited twice within a second.
    """

    def path_stats(self, path: Any) -> Any:
        """Raise an error, so that Python uses no bytecode file."""
        raise OSError(f"the bytecode of {path} is not used")

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module."""
        folder = find_plugin_folder(module.__name__)
        assert folder is not None
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": folder.import_}
        super().exec_module(module)


class _First(MetaPathFinder):
    """Finds modules of plugin folders by their full names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module inside a plugin folder."""
        if path is None or not name.startswith(PREFIX):
            return None
        part = name.rpartition(".")[2]
        spec = _find_dotted(name, path) if _DOT in part else PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader) and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin)
        return spec


def _find_dotted(name: str, path: Sequence[str]) -> ModuleSpec | None:
    """Return the spec of a file or package folder with a dot in its name, which Python does not import by itself."""
    stem = name.rpartition(".")[2].replace(_DOT, ".")
    for folder in map(Path, path):
        init = folder / stem / "__init__.py"
        if init.is_file():
            places = [str(init.parent)]
            return importlib.util.spec_from_file_location(name, init, submodule_search_locations=places)
        if (file := folder / f"{stem}.py").is_file():
            return importlib.util.spec_from_file_location(name, file)
    return None


class _Finder(MetaPathFinder):
    """Serves `importlib.import_module("layers")` inside a plugin.  It is the last finder that Python asks."""

    first = _First()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of an alias for the module beside the importing plugin."""
        importer = None if path is not None or "." in name else _find_plugin_on_stack(sys._getframe(1))
        folder = find_plugin_folder(importer) if importer else None
        own = folder.own_name(name, importer) if folder is not None and importer is not None else None
        return None if own is None else ModuleSpec(name, _Alias(own))


class _Alias(Loader):
    """Enters a module of a plugin folder under its plain name, until `drop_aliases`."""

    def __init__(self, own: str) -> None:
        self.own = own
        self.spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module itself."""
        module = importlib.import_module(self.own)
        self.spec = module.__spec__
        _ALIASES.add(spec.name)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Restore the spec of the module, which was executed already."""
        module.__spec__ = self.spec


_FINDER = _Finder()
_ALIASES: set[str] = set()


def drop_aliases() -> None:
    """Remove plain names from `sys.modules`, so that the next plugin gets its own module."""
    while _ALIASES:
        sys.modules.pop(_ALIASES.pop(), None)


def _find_plugin_on_stack(frame: FrameType | None) -> str | None:
    """Return the name of the nearest module of a plugin folder on the call stack."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.startswith(PREFIX):
            return name
        frame = frame.f_back
    return None
