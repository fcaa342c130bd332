"""Folders that are dear to make: once per test session, also if several workers share the session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from places import PLUGIN_PACKAGE

if TYPE_CHECKING:
    from fssbench.api import Dataset


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` of the session, which the first that asks for it lets `make` fill; read-only by agreement."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the workers' folders lie beside each other
    folder, done = base / name, base / f"{name}.done"
    with FileLock(base / f"{name}.lock"):
        if not done.is_file():
            shutil.rmtree(folder, ignore_errors=True)  # by a worker that failed
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def put_mini_into_cache(mini: Path, cache: Path) -> None:
    """Let `--data mini` read the miniature of the session in a cache folder."""
    from fssbench.data.location import GENERATOR, MINIATURE_SEED

    cache.mkdir(exist_ok=True)
    (cache / f"mini-{GENERATOR}-{MINIATURE_SEED}").symlink_to(mini)


class BuiltInDrawings:
    """Draws each built-in data set once per session and seed, for the caches and data folders of all tests.

    Args:
        factory: of the session's folders.
        draw: the function of the program that draws a data set.
    """

    def __init__(
        self, factory: pytest.TempPathFactory, draw: Callable[[type[Dataset], Path, int], None]
    ) -> None:
        self._factory, self._draw = factory, draw

    def copy(self, cls: type[Dataset], target: Path, seed: int) -> None:
        """Copy the drawing of a data set into a folder; one that is not built in is drawn there."""
        if _is_built_in(cls):
            shutil.copytree(self.make(cls, seed), target, dirs_exist_ok=True)
        else:
            self._draw(cls, target, seed)

    def make(self, cls: type[Dataset], seed: int) -> Path:
        """Return the folder with the drawing of a built-in data set."""
        name = f"drawn-{cls.card.name}-{seed}"
        return make_once(self._factory, name, lambda folder: self._draw(cls, folder, seed))

    def make_all(self, classes: Iterable[type[Dataset]], seed: int) -> None:
        """Make the drawings of the built-in ones; every second worker begins at the end, so that two share the work."""
        built_in = [cls for cls in classes if _is_built_in(cls)]
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        for cls in built_in[::-1] if number % 2 else built_in:
            self.make(cls, seed)


def _is_built_in(cls: type[Dataset]) -> bool:
    return cls.__module__.startswith("fssbench.datasets.")


def install_toys(folder: Path) -> None:
    """Install the package `fssbench-toys` into a folder as a user would, from a copy of its sources."""
    source = folder.with_name(f"{folder.name}-source")
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(PLUGIN_PACKAGE, source)  # setuptools leaves build folders beside what it builds
    options = ["-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, str(source)], check=True, capture_output=True
    )
