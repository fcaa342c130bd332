"""The folder of the data sets: one that the user names, or the miniature, which is drawn when it is first needed.

The miniature in the cache keeps each data set in its own folder, named after the code that drew it
(`mini-1-0/pascal-4f1c2a9b0d/VOC2012/...`).  A data set is drawn when a benchmark first needs it, and one rename makes
it visible.  A changed generator uses another folder, so it never reads an old drawing.  `make_miniature` writes the
same pictures into one folder, in the layout of real data, for people to look at.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from fssbench.contracts.datasets import Dataset
from fssbench.contracts.records import Record
from fssbench.data.reference_lists import find_list_folder
from fssbench.errors import DataError, PluginError, UsageError
from fssbench.files.atomic import replace_file
from fssbench.files.cache import cache_folder
from fssbench.files.clean_text import shorten_middle
from fssbench.files.home import expand_home
from fssbench.files.in_use import hold_folder
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.registry import DATASETS
from fssbench.plugins.source_hash import hash_source

GENERATOR = 1
"""Version of the whole miniature; the code of each data set is hashed in addition."""
MINIATURE_SEED = 0
"""Seed of the miniature that `--data mini` reads."""
MARKER = "MINIATURE.json"
"""File that marks a folder as a miniature, whose images are drawings."""


class _Marker(Record):
    """The content of `MINIATURE.json`."""

    generator: int = GENERATOR
    seed: int
    apart: bool = False
    """Whether each data set has its own folder and is drawn on demand (the cache)."""
    datasets: dict[str, str] = {}
    """Data sets that are drawn, each with the hash of the code that drew it."""

    @classmethod
    def read(cls, root: Path) -> _Marker:
        try:
            return cls.model_validate_json((root / MARKER).read_bytes())
        except (OSError, ValidationError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
            raise DataError(f"{root / MARKER} cannot be read ({why}). Next: delete {root}") from None

    def write(self, root: Path) -> None:
        replace_file(root / MARKER, f"{self.model_dump_json(indent=1)}\n".encode())


def find_data_folder(data: str | Path | None) -> Path | None:
    """Return the folder that `--data` means, which may be a folder, the word `mini`, or nothing.

    Args:
        data: a folder, the word `mini`, or None for the environment's `FSSBENCH_DATA` (which may be
            `mini` as well).

    Returns:
        The folder of all data sets, or None if neither is given.

    Raises:
        DataError: if the folder does not exist, or the cache cannot be written.
    """
    if data is None:
        data = os.environ.get("FSSBENCH_DATA") or None
        if data is None:
            return None
    if str(data) == "mini":
        return _make_cache_root()
    root = expand_home(data).absolute()  # a plugin may change the working folder
    try:
        is_there = root.is_dir()
    except OSError as error:  # such as a name that is too long
        raise DataError(
            f"data folder {shorten_middle(str(root), 200)} cannot be read ({error.strerror}). Next: check --data"
        ) from None
    if not is_there:
        raise DataError(
            f"data folder {root} does not exist. Next: give the folder that holds the data sets with --data "
            "or FSSBENCH_DATA, or use `--data mini`"
        )
    return root


def find_data_folder_of(name: str, data: str | Path | None) -> Path | None:
    """Return the folder in which a data set is looked for; None for a data set in a folder of the user's own.

    Args:
        name: id of a registered data set.
        data: as for `find_data_folder`.

    Raises:
        UsageError: for an unknown data set.
        DataError: as `find_data_folder`.
        PluginError: if its plugin does not load.
    """
    return None if DATASETS.get(name).home is not None else find_data_folder(data)


def is_miniature(root: Path | None) -> bool:
    """Return whether a data folder holds drawings instead of real images.

    Raises:
        DataError: if the folder cannot be read.
    """
    try:
        return root is not None and (root / MARKER).is_file()
    except OSError as error:
        raise DataError(
            f"data folder {root} cannot be read ({error.strerror}). Next: check its permissions"
        ) from None


def open_dataset(
    name: str,
    *,
    data: str | Path | None = None,
    splits: str | Path | None = None,
    variant: str | None = None,
) -> Dataset:
    """Open a data set by name.

    Args:
        name: id of a registered data set.
        data: as for `find_data_folder`.  With `splits` and no data, the data set is opened from its lists
            alone; it can then list items, but cannot open images.
        splits: folder of reference list files; by default the data folder's `splits`, then the
            imported ones.  For a miniature, lists of real files are only used if they are named.
        variant: one of the data set's variants, or None for its first.

    Raises:
        UsageError: for an unknown data set or variant.
        DataError: if its folder or lists are missing.
        PluginError: if its plugin does not load, or cannot draw its miniature.
    """
    cls: type[Dataset] = DATASETS.get(name)
    if cls.home is not None:
        with plugin_call(f"data set {name!r} cannot be opened:"):
            return cls(cls.home, variant=variant)
    root = find_data_folder(data)
    named = expand_home(splits) if splits is not None else None
    if root is None:
        if named is None:
            raise DataError(
                f"the folder of data set {name!r} is not known. "
                "Next: give --data DIR, set FSSBENCH_DATA or use --data mini"
            )
        with plugin_call(f"data set {name!r} cannot be opened:"):
            return cls(None, splits=find_list_folder(named), variant=variant)
    if is_miniature(root):
        root = _find_or_draw(cls, root)
        beside = root / "splits"
        lists = find_list_folder(named) if named else (beside if beside.is_dir() else None)
    else:
        lists = find_list_folder(named, root)
    with plugin_call(f"data set {name!r} cannot be opened:"):
        return cls(cls.locate(root), splits=lists, variant=variant)


def make_miniature(
    target: Path | None, seed: int = MINIATURE_SEED, names: Sequence[str] | None = None
) -> dict[str, str]:
    """Draw data sets side by side below a folder, in their published layouts.

    Args:
        target: a new or empty folder, or a miniature to be completed; None for the cache, which `--data mini` reads
            (with seed 0).
        seed: equal seeds give equal pictures.
        names: data sets to draw; by default every registered one.

    Returns:
        The outcome for each: `written`, `already there`, `at FOLDER` in the cache, `has no miniature`, or why it could
        not be drawn.  A broken plugin does not stop the others.

    Raises:
        UsageError: for an unknown name, a folder with other files, or a miniature of another seed.
        DataError: if the folder cannot be written.
    """
    wanted = DATASETS.names() if names is None else names
    for name in wanted:
        DATASETS.plugin(name)
    add = _prepare_cache(seed) if target is None else _prepare_folder(target, seed)
    outcome: dict[str, str] = {}
    for name in wanted:
        try:
            cls = DATASETS.get(name)
            if cls.home is None or names is not None:
                outcome[name] = add(cls) if cls.has_miniature() else "has no miniature"
        except PluginError as error:
            outcome[name] = str(error)
    return outcome


def _prepare_cache(seed: int) -> Callable[[type[Dataset]], str]:
    """Return a function that draws a data set into the cache and says where."""
    root = _make_cache_root(seed)
    return lambda cls: f"at {_find_or_draw(cls, root)}"


def _prepare_folder(target: Path, seed: int) -> Callable[[type[Dataset]], str]:
    """Return a function that draws a data set into a folder and says whether it was there already."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        if not is_miniature(target):
            if any(target.iterdir()):
                raise UsageError(f"{target} holds files of another kind. Next: name a new or empty folder")
            _Marker(seed=seed).write(target)
    except OSError as error:
        raise _make_write_error(target, error) from None
    marker = _Marker.read(target)
    if marker.seed != seed or marker.apart:
        raise UsageError(
            f"{target} already holds a miniature of seed {marker.seed}, not {seed}. Next: name another folder"
        )
    return lambda cls: _add_to_folder(cls, target, seed)


def _add_to_folder(cls: type[Dataset], target: Path, seed: int) -> str:
    """Draw one data set into a miniature in which data sets lie side by side, unless it is there."""
    marker = _Marker.read(target)
    digest = _hash_drawing_code(cls)
    if marker.datasets.get(cls.card.name) == digest:
        return "already there"
    try:
        for rest in target.glob(".drawing-*"):  # left by a process that was killed
            shutil.rmtree(rest, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=".drawing-", dir=target))
        try:
            partial.chmod(0o755)
            draw_dataset(cls, partial, seed)
            _move_into(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        marker.model_copy(update={"datasets": {**marker.datasets, cls.card.name: digest}}).write(target)
    except OSError as error:
        raise _make_write_error(target, error) from None
    return "written"


def _move_into(folder: Path, target: Path) -> None:
    """Rename what a folder contains into another one, file by file where both have a folder of one name."""
    for entry in sorted(folder.iterdir()):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _move_into(entry, place)
        else:
            entry.replace(place)


def _make_cache_root(seed: int = MINIATURE_SEED) -> Path:
    root = cache_folder() / f"mini-{GENERATOR}-{seed}"
    if not is_miniature(root):
        try:
            root.mkdir(parents=True, exist_ok=True)
            _Marker(seed=seed, apart=True).write(root)
        except OSError as error:
            raise _make_write_error(root, error) from None
    hold_folder(root)
    return root


def _find_or_draw(cls: type[Dataset], root: Path) -> Path:
    """Return the data folder of one data set in a miniature; draw it if the cache lacks it."""
    marker = _Marker.read(root)
    if not marker.apart:
        return root
    if not cls.has_miniature():
        cls.miniature(root, marker.seed)  # raises the error that says so, before anything is written
    name, digest = cls.card.name, _hash_drawing_code(cls)
    place = root / f"{re.sub(r'[^A-Za-z0-9_]', '_', name)}-{digest[:10]}"
    if place.is_dir():
        return place
    try:
        with FileLock(root / f".{place.name}.lock"):
            # left by a process that died; we hold the lock
            for rest in root.glob(f".drawing-{place.name}-*"):
                shutil.rmtree(rest)
            if not place.is_dir():
                partial = Path(tempfile.mkdtemp(prefix=f".drawing-{place.name}-", dir=root))
                partial.chmod(0o755)  # mkdtemp excludes other users; the cache need not
                draw_dataset(cls, partial, marker.seed)
                _Marker(seed=marker.seed, datasets={name: digest}).write(partial)
                partial.replace(place)
    except OSError as error:
        raise _make_write_error(root, error) from None
    return place


def draw_dataset(cls: type[Dataset], target: Path, seed: int) -> None:
    """Draw one data set into a data folder, and name it if it cannot.

    Raises:
        PluginError: if the data set cannot draw its miniature.
        OSError: if the folder cannot be written.
    """
    with plugin_call(f"data set {cls.card.name!r} cannot draw its miniature:", passes=(OSError,)):
        cls.miniature(target, seed)


@cache
def _hash_drawing_code(cls: type[Dataset]) -> str:
    """Hash the code that draws: the plugin's own source, so that an edit elsewhere draws nothing again."""
    return hash_source(cls, base=Dataset)


def _make_write_error(path: Path, error: OSError) -> DataError:
    return DataError(
        f"the miniature cannot be written to {path} ({error.strerror or error}). "
        "Next: name another folder (for `--data mini`, set FSSBENCH_CACHE)"
    )
