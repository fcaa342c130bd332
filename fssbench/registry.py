"""Plugins by name: lazy, over entry points and `--plugin FILE`.  Built-ins have no privilege.

A registry never hides a broken plugin and never lets it hide others: what fails to load is kept
with its reason and reported when it is asked for or listed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from fssbench.errors import PluginError, UsageError, unknown


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
            PluginError: where the plugin does not load.
        """
        if self.value is None and self.error is None:
            try:
                self.value = self.load()
            except (KeyboardInterrupt, MemoryError):
                raise
            except BaseException as error:  # an import may raise anything, SystemExit included
                self.error = f"{type(error).__name__}: {error}"
        if self.error is not None:
            raise PluginError(f"plugin {self.name!r} from {self.origin} does not load: {self.error}")
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
            raise TypeError(f"{value!r} is not a subclass of {self.base}")
        if inspect.isabstract(value):
            missing = ", ".join(sorted(getattr(value, "__abstractmethods__", ())))
            raise TypeError(f"{value.__name__} does not define {missing}")
        if not hasattr(value, "card") and not hasattr(value, "name"):
            raise TypeError(f"{value.__name__} has neither a card nor a name")
        return value

    def names(self) -> list[str]:
        """All registered names, broken ones included, sorted."""
        return sorted(self._scan())

    def plugin(self, name: str) -> Plugin:
        """The plugin of that name, not loaded.

        Raises:
            UsageError: for an unknown name, with neighbours.
            PluginError: where two distributions claim the name.
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
            PluginError: where it does not load or is claimed twice.
        """
        return self.plugin(name).get()

    def add(self, name: str, value: Any, origin: str) -> None:
        """Register a class found in a file.

        Raises:
            PluginError: where the name is taken by another origin.
        """
        self._add(name, origin, lambda: value)
        if name in self._clashes:
            self.plugin(name)


METHODS = Registry("method", "fssbench.methods", "fssbench.api.Method")
DATASETS = Registry("dataset", "fssbench.datasets", "fssbench.api.Dataset")
REPORTERS = Registry("reporter", "fssbench.reporters", "fssbench.api.Reporter")


def load_file(path: Path) -> list[str]:
    """Import a plugin file and register the methods, data sets and reporters it defines.

    Returns:
        What was registered, as `kind name`.

    Raises:
        PluginError: where the file does not import or defines no plugin.
        UsageError: where there is no such file.
    """
    from fssbench.api import Dataset, Method, Reporter

    path = path.resolve()
    if not path.is_file():
        raise UsageError(f"plugin file {path} does not exist")
    module = _import(path)
    found = []
    for value in vars(module).values():
        if not inspect.isclass(value) or value.__module__ != module.__name__ or inspect.isabstract(value):
            continue
        for base, registry in ((Method, METHODS), (Dataset, DATASETS), (Reporter, REPORTERS)):
            if issubclass(value, base):
                try:
                    name = value.name if issubclass(value, Reporter) else value.card.name
                except AttributeError as error:
                    raise PluginError(f"{path}: {error}; a plugin's name is read from it") from None
                registry.add(name, value, str(path))
                found.append(f"{registry.kind} {name}")
    if not found:
        raise PluginError(f"{path} defines no concrete Method, Dataset or Reporter (see fssbench.api)")
    return found


@cache
def _import(path: Path) -> ModuleType:
    name = f"fssbench_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"plugin file {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up
    try:
        spec.loader.exec_module(module)
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        del sys.modules[name]
        raise PluginError(f"plugin file {path} does not import: {type(error).__name__}: {error}") from error
    return module
