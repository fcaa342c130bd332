"""Folders that are dear to make: once per test session, also if several workers share the session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
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


def draw_built_ins_once(
    factory: pytest.TempPathFactory, draw: Callable[[type[Dataset], Path, int], None]
) -> Callable[[type[Dataset], Path, int], None]:
    """Wrap the function that draws a data set: a built-in one is drawn once per session and seed, then copied."""

    def copy(cls: type[Dataset], target: Path, seed: int) -> None:
        if not cls.__module__.startswith("fssbench.datasets."):
            return draw(cls, target, seed)
        name = f"drawn-{cls.card.name}-{seed}"
        drawing = make_once(factory, name, lambda folder: draw(cls, folder, seed))
        shutil.copytree(drawing, target, dirs_exist_ok=True)
        return None

    return copy


def install_toys(folder: Path) -> None:
    """Install the package `fssbench-toys` into a folder as a user would, from a copy of its sources."""
    source = folder.with_name(f"{folder.name}-source")
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(PLUGIN_PACKAGE, source)  # setuptools leaves build folders beside what it builds
    options = ["-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, str(source)], check=True, capture_output=True
    )
