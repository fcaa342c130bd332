"""Sizes of the objects that the supports of a run show, which reports divide episodes by.

    supports.json    by class and item: object pixels at the size of the network input

No figure of the run depends on this file.  A run of an earlier version has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fssbench.errors import DataError
from fssbench.runs.store import SCHEMA, read_json, write_json

FILE = "supports.json"
Sizes = dict[tuple[int, str], int]
"""Object pixels by class and item."""


def read_support_sizes(run: Path) -> Sizes:
    """Read the sizes of a run; a run without any has an empty dictionary.

    Raises:
        DataError: if the file is damaged.
    """
    path = run / FILE
    if not path.exists():
        return {}
    classes = read_json(path).get("pixels")
    try:
        sizes = {(int(c), item): pixels for c, items in classes.items() for item, pixels in items.items()}
    except (AttributeError, ValueError):
        sizes = {(0, ""): None}
    if not all(type(pixels) is int and pixels >= 0 for pixels in sizes.values()):
        raise DataError(
            f"{path} does not hold whole numbers of pixels by class and item. Next: delete the file"
        )
    return sizes


def write_support_sizes(run: Path, sizes: Mapping[tuple[int, str], int]) -> None:
    """Replace the sizes of a run.

    Raises:
        DataError: if the file cannot be written.
    """
    classes: dict[str, dict[str, int]] = {}
    for (c, item), pixels in sizes.items():
        classes.setdefault(str(c), {})[item] = pixels
    write_json(run / FILE, {"schema": SCHEMA, "pixels": classes})


def join_support_sizes(shards: Sequence[Path], run: Path) -> None:
    """Write the sizes of all shards into the joined run.

    Raises:
        DataError: if a file is damaged, or the joined one cannot be written.
    """
    sizes = {place: pixels for shard in shards for place, pixels in read_support_sizes(shard).items()}
    if sizes:
        write_support_sizes(run, sizes)
