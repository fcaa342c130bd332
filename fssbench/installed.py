"""Versions and entry points of installed packages, read once until a package is installed or removed.

A run asks for about twenty versions: those of its context, and those of the packages that its plugins import.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from functools import lru_cache
from types import MappingProxyType
from typing import TypeAlias

_VERSION = re.compile(r"^Version:[ \t]*(\S+)[ \t]*$", flags=re.MULTILINE)
_Places: TypeAlias = tuple[tuple[str, int | None], ...]
"""The folders in which Python searches for packages, each with the time of its last change."""


def find_version(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed.

    The result is that of `importlib.metadata.version`, which also parses the description of the package, and so takes
    ten times as long.  A package may be installed while a notebook is open: its new version is noticed.
    """
    return _read_version(package, _date_places())


def map_entry_points(group: str) -> MappingProxyType[str, str]:
    """Map the values of an entry point group, such as `mine.method:Mine`, to the name and version of their package."""
    return _read_packages(group, _date_places())


def list_entry_points(group: str) -> tuple[importlib.metadata.EntryPoint, ...]:
    """List the entry points of a group."""
    return _read_entry_points(group, _date_places())


def _date_places() -> _Places:
    """List the folders of packages; an installation changes the time of one, because it adds and removes files."""
    return tuple((place, _read_time(place)) for place in sys.path)


def _read_time(place: str) -> int | None:
    try:
        return os.stat(place or ".").st_mtime_ns  # noqa: PTH116 - a hundred times per run
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=256)
def _read_version(package: str, _places: _Places) -> str | None:
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    header, _, _ = (distribution.read_text("METADATA") or "").partition("\n\n")
    match = _VERSION.search(header)
    return match[1] if match else distribution.version


@lru_cache(maxsize=16)
def _read_entry_points(group: str, _places: _Places) -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=group))


@lru_cache(maxsize=16)
def _read_packages(group: str, _places: _Places) -> MappingProxyType[str, str]:
    packages: dict[str, str] = {}
    for point in list_entry_points(group):
        if point.dist is not None:
            packages.setdefault(point.value, f"{point.dist.name} {point.dist.version}")
    return MappingProxyType(packages)
