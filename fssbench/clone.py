"""What makes a clone a working program: its plugins and its metadata, without an installation.

In a wheel the built-in plugins lie inside the package, as `fssbench.methods`, `fssbench.datasets` and
`fssbench.reports`, and entry points name them.  In a clone the three folders lie beside `fssbench/`, and what
is installed may be this clone, another version or nothing.  Whoever imports `fssbench` from a clone gets the
plugins and the metadata of that clone, so that the code of two versions never meets.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from fssbench.errors import PluginError

PLUGIN_FOLDERS = ("methods", "datasets", "reports")
"""Packages that a wheel holds inside `fssbench` and a clone beside it."""
NAME = "fssbench"


def enter_clone(package: Path) -> list[str]:
    """Make the plugins and the metadata of a clone known if the package lies in one.

    Args:
        package: the folder of the package `fssbench`.

    Returns:
        Folders in which subpackages are looked for besides the package's own; none if the package is installed.
    """
    package = package.resolve()
    root = package.parent
    if any((package / name / "__init__.py").is_file() for name in PLUGIN_FOLDERS):
        return []
    if not all((root / name / "__init__.py").is_file() for name in PLUGIN_FOLDERS):
        return []
    project = root / "pyproject.toml"
    try:
        # It is read now because a file that is read while a plugin is imported would count as the plugin's.
        content = project.read_bytes()
    except OSError:
        return []
    sys.meta_path.insert(0, _CloneFinder(CloneDistribution(project, content)))
    return [str(root)]


class CloneDistribution(Distribution):
    """Metadata of a clone: what `pyproject.toml` says, in the form in which an installed package has it.

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
        """A metadata file of an installed package, by its name; None for one that a clone does not have."""
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
        """The file of the clone that a path of the distribution means."""
        return self._file.parent / path


class _CloneFinder(DistributionFinder):
    """Shows `importlib.metadata` the clone first, before any version that is installed."""

    def __init__(self, distribution: CloneDistribution) -> None:
        self._distribution = distribution

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """No module: the ordinary finders find them by the package's `__path__`."""
        return None

    def find_distributions(
        self,
        context: DistributionFinder.Context = DistributionFinder.Context(),  # noqa: B008
    ) -> Iterable[Distribution]:
        """The clone, if any distribution or `fssbench` is asked for."""
        if context.name is None or context.name.lower() == NAME:
            yield self._distribution
