"""Registries of plugins during tests; the only place that knows how a registry keeps what it has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fssbench.plugins import registry as registry_module
from fssbench.plugins.registry import Plugin, Registry, load_plugin


@contextmanager
def plugins_restored() -> Iterator[None]:
    """Context at whose end every registry holds the plugins that it held before."""
    before = [
        (dict(r._scan()), {name: list(origins) for name, origins in r._clashes.items()})
        for r in _REGISTRIES.values()
    ]
    try:
        yield
    finally:
        for registry, (plugins, clashes) in zip(_REGISTRIES.values(), before, strict=True):
            registry._plugins, registry._clashes = plugins, clashes


_REGISTRIES = {value.kind: value for value in vars(registry_module).values() if isinstance(value, Registry)}
_LOADED: dict[Path, list[tuple[Registry, Plugin]]] = {}


def load_support_plugin(file: Path) -> None:
    """Load a plugin file of `tests/support` as `--plugin` does, and once per process.

    Later it is registered only: each loading compares all functions of the process before and after.
    """
    if file not in _LOADED or any(_is_replaced(plugin.get()) for _, plugin in _LOADED[file]):
        words = [entry.split() for entry in load_plugin(file)]
        _LOADED[file] = [(_REGISTRIES[kind], _REGISTRIES[kind].plugin(name)) for kind, name in words]
    for registry, plugin in _LOADED[file]:
        registry._scan()[plugin.name] = plugin


def _is_replaced(cls: type) -> bool:
    """Return whether the module of a class was imported again, or is no longer imported."""
    return vars(sys.modules.get(cls.__module__, object)).get(cls.__qualname__) is not cls


def add_lazily(registry: Registry, name: str, origin: str, load: Callable[[], Any]) -> None:
    """Register a plugin that is loaded on first use, as an installed one is."""
    registry._add(name, origin, load)


def forget(registry: Registry, name: str) -> None:
    """Take a plugin out of its registry, if it is there."""
    registry._scan().pop(name, None)


def scan_again(registry: Registry) -> None:
    """Let a registry read the entry points anew on its next use."""
    registry._plugins, registry._clashes = None, {}
