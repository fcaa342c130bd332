"""The data set contract: a reader of the layout people already have on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.contracts.lists import ListFormat
from fssbench.contracts.records import Record
from fssbench.errors import DataError, make_unknown_error
from fssbench.files.folder_suggestions import suggest_data_folder, suggest_inside
from fssbench.files.hashing import hash_present_file
from fssbench.files.links import check_links
from fssbench.files.listing import find_file, list_folder

IGNORE = 255
"""Mask value of pixels that count neither as intersection nor as union."""


class DatasetCard(Record):
    """What a data set is, for people and for reports."""

    name: str
    """Id used on the command line."""
    title: str
    """Name as papers print it."""
    domain: str
    """What the images show: natural, satellite, dermoscopy, radiograph, underwater."""
    folders: tuple[str, ...]
    """Names under which the data root may hold it, preferred first; relative, may be nested."""
    url: str
    """Where the owner publishes it."""
    licence: str
    """Licence or terms, as the owner states them."""
    citation: str
    """Authors, title, venue, year."""
    layout: str
    """The layout on disk that is read, in a few lines."""
    variants: tuple[str, ...] = ()
    """Class sets or populations under which it is used; the first is the default."""
    reference: bool = True
    """Whether a reference implementation's item lists or listing rule exist."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One image that can serve as query or support of one class."""

    item: str
    """Item id: stable, relative, as in the reference streams."""
    class_id: int
    """0-based class id in the reference numbering."""


@dataclass(frozen=True, slots=True)
class Population:
    """The published size of a split.  A count that nobody states is None."""

    entries: int | None = None
    """(image, class) pairs."""
    images: int | None = None
    """Different images.  They are compared if the number of entries is not known."""
    images_by_class: tuple[int, ...] = ()
    """Images of each class, in any order; empty if they are not known."""
    least: bool = False
    """Whether the published set may be larger than these counts, so that more proves nothing."""
    source: str = ""
    """Where the counts are stated."""


@dataclass(frozen=True, slots=True)
class OtherList:
    """A list that entries come from and that is not the reference list of its place."""

    name: str
    """The place, such as `pascal val fold 0`."""
    classes: frozenset[int]
    """Classes whose episodes are affected."""
    problem: str
    """What is known about the list, such as `20 entries, the reference has 346`."""


@dataclass(frozen=True)
class Pool:
    """The ordered list episodes are drawn from.  Order and length decide every draw."""

    entries: tuple[Entry, ...]
    source: str
    """Where the list came from, in words: `reference list files`, or the rule used on the files."""
    published: int | None = None
    """Entries of the published pool: a short form of `population`.  Another number here is marked."""
    population: Population | None = None
    """All that is published about the size.  Where it differs here, a run is marked."""
    other_lists: tuple[OtherList, ...] = ()
    """Lists that are not the reference's.  A run of one of their classes is marked."""

    def __post_init__(self) -> None:
        if self.population is None and self.published is not None:
            object.__setattr__(self, "population", Population(entries=self.published))
        elif self.population is not None:
            object.__setattr__(self, "published", self.population.entries)

    def of_classes(self, classes: tuple[int, ...]) -> tuple[Entry, ...]:
        """Entries of the given classes, in list order."""
        wanted = set(classes)
        return tuple(e for e in self.entries if e.class_id in wanted)


class FindingLevel(StrEnum):
    """How serious a problem of a data set is."""

    ERROR = "error"
    """Results would be wrong or impossible: the data set is not usable."""
    WARNING = "warning"
    """The user should know it; results stay valid."""


@dataclass(frozen=True, slots=True, init=False)
class Finding:
    """One problem of a data set on disk, and its remedy.

    Args:
        level: a `FindingLevel`, or its text `error` or `warning`.
        path: see the fields.
        problem: what is wrong.
        remedy: what to do about it.

    Raises:
        ValueError: for another level, which would be counted neither as an error nor as a warning.
    """

    level: FindingLevel
    path: str
    """File or folder, relative to the data set's root."""
    problem: str
    remedy: str

    def __init__(self, level: str, path: str, problem: str, remedy: str) -> None:
        if level not in tuple(FindingLevel):
            known = " or ".join(FindingLevel)
            raise ValueError(f"the level {level!r} of a finding is unknown. Allowed: {known}")
        values = {"level": FindingLevel(level), "path": path, "problem": problem, "remedy": remedy}
        for name, value in values.items():
            object.__setattr__(self, name, value)


@dataclass
class Verification:
    """The result of `verify`: findings, and what was looked at."""

    dataset: str
    root: Path
    images: int = 0
    masks: int = 0
    findings: list[Finding] = field(default_factory=list)
    histogram: dict[str, int] = field(default_factory=dict)
    """Images per label, by class name; raw values that are no class appear as `value N`."""
    places: tuple[Path, ...] = ()
    """Folders to which links may lead, as `Dataset.places` names them; by default the root alone."""

    def __post_init__(self) -> None:
        self.places = self.places or (self.root,)

    @property
    def ok(self) -> bool:
        """Whether there is no finding of level error."""
        return not any(f.level == FindingLevel.ERROR for f in self.findings)


class Dataset(ABC):
    """A data set on disk.

    A plugin subclasses this, sets `card`, and fills in the abstract methods.  It never writes below
    `root`, draws nothing at random, and makes its pools from names alone where list files exist.

    Args:
        root: the data set's own folder (not the folder of all data sets), or None if only the
            lists are needed and `splits` holds them.
        splits: folder with imported reference list files (the layout of `golden/splits`), or None.
        variant: one of `card.variants`, or None for the first.

    Raises:
        UsageError: for an unknown variant.
    """

    card: ClassVar[DatasetCard]
    layout_folders: ClassVar[tuple[str, ...]] = ()
    """Folders that hold images or masks, relative to the root.  Errors use them to say "did you mean"."""
    list_formats: ClassVar[tuple[ListFormat[Any], ...]] = ()
    """Forms of the image lists that were published for this data set; `fssbench data splits` imports such lists."""
    class_twins: ClassVar[Mapping[str, Mapping[int, int]]] = {}
    """Classes that another data set has under another id: by its name, its class id by the class id here.

    A checkpoint that was trained on one of two twins has met the other one.  It is enough if one data set states it.
    """
    home: ClassVar[Path | None] = None
    """The one folder of a user's own data set, which lies in no folder of all data sets; else None.

    Such a data set is opened without `--data`, has no miniature, and its figures are marked `own data`.
    """
    judges_files: ClassVar[bool] = False
    """Whether `verify`, `image` and `mask` judge every file by the rules of `fssbench.images.judgements`.

    The readers of `fssbench.api` (`read_rgb`, `read_index`, ...) do so.  If a data set does not, the harness reads each
    tested pair in `fssbench data verify`, and doubts a mask without background.  A subclass does not inherit this
    statement, because it may read files in another way.
    """

    def __init__(self, root: Path | None, *, splits: Path | None = None, variant: str | None = None) -> None:
        if variant is not None and variant not in self.card.variants:
            raise make_unknown_error(f"variant of data set {self.card.name}", variant, self.card.variants)
        self.root = root
        self.splits = splits
        self.variant = variant or (self.card.variants[0] if self.card.variants else None)

    @classmethod
    def locate(cls, data: Path) -> Path:
        """Find this data set below the folder of all data sets.

        The first of `card.folders` that holds the data set is taken, or else the first that exists.

        Raises:
            DataError: if none of `card.folders` is there.
        """
        if cls.home is not None:
            return cls.home
        existing = [data / name for name in cls.card.folders if (data / name).is_dir()]
        if existing:
            return next((folder for folder in existing if cls.holds(folder)), existing[0])
        looked = ", ".join(str(data / name) for name in cls.card.folders)
        raise DataError(
            f"data set {cls.card.name!r} not found below {data}: looked for {looked}. "
            f"Next: `fssbench data fetch {cls.card.name}` gets it or says how (its owner: {cls.card.url}), "
            f"or use `--data mini`. {cls._suggest(data)}".rstrip()
        )

    @classmethod
    def _suggest(cls, data: Path) -> str:
        precise = bool(cls.layout_folders) or cls.holds.__func__ is not Dataset.holds.__func__  # type: ignore[attr-defined]
        return suggest_data_folder(data, cls.card.folders, cls.holds, any_name=precise)

    @classmethod
    def holds(cls, root: Path) -> bool:
        """Return whether a folder looks like the root of this data set: a guess from folder names alone."""
        if cls.layout_folders:
            return any((root / folder).is_dir() for folder in cls.layout_folders)
        listing = list_folder(root)
        return bool(listing.folders or listing.strangers)

    def suggestions(self) -> list[tuple[Path, str]]:
        """Folders that may be meant where files are missing, each with a sentence "Did you mean ...?"."""
        if self.root is None:
            return []
        return suggest_inside(self.root, self.card.folders, self.layout_folders, self.holds)

    @property
    def places(self) -> tuple[Path, ...]:
        """Folders that may hold files of this data set, through links too: its own, and that of all data sets.

        Override if a data set lies in several places.
        """
        if self.root is None:
            return ()
        for name in self.card.folders:
            parts = Path(name).parts
            if parts and self.root.parts[-len(parts) :] == parts:
                return self.root, self.root.parents[len(parts) - 1]
        return (self.root,)

    def path(self, relative: str) -> Path:
        """Absolute path of a file of this data set; its ending may differ in case on disk.

        Raises:
            DataError: if the data set was opened from lists alone, or a link leads out of the data folder.
        """
        if self.root is None:
            raise DataError(
                f"data set {self.card.name!r} was opened from its lists alone; give its folder with --data"
            )
        path = find_file(self.root / relative)
        check_links(path, self.places)
        return path

    @abstractmethod
    def classes(self) -> dict[int, str]:
        """Return the names of all classes of this variant, by 0-based class id."""

    @abstractmethod
    def pool(self, split: str) -> Pool:
        """Return the ordered entries of a split ("trn", "val" or "test"); no image is opened if lists exist.

        Raises:
            DataError: if files or lists are missing, naming them.
            UsageError: for a split this data set does not have.
        """

    def files(self, item: str) -> tuple[Path, ...]:
        """Return the files an item is read from, image first; their bytes are part of a run's identity.

        Override it if an item is more than the one file that its id names.
        """
        return (self.path(item),)

    def content(self, item: str) -> str:
        """Name the picture of an item by what it is, not by where it lies.

        Items with one content are one picture: where one of them is tested, none is trained on, and a
        query is not its own support.  By default the hash of the first of `files(item)`.  Override where
        pictures have an id that all releases share (`coco:000000000009`), or where one file holds the
        images of several items.

        Raises:
            DataError: if the file is missing.
        """
        files = self.files(item)
        if not files:
            return f"{self.card.name}:{item}"
        try:
            return f"sha256:{hash_present_file(files[0])}"
        except OSError as error:
            raise DataError(f"{files[0]} cannot be read ({error.strerror})") from None

    def aliases(self, item: str) -> tuple[str, ...]:
        """Return every item id under which a list of this data set may name the same picture.

        The checkpoints that come with fssbench name their pictures by item id alone.
        """
        return (item,)

    @abstractmethod
    def image(self, item: str) -> Image.Image:
        """Return the image of an item: mode RGB, as stored, at its own size."""

    @abstractmethod
    def label(self, item: str) -> NDArray[np.uint8]:
        """Return the item's raw label map (H, W) as stored: palette indices, binary values or decoded colours."""

    @abstractmethod
    def mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        """Return the item's mask for one class, uint8 (H, W) as the image: 0 background, 1 the class, 255 ignored."""

    def shown_classes(self, item: str) -> tuple[int, ...]:
        """Ids of all classes of which the item's label has a pixel, also of small objects that no list names.

        A method that is taught all classes at once asks for them.  By default none: the lists are all that is known.
        """
        return ()

    def resizes_mask(self, item: str) -> bool:
        """Return whether an item is published with a mask of another size than its image, which the reference resizes.

        Asked only if the sizes differ.  Such an episode is marked; without this, the mask is refused.
        """
        return False

    @abstractmethod
    def verify(self) -> Verification:
        """Look at every file; find all that is missing, unreadable or wrongly encoded.  Repairs nothing."""

    @classmethod
    def miniature(cls, data: Path, seed: int) -> None:
        """Write a small procedural data set below `data`, in the raw published layout.

        Where the real download needs `prepare`, this writes the download and runs `prepare`.  A data set of private
        images need not have a miniature; then `--data mini` cannot open it, and `fssbench check` needs real files.

        Raises:
            DataError: if this data set has no miniature.
        """
        raise DataError(
            f"data set {cls.card.name!r} has no miniature. Next: give the folder of its files with --data DIR"
        )

    @classmethod
    def has_miniature(cls) -> bool:
        """Return whether the data set defines `miniature`."""
        return getattr(cls.miniature, "__func__", None) is not Dataset.miniature.__func__  # type: ignore[attr-defined]

    @classmethod
    def prepare(cls, source: Path, data: Path) -> Iterator[str]:
        """Turn the public download at `source` into the layout that is read, below `data`.

        Yields:
            One line per step done, for the log.

        Raises:
            DataError: if this data set needs no preparing, or the download is incomplete.
        """
        raise DataError(
            f"data set {cls.card.name!r} is read as it is published and needs no preparing; "
            f"put it at {data / cls.card.folders[0]}"
        )
