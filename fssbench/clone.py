"""Makes a clone of the repository work like an installed program.

In a wheel the built-in plugins lie inside the package, as `fssbench.methods`, `fssbench.datasets` and
`fssbench.reports`, and entry points name them.  In a clone the three folders lie beside `fssbench/`, and the
installed package may be this clone, another version or missing.  If `fssbench` is imported from a clone, its
plugins and metadata come from that clone too, so the code of two versions is never mixed.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from fssbench.errors import PluginError

PLUGIN_FOLDERS = ("methods", "datasets", "reports")
"""Packages that a wheel holds inside `fssbench` and a clone beside it."""
NAME = "fssbench"


def enter_clone(package: Path) -> bool:
    """Make the plugins and the metadata of a clone available if the package lies in a clone.

    Args:
        package: the folder of the package `fssbench`.

    Returns:
        Whether the package lies in a clone.
    """
    package = package.resolve()
    root = package.parent
    if any((package / name / "__init__.py").is_file() for name in PLUGIN_FOLDERS):
        return False
    if not all((root / name / "__init__.py").is_file() for name in PLUGIN_FOLDERS):
        return False
    project = root / "pyproject.toml"
    try:
        # Read it now: a file that is read while a plugin is imported counts as a file of that plugin.
        content = project.read_bytes()
    except OSError:
        return False
    sys.meta_path.insert(0, CloneFinder(CloneDistribution(project, content)))
    return True


def find_plugin_package(name: str) -> ModuleSpec | None:
    """Find one of the packages that a clone holds beside `fssbench`, without importing anything.

    Args:
        name: full name, such as `fssbench.methods`.

    Returns:
        Its spec; None for every other name, and in an installed package.
    """
    finders = [finder for finder in sys.meta_path if isinstance(finder, CloneFinder)]
    return finders[0].find_spec(name) if finders else None


class CloneDistribution(Distribution):
    """Metadata of a clone: the content of `pyproject.toml` in the form of an installed package.

    Args:
        project: the `pyproject.toml`.
        content: its bytes.
    """

    def __init__(self, project: Path, content: bytes) -> None:
        self._file = project
        self._content = content

    @cached_property
    def _project(self) -> dict[str, Any]:
        try:
            project: dict[str, Any] = tomllib.loads(self._content.decode())["project"]
        except (ValueError, KeyError) as error:
            raise PluginError(
                f"{self._file}, which names the built-in plugins, cannot be read ({error}). "
                "Next: `git checkout pyproject.toml`"
            ) from None
        return project

    def read_text(self, filename: str) -> str | None:
        """Return the metadata file of that name, or None if a clone does not have it."""
        if filename == "METADATA":
            needed = "".join(f"Requires-Dist: {each}\n" for each in self._project["dependencies"])
            return f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {self._project['version']}\n{needed}"
        if filename == "entry_points.txt":
            groups = self._project["entry-points"].items()
            return "".join(
                f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
                for group, points in groups
            )
        return f"{NAME}\n" if filename == "top_level.txt" else None

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        """Return the file of the clone for a path of the distribution."""
        return self._file.parent / path


class CloneFinder(DistributionFinder):
    """Finds the plugin packages beside `fssbench`, and shows the clone to `importlib.metadata` before other versions.

    Nothing else in the clone's folder is a module of `fssbench`, whatever its name.

    Args:
        distribution: the metadata of the clone.
    """

    def __init__(self, distribution: CloneDistribution) -> None:
        self._distribution = distribution

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a plugin package of the clone; None for every other module."""
        parent, _, child = name.rpartition(".")
        if parent != NAME or child not in PLUGIN_FOLDERS:
            return None
        return PathFinder.find_spec(name, [str(self._distribution.locate_file("."))])

    def find_distributions(
        self,
        context: DistributionFinder.Context = DistributionFinder.Context(),  # noqa: B008
    ) -> Iterable[Distribution]:
        """Yield the clone if all distributions or `fssbench` are requested."""
        if context.name is None or context.name.lower() == NAME:
            yield self._distribution
