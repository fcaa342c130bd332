"""The list contract: the form of the image lists that were published for a data set.

The lists belong to their authors, so a user brings them in one folder.  A data set states in `Dataset.list_formats`
how its lists are named and read, and by which hashes the published ones are known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class PublishedList:
    """One published list.  If it has no hash, only its length is known, which proves nothing."""

    split: str
    """Split that the list stands for."""
    fold: int | None
    """Fold that the list stands for; None for a data set without folds."""
    entries: int
    """Number of lines that are hashed."""
    sha256: str | None = None
    """Hash of the entries in order (`hash_list`)."""
    set_sha256: str | None = None
    """Hash of the sorted entries, by which the same entries in another order are recognised."""
    other_lengths: tuple[tuple[int, str], ...] = ()
    """Lengths of other lists that circulate for this place, each with its owner, such as `the lists of PMNet`."""

    @property
    def place(self) -> str:
        """The split and the fold, such as `val fold 0`."""
        return self.split if self.fold is None else f"{self.split} fold {self.fold}"


class ListFormat(ABC, Generic[Content]):
    """How the lists of one data set are named, read and recognised.

    Subclasses set the attributes and define `file_names`, `read` and `hashed_lines`.  A list is hashed by what it says
    and not by its bytes, so that line ends or a change of the file format make no other list.
    """

    family: str
    """Folder of these lists below the folder of all lists, such as `pascal`."""
    file_pattern: str
    """All files of the family in one expression for messages, such as `pascal/{trn,val}/fold*.txt`."""
    origin: str
    """Where a user gets the lists, such as "`data/splits` of the HSNet repository"."""
    published: tuple[PublishedList, ...]
    """The published lists, exactly one per split and fold."""
    unit: tuple[str, str] = ("entry", "entries")
    """What one hashed line is called, singular and plural."""
    mixed_up: str = "images"
    """What would get into a wrong split if a list stood in the place of another split's list."""
    line_forms: tuple[tuple[str, str], ...] = ()
    """Lines that are typical of lists of this data set, also of lists that are not read: each as a regular expression
    of the whole line, and what such a line names.  Errors use them to say what a strange file is."""

    @abstractmethod
    def file_names(self, split: str, fold: int | None) -> tuple[str, ...]:
        """Return the files that may hold a list, relative to the folder of all lists.

        The list is read from the first file that exists, and it is imported under the first name.
        """

    @abstractmethod
    def read(self, path: Path) -> Content:
        """Read a list file, which comes from a stranger: check every line.

        Raises:
            DataError: if the file is missing or malformed, with the number of the line.
        """

    @abstractmethod
    def hashed_lines(self, content: Content) -> list[str]:
        """Return the lines by which a list is recognised, one per entry."""

    def imported_bytes(self, content: Content, stored: bytes) -> bytes:
        """Return what `fssbench data splits` writes; by default the bytes that were read.

        Args:
            content: the list as `read` returned it.
            stored: the bytes of the file.
        """
        return stored

    def published_list(self, split: str, fold: int | None) -> PublishedList:
        """Return the published list of a split and fold."""
        return next(each for each in self.published if (each.split, each.fold) == (split, fold))

    def path(self, folder: Path, split: str, fold: int | None = None) -> Path:
        """Return the path of a list: the first of `file_names` that is a file, or else the last one.

        Args:
            folder: the folder of all lists.
            split: split of the list.
            fold: fold of the list; None for a data set without folds.
        """
        paths = [folder / name for name in self.file_names(split, fold)]
        return next((path for path in paths if path.is_file()), paths[-1])
