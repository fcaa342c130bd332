"""Registries of plugins during tests; the only place that knows how a registry keeps what it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fssbench.plugins import registry as registry_module
from fssbench.plugins.registry import Registry


@contextmanager
def plugins_restored() -> Iterator[None]:
    """Context at whose end every registry holds the plugins that it held before."""
    registries = [value for value in vars(registry_module).values() if isinstance(value, Registry)]
    before = [
        (dict(r._scan()), {name: list(origins) for name, origins in r._clashes.items()}) for r in registries
    ]
    try:
        yield
    finally:
        for registry, (plugins, clashes) in zip(registries, before, strict=True):
            registry._plugins, registry._clashes = plugins, clashes


def add_lazily(registry: Registry, name: str, origin: str, load: Callable[[], Any]) -> None:
    """Register a plugin that is loaded on first use, as an installed one is."""
    registry._add(name, origin, load)


def forget(registry: Registry, name: str) -> None:
    """Take a plugin out of its registry, if it is there."""
    registry._scan().pop(name, None)


def scan_again(registry: Registry) -> None:
    """Let a registry read the entry points anew on its next use."""
    registry._plugins, registry._clashes = None, {}
