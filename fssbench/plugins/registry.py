"""Plugins by name: lazy, over entry points and `--plugin`.  Built-ins have no privilege.

A registry never hides a broken plugin and never lets it hide others: what fails to load is kept
with its reason and reported when it is asked for or listed.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from fssbench.errors import PluginError, UsageError, unknown
from fssbench.plugins import execution, import_files
from fssbench.plugins.calls import plugin_call


@dataclass
class Plugin:
    """One registered name, loaded or not."""

    name: str
    origin: str
    """`distribution version (module:attr)`, or a file."""
    load: Callable[[], Any]
    value: Any = None
    error: str | None = None

    def get(self) -> Any:
        """Load once; a failure is kept and raised again with its reason.

        Raises:
            PluginError: if the plugin does not load.
        """
        if self.value is None and self.error is None:
            try:
                place = f"plugin {self.name!r} from {self.origin} does not load"
                with plugin_call(f"{place}:", inside=place), _observed_import():
                    self.value = self.load()
            except PluginError as error:
                self.error = str(error)
                raise
        if self.error is not None:
            raise PluginError(self.error)
        return self.value


class Registry:
    """Names of one kind of plugin.

    Args:
        kind: singular, for messages ("method").
        group: entry point group.
        base: qualified name of the class every plugin must derive from, resolved on first load.
    """

    def __init__(self, kind: str, group: str, base: str) -> None:
        self.kind = kind
        self.group = group
        self.base = base
        self._plugins: dict[str, Plugin] | None = None
        self._clashes: dict[str, list[str]] = {}

    def _scan(self) -> dict[str, Plugin]:
        if self._plugins is None:
            self._plugins = {}
            for point in importlib.metadata.entry_points(group=self.group):
                dist = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution"
                self._add(point.name, f"{dist} ({point.value})", point.load)
        return self._plugins

    def _add(self, name: str, origin: str, load: Callable[[], Any]) -> None:
        plugins = self._scan()
        if name in plugins and plugins[name].origin != origin:
            self._clashes.setdefault(name, [plugins[name].origin]).append(origin)
            return
        plugins.setdefault(name, Plugin(name, origin, lambda: self._checked(load())))

    def _checked(self, value: Any) -> Any:
        module, _, attribute = self.base.rpartition(".")
        base = getattr(importlib.import_module(module), attribute)
        if not (inspect.isclass(value) and issubclass(value, base)):
            raise PluginError(f"{value!r} is not a subclass of {self.base}")
        if inspect.isabstract(value):
            missing = ", ".join(sorted(getattr(value, "__abstractmethods__", ())))
            raise PluginError(f"{value.__name__} does not define {missing}")
        if not hasattr(value, "card") and not hasattr(value, "name"):
            raise PluginError(f"{value.__name__} has neither a card nor a name")
        return value

    def names(self) -> list[str]:
        """All registered names, broken ones included, sorted."""
        return sorted(self._scan())

    def plugin(self, name: str) -> Plugin:
        """The plugin of that name, not loaded.

        Raises:
            UsageError: for an unknown name, with neighbours.
            PluginError: if two distributions claim the name.
        """
        plugins = self._scan()
        if name in self._clashes:
            raise PluginError(
                f"{self.kind} {name!r} is registered twice: {' and '.join(self._clashes[name])}. "
                "Uninstall one, or rename its entry point"
            )
        if name not in plugins:
            raise unknown(self.kind, name, plugins, hint=f"Next: `fssbench list {self.kind}s`")
        return plugins[name]

    def get(self, name: str) -> Any:
        """The class of that name.

        Raises:
            UsageError: for an unknown name.
            PluginError: if it does not load or is claimed twice.
        """
        return self.plugin(name).get()

    def add(self, name: str, value: type, origin: str) -> None:
        """Register a class of a plugin file, folder or module; the same origin again replaces it.

        Raises:
            PluginError: if the name is taken by another origin.
        """
        known = self._scan().get(name)
        if known is not None and known.origin == origin:
            del self._scan()[name]
        elif known is not None and f"({value.__module__}:{value.__qualname__})" in known.origin:
            return  # installed, and named besides
        self._add(name, origin, lambda: value)
        if name in self._clashes:
            self.plugin(name)


METHODS = Registry("method", "fssbench.methods", "fssbench.api.Method")
DATASETS = Registry("dataset", "fssbench.datasets", "fssbench.api.Dataset")
REPORTERS = Registry("reporter", "fssbench.reporters", "fssbench.api.Reporter")
BACKBONES = Registry("backbone", "fssbench.backbones", "fssbench.api.Backbone")


def load_plugin(target: str | Path) -> list[str]:
    """Import a plugin and register the methods, data sets, reporters and backbones it defines.

    Args:
        target: a Python file; a folder, which is a package or holds modules; or the name of a module that can
            be imported.  Modules beside a file or in a folder need not be installed.

    Returns:
        What was registered, as `kind name`.

    Raises:
        PluginError: if it does not import or defines no plugin.
        UsageError: if there is no such file, folder or module.
    """
    registered = []
    modules, origin = _imported(target)
    for registry, value in _plugins_of(modules):
        try:
            name = value.name if registry is REPORTERS else value.card.name
        except AttributeError as error:
            raise PluginError(f"{origin}: {error}; a plugin's name is read from it") from None
        registry.add(name, value, origin)
        registered.append(f"{registry.kind} {name}")
    if not registered:
        raise PluginError(
            f"{origin} defines no concrete Method, Dataset, Reporter or Backbone with a card (see fssbench.api)"
        )
    return registered


def _classes(modules: Iterable[ModuleType]) -> Iterator[Any]:
    """Concrete classes that the modules define; a package also gives those it imports from inside itself."""
    names = {module.__name__ for module in modules}
    seen: set[type] = set()
    for module in modules:
        for value in list(vars(module).values()):
            if not inspect.isclass(value) or inspect.isabstract(value) or value in seen:
                continue
            inside = hasattr(module, "__path__") and value.__module__.startswith(f"{module.__name__}.")
            if value.__module__ in names or inside:
                seen.add(value)
                yield value


def _imported(target: str | Path) -> tuple[list[ModuleType], str]:
    """The modules of a plugin, and its origin in words."""
    path = Path(target).expanduser()
    if path.is_file():
        path = path.resolve()
        return [_import(path)], str(path)
    if path.is_dir():
        path = path.resolve()
        return _import_folder(path), str(path)
    name = str(target)
    if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"plugin {name} does not exist: there is no such file, folder or module")
    with _importing(f"plugin module {name}"):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise UsageError(
                f"plugin {name!r} does not exist: there is no such file or folder, and no module of this name can "
                f"be imported. Next: give the file or folder, or install the module{_beside(name)}"
            ) from None
    return [module], f"module {name}"


def _beside(name: str) -> str:
    """A hint at a file that was probably meant."""
    below = Path(*name.split("."))
    paths = (below.with_suffix(".py"), below / "__init__.py")
    return next((f" (there is {path}: --plugin {path})" for path in paths if path.is_file()), "")


def _import_folder(folder: Path) -> list[ModuleType]:
    """Import a package, or the modules of a folder that define classes.

    Scripts and tests in the folder are not executed.
    """
    modules = []
    if (folder / "__init__.py").is_file():
        package = _import(folder)
        if any(True for _ in _plugins_of([package])):
            return [package]
        modules.append(package)
    modules += [_import(path) for path in sorted(folder.glob("*.py")) if _may_define_plugins(path)]
    if not modules:
        below = sorted(path.parent.name for path in folder.glob("*/__init__.py"))
        hint = f" Next: give one of the packages in it: {', '.join(below)}" if below else ""
        raise PluginError(f"folder {folder} holds no Python module that defines a plugin.{hint}")
    return modules


def _plugins_of(modules: list[ModuleType]) -> Iterator[tuple[Registry, Any]]:
    """Plugin classes that the modules define, each with its registry."""
    bases = _contracts()
    for value in _classes(modules):
        for registry, base in bases:
            # a backbone that defines no card is a layout of another one, or a base class of several
            if issubclass(value, base) and (registry is not BACKBONES or "card" in vars(value)):
                yield registry, value


def _contracts() -> list[tuple[Registry, Any]]:
    """Registries with the base class of their plugins, if its module is imported.

    No class derives from a base whose module is not imported.  So a plugin without methods and backbones needs no
    torch.
    """
    homes = {
        METHODS: ("fssbench.contracts.methods", "Method"),
        DATASETS: ("fssbench.contracts.datasets", "Dataset"),
        REPORTERS: ("fssbench.contracts.results", "Reporter"),
        BACKBONES: ("fssbench.contracts.backbones", "Backbone"),
    }
    return [
        (registry, getattr(sys.modules[module], name))
        for registry, (module, name) in homes.items()
        if module in sys.modules
    ]


def _may_define_plugins(path: Path) -> bool:
    """Whether a module of a folder defines classes and is neither a script of packaging nor a test."""
    name = path.stem
    if name.startswith(("_", "test_")) or name.endswith("_test") or name in {"setup", "conftest"}:
        return False
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True  # importing it says what is wrong
    return any(isinstance(node, ast.ClassDef) and node.bases for node in tree.body)


def _import(path: Path) -> ModuleType:
    with _importing(f"plugin {'file' if path.is_file() else 'folder'} {path}"):
        return import_files.import_file(path)


@contextmanager
def _importing(what: str) -> Iterator[None]:
    """Import a plugin; whatever its code raises becomes an error that names it.

    Raises:
        PluginError: if the import raises.
    """
    place = f"{what} does not import"
    with plugin_call(f"{place}:", inside=place, passes=(UsageError,)), _observed_import():
        yield


@contextmanager
def _observed_import() -> Iterator[None]:
    """Keep what an import executes and reads, for the hash of the source."""
    before = set(sys.modules)
    with execution.observed() as observed:
        try:
            yield
        finally:
            import_files.drop_aliases()
            for name in set(sys.modules) - before if observed else ():
                file = getattr(sys.modules[name], "__file__", None)
                _OBSERVED[name] = observed.during_import_of(os.path.realpath(file)) if file else observed


_OBSERVED: dict[str, execution.Observed] = {}


def observed_at_import(cls: type) -> list[execution.Observed]:
    """What was executed and read when the modules of a plugin class were imported."""
    return [_OBSERVED[base.__module__] for base in cls.__mro__ if base.__module__ in _OBSERVED]
