"""Where a data set is published, as a record that `fssbench data fetch` follows.

A package offers such a record by an entry point of the group `fssbench.downloads`, under the name of the data set.
It is not part of the data set's own class, so that a moved address changes no identity of a run.
"""

from __future__ import annotations

from pydantic import Field

from fssbench.contracts.records import Record


class Archive(Record):
    """One file of a release."""

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Its name, also that by which a file given with `--from` is recognised."""
    url: str = ""
    """Where it can be downloaded without a login; empty if it cannot."""
    size: int | None = None
    """Bytes, if they are published."""
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """Published hash; empty if nobody published one.  Then the first download decides for later ones."""
    published_by: str = ""
    """Who published the hash."""
    hosts: tuple[str, ...] = ()
    """Hosts to which the owner's server redirects."""
    keep: tuple[str, ...] = ("*",)
    """Patterns of `fnmatch` for the paths in the archive that are needed."""


class Downloads(Record):
    """How the data of one name get into the data folder."""

    archives: tuple[Archive, ...]
    licence: str
    """Licence or terms in a few lines, with the place where they stand."""
    steps: tuple[str, ...] = ()
    """What the user does for files without an address: steps in a browser."""
    prepared: bool = False
    """Whether `Dataset.prepare` turns the unpacked files into the layout that is read; otherwise they are it."""
    modules: tuple[str, ...] = ()
    """Modules that `prepare` needs, so that their absence is noticed before the download."""
    extra: str = ""
    """The extra of fssbench that brings these modules."""
    folder: str = ""
    """For names that are no data set: the folder below the data folder into which the files are imported."""

    @property
    def open(self) -> bool:
        """Whether every file can be downloaded without a login."""
        return all(archive.url for archive in self.archives)
