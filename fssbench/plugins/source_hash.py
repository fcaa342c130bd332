"""The hash of the source of a plugin class, which is part of the identity of every run.

The source of a plugin is the module of its class, everything that this module imports outside of the
installed packages, and the data files that it declares or reads while it is built.  Installed packages count by their
version, and the core of fssbench by the constant `fssbench.runs.identity.ENGINE`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from fssbench.errors import PluginError
from fssbench.plugins import execution
from fssbench.plugins.import_files import PREFIX, find_plugin_folder
from fssbench.plugins.import_graph import find_distributions, find_module_file, list_imported_names
from fssbench.plugins.live_code import hash_live_code
from fssbench.plugins.syntax_digest import hash_syntax

_BUILT_IN = ("fssbench.methods", "fssbench.datasets", "fssbench.reports", "fssbench.backbones")
_WITHOUT_LIBRARIES = _BUILT_IN[:3]
"""Built-ins whose optional libraries move no figure: they prepare downloads, and the prepared files are hashed."""
_FOLDERS_BESIDE = ("__pycache__",)


@dataclass(frozen=True)
class Source:
    """The source of a plugin class."""

    sha256: str
    parts: dict[str, str]
    """Hash of each module (of its syntax tree) and of each data file, by name relative to the plugin."""
    distributions: dict[str, str]
    """Versions of the installed packages that it imports and that fssbench does not require."""
    files: Mapping[Path, str] = field(repr=False)
    """Hash of the bytes of each file, by real path."""
    folders: tuple[Path, ...] = field(repr=False)
    """Folders of the plugin; a data file below them belongs to it."""
    has_file: bool = True
    """Whether the class is defined in a file; False in a notebook cell or an interactive session."""

    def with_files_of(self, other: Source) -> Source:
        """Return this source with the files and distributions of another plugin that this one uses.

        Args:
            other: the other source, such as that of a method's backbone.

        Returns:
            A source with the same hash and parts, and with files, folders and distributions of both.
        """
        return replace(
            self,
            distributions={**other.distributions, **self.distributions},
            files={**other.files, **self.files},
            folders=tuple(dict.fromkeys((*self.folders, *other.folders))),
            has_file=self.has_file and other.has_file,
        )

    def check(self, observed: execution.Observed) -> None:
        """Refuse a plugin that has executed or read a file that is not part of its hash.

        Raises:
            PluginError: for the first such file, with the next step.
        """
        for name, sha256 in observed.executed.items():
            path = Path(name)
            if execution.is_generated(path):
                continue
            if path not in self.files:
                raise PluginError(
                    f"it loaded {path.name}, but this file is not part of the source that identifies the run. "
                    f"Next: import it with an import statement, or name it in the class: files = ({path.name!r},)"
                )
            if sha256 is not None and sha256 != self.files[path]:
                raise PluginError(
                    f"{path.name} was edited after the run began. Next: run the same command again"
                )
        for path in map(Path, observed.opened):
            if path not in self.files and self._is_data(path):
                raise PluginError(
                    f"it read {path.name}, but this file is not part of the source that identifies the run. "
                    f"Next: name it in the class: files = ({path.name!r},), or read it in the constructor"
                )

    def _is_data(self, path: Path) -> bool:
        return is_data(path, self.folders)


def is_data(path: Path, folders: Iterable[Path]) -> bool:
    """Return whether a file that was read is a data file of a plugin with these folders."""
    if execution.is_generated(path) or (path.suffix == ".py" and execution.is_loaded(path)):
        return False
    return any(is_below(path, folder) for folder in folders)


def is_below(path: Path, folder: Path) -> bool:
    """Return whether a file is below a folder and neither hidden nor bytecode."""
    if not path.is_relative_to(folder):
        return False
    parts = path.relative_to(folder).parts
    return not any(part.startswith(".") or part in _FOLDERS_BESIDE for part in parts)


def hash_source(cls: type, *, base: type) -> str:
    """Hash the source of a plugin class, see `collect_source`."""
    return collect_source(cls, base=base).sha256


def collect_source(
    cls: type,
    *,
    base: type,
    files: Iterable[str] = (),
    named: Iterable[str] = (),
    observed: Iterable[execution.Observed] = (),
) -> Source:
    """Collect and hash the source of a plugin class.

    Args:
        cls: the plugin class.
        base: the contract from which it derives; the source of the contract and of its bases does not count.
        files: data files that it declares, relative to its own file; patterns are allowed.
        named: its settings that may be paths; if one names a file that was read, the file counts.
        observed: files that the plugin executed and read during its import and construction; those that belong
            to the plugin count.

    Returns:
        The source.  Its hash does not depend on the folder of the files, on comments or on docstrings.

    Raises:
        PluginError: if a file was edited after it was imported, or a declared data file is missing.
    """
    walk = _Walk(cls)
    for ancestor in cls.__mro__:
        if ancestor is not object and ancestor not in base.__mro__:
            _require_current(ancestor)
            walk.add_module(ancestor.__module__)
    for pattern in files:
        walk.add_declared(pattern)
    given = {os.path.realpath(name) for name in named if name}
    for each in observed:
        for name in each.executed:
            walk.add_file(Path(name))
        for name in each.opened:
            (walk.add_file if name in given else walk.add_data)(Path(name))
    live = hash_live_code(cls, base=base, known=walk.files)
    if live is not None:
        walk.parts["(code without a file)"] = live
    total = hashlib.sha256()
    for name, sha256 in sorted(walk.parts.items()):
        total.update(f"{name}\0{sha256}\n".encode())
    return Source(
        total.hexdigest(), walk.parts, walk.distributions, walk.files, tuple(walk.folders), walk.has_file
    )


def _require_current(cls: type) -> None:
    """Refuse a class whose module was imported again later, because the file may then differ from the class."""
    module = sys.modules.get(cls.__module__)
    if module is None:
        is_current = not cls.__module__.startswith(PREFIX)
    else:
        now = vars(module).get(cls.__qualname__, cls) if find_module_file(cls.__module__) else cls
        is_current = now is cls or not inspect.isclass(now) or now.__module__ != cls.__module__
    if not is_current:
        raise PluginError(
            f"class {cls.__qualname__} comes from an earlier import of its file, which was edited and imported again. "
            "Next: get the class from the module again, or load the plugin again"
        )


class _Walk:
    """Follows imports from module to module."""

    def __init__(self, cls: type) -> None:
        self.parts: dict[str, str] = {}
        self.files: dict[Path, str] = {}
        self.distributions: dict[str, str] = {}
        self.folders: dict[Path, None] = {}
        self.has_file = True
        self._root = _find_author_package(cls.__module__)
        self._seen: set[str] = set()
        file = find_module_file(cls.__module__)
        self.has_file = file is not None
        self._home = file.resolve().parent if file is not None else Path.cwd()
        self.folders[self._home] = None

    def add_module(self, name: str) -> None:
        """Add a module, the packages that contain it, and the modules that it imports."""
        waiting = [name]
        while waiting:
            each = waiting.pop()
            if each in self._seen:
                continue
            self._seen.add(each)
            waiting += self._add_module(each)

    def _add_module(self, name: str) -> list[str]:
        """Add one module; return the names of the modules to follow next."""
        if is_core(name) or _is_standard(name):
            return []
        parent = name.rpartition(".")[0]
        file = find_module_file(name)
        if file is None:
            return [parent] if parent else []  # `from .layers import Conv` names a class
        if execution.is_installed(str(file)) and not self._is_own(name) and not _is_built_in(name):
            versions = find_distributions(name)
            if versions:
                if self._root not in _WITHOUT_LIBRARIES:
                    self.distributions |= {
                        k: v for k, v in versions.items() if k not in _list_own_requirements()
                    }
                return []
        content = self._add(self._make_label(name, file), file, loaded=name in sys.modules)
        folder = find_plugin_folder(name)
        self.folders.setdefault(folder.folder.resolve() if folder is not None else file.resolve().parent)
        if file.suffix != ".py":
            return [parent] if parent else []
        imported = list_imported_names(content, name, is_package=file.name == "__init__.py")
        return [parent, *imported] if parent else [*imported]

    def _add(self, label: str, file: Path, *, loaded: bool = False) -> bytes:
        real = Path(os.path.realpath(file))
        try:
            content = real.read_bytes()
        except OSError as error:
            raise PluginError(
                f"{file}, which is part of the plugin, cannot be read ({error.strerror})"
            ) from None
        sha256 = hashlib.sha256(content).hexdigest()
        if loaded and execution.is_stale(real, sha256):
            raise PluginError(
                f"{file} was edited after this process imported it, so the imported code differs from the file. "
                "Next: name it in plugins=[...] again, or start the process again (in a notebook, restart the kernel)"
            )
        self.files[real] = sha256
        while self.parts.get(label) not in (None, part := _hash_content(real, content)):
            label += "'"  # equal names in two packages
        self.parts[label] = part
        return content

    def add_declared(self, pattern: str) -> None:
        """Add the data files that a class names, relative to its file.

        Raises:
            PluginError: if there is none.
        """
        paths = sorted(p for p in self._home.glob(pattern) if p.is_file()) if pattern else []
        if not paths:
            raise PluginError(
                f"the class declares files = ({pattern!r},), but {self._home} holds no such file"
            )
        for path in paths:
            self.add_file(path)

    def add_file(self, path: Path) -> None:
        """Add a file by its path."""
        real = Path(os.path.realpath(path))
        if real not in self.files and real.is_file():
            self._add(self._make_relative(real), real)

    def add_data(self, path: Path) -> None:
        """Add a file that was read, if it is below the plugin's folder."""
        if is_data(path, self.folders):
            self.add_file(path)

    def _make_relative(self, path: Path) -> str:
        for folder in self.folders:
            if path.is_relative_to(folder):
                return path.relative_to(folder).as_posix()
        return path.name

    def _is_own(self, name: str) -> bool:
        return self._root is not None and f"{name}.".startswith(f"{self._root}.")

    def _make_label(self, name: str, file: Path) -> str:
        """Return the name of a module relative to its package, so that moving the package changes nothing."""
        if name == "__main__":
            return file.stem
        if self._is_own(name) and self._root is not None:
            return name[len(self._root) + 1 :] or "__init__"
        return name.partition(".")[2] if name.startswith(PREFIX) else name


def _hash_content(path: Path, content: bytes) -> str:
    return hash_syntax(content) if path.suffix == ".py" else hashlib.sha256(content).hexdigest()


def _find_author_package(name: str) -> str | None:
    """Return the top package of the plugin's author; None for a file outside of a package."""
    parts = name.split(".")
    if _is_built_in(name) or name.startswith(PREFIX):
        return ".".join(parts[:2]) if len(parts) > 2 else None
    return parts[0] if len(parts) > 1 else None


def is_core(name: str) -> bool:
    """Return whether a module belongs to fssbench and is not a plugin."""
    parts = name.split(".")
    return parts[0] == "fssbench" and not _is_built_in(name)


def _is_built_in(name: str) -> bool:
    """Return whether a module is a built-in plugin, which is hashed in a clone and in a wheel."""
    return ".".join(name.split(".")[:2]) in _BUILT_IN


def _is_standard(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names and name != "__main__"


@cache
def _list_own_requirements() -> frozenset[str]:
    """List the distributions that fssbench requires; the context of a run records their versions."""
    names = {"fssbench"}
    try:
        requirements = importlib.metadata.requires("fssbench") or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    for text in requirements:
        name = re.match(r"[\w.-]+", text)
        if name and "extra ==" not in text:
            names.add(name[0].lower().replace("_", "-"))
    return frozenset(names)
