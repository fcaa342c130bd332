"""Names of a picture that are equal in every item, folder and data set that contains it.

A picture has one or two names: the name from its data set (a number or id that all releases
share), and the hash of its file.  Two items with a common name are the same picture.  A picture that was
encoded again and has no id in its name counts as another picture, because nothing shows that they are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fssbench.errors import DataError, FssbenchError, PluginError
from fssbench.files.hashing import hash_present_file
from fssbench.files.links import check_links
from fssbench.plugins.calls import plugin_call

if TYPE_CHECKING:
    from fssbench.contracts.datasets import Dataset
    from fssbench.contracts.episodes import Episode

Names = Mapping[str, frozenset[str]]
"""Names of the picture of each item."""


@dataclass(frozen=True)
class Pictures:
    """Names of the pictures of some items of one data set."""

    names: Names = field(default_factory=dict)
    """Names that hold across data sets."""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Other item ids within the data set."""

    @classmethod
    def of_plan(cls, dataset: Dataset, plan: Iterable[Episode]) -> Pictures:
        """Read the pictures of all queries and supports of a plan."""
        items = dict.fromkeys(item for e in plan for item in (e.query, *e.supports))
        return cls(name_pictures(dataset, items), {item: tuple(dataset.aliases(item)) for item in items})


def name_pictures(dataset: Dataset, items: Iterable[str]) -> Names:
    """Return all names of the pictures of some items.

    Files are read.  The hash of a file that several items share is not a name of their pictures.  A missing file has
    no hash; other functions report it.
    """
    files = {item: _find_image_file(dataset, item) for item in dict.fromkeys(items)}
    served = Counter(path for path in files.values() if path is not None)
    names: dict[str, frozenset[str]] = {}
    for item, path in files.items():
        given = find_given_name(dataset, item)
        bytes_name = _hash_bytes(path) if path is not None and served[path] == 1 else None
        names[item] = frozenset(name for name in (given, bytes_name) if name is not None)
    return names


def find_same_pictures(
    dataset: Dataset, items: Collection[str], other: Dataset, others: Collection[str]
) -> frozenset[str]:
    """Find the items whose pictures are also among the pictures of other items.

    Only files whose sizes occur on both sides are read.

    Args:
        dataset: data set of `items`.
        items: items to search.
        other: data set of `others`; may be the same.
        others: items whose pictures are searched for.
    """
    shared = set(items) & set(others) if other.card.name == dataset.card.name else set()
    theirs = {find_given_name(other, item) for item in others} - {None}
    shared |= {item for item in items if find_given_name(dataset, item) in theirs}
    return frozenset(shared | _find_same_bytes(dataset, set(items) - shared, other, others))


def _find_same_bytes(
    dataset: Dataset, items: Collection[str], other: Dataset, others: Collection[str]
) -> set[str]:
    """Return the items whose file has the same bytes as the file of one of the others."""
    mine = {item: path for item in items if (path := _find_image_file(dataset, item)) is not None}
    theirs = Counter(path for item in others if (path := _find_image_file(other, item)) is not None)
    served = Counter(mine.values()) + theirs  # the hash of a file that several items share is not a name
    by_size: dict[int, list[Path]] = {}
    for path in theirs:
        if served[path] == 1:
            by_size.setdefault(_measure_size(path), []).append(path)
    hashes: dict[int, set[str | None]] = {}
    same: set[str] = set()
    for item, path in mine.items():
        size = _measure_size(path)
        if served[path] == 1 and size in by_size:
            if size not in hashes:
                hashes[size] = {_hash_bytes(each) for each in by_size[size]} - {None}
            if _hash_bytes(path) in hashes[size]:
                same.add(item)
    return same


def count_queries_among_supports(episodes: Iterable[Episode], names: Names) -> int:
    """Count the episodes whose query is also one of their supports, under its own or another name.

    Args:
        episodes: the episodes.
        names: names of the pictures of their items.
    """
    unknown: frozenset[str] = frozenset()
    return sum(
        any(
            support == e.query or names.get(support, unknown) & names.get(e.query, unknown)
            for support in e.supports
        )
        for e in episodes
    )


def find_given_name(dataset: Dataset, item: str) -> str | None:
    """Return the name of an item's picture in its data set; None if the data set defines none.

    Raises:
        PluginError: if the data set's `content` fails.
    """
    from fssbench.contracts.datasets import Dataset

    if type(dataset).content is Dataset.content:
        return None
    try:
        with plugin_call(f"data set {dataset.card.name!r}: content({item!r}) fails:"):
            return str(dataset.content(item))
    except PluginError:
        raise
    except FssbenchError:
        return None  # its file is missing, which other functions report


def _find_image_file(dataset: Dataset, item: str) -> Path | None:
    """Return the file that holds the image of an item; None if none can be read, or if only lists are known."""
    if dataset.root is None:
        return None
    try:
        with plugin_call(f"data set {dataset.card.name!r}: files({item!r}) fails:"):
            files = dataset.files(item)
        if not files or not files[0].is_file():
            return None
        check_links(files[0], dataset.places)
        return files[0]
    except PluginError:
        raise
    except FssbenchError:
        return None


def _measure_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _hash_bytes(path: Path) -> str | None:
    try:
        return f"sha256:{hash_present_file(path)}"
    except (OSError, DataError):
        return None
