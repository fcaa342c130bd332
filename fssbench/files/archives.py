"""Archives from strangers: every entry is judged before the first byte is written.

`zipfile.extractall` renames what tries to escape, and `tarfile` extracts until it meets it.  Here an archive is refused
as a whole.  The limits keep a small file from filling memory or disk.
"""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import lzma
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, cast

from fssbench.errors import DataError
from fssbench.files.listing import is_system_name
from fssbench.files.regular import open_regular
from fssbench.plural import join_some

MOST_ENTRIES = 700_000
MOST_BYTES = 256 << 30
"""Bytes of all entries together."""
MOST_IN_ENTRY = 4 << 30
_RATIO = 200
"""Bytes that one byte of an archive may unpack to: drawn masks reach 180, bombs begin at 1,000."""
_SLACK = 16 << 20
"""Bytes that a tiny archive may have in any case."""
_MOST_AT_ONCE = 32 << 20
"""Bytes of names and headers that are read at once; COCO's list of 82,783 images has ten million."""
_LONGEST_NAME, _LONGEST_PATH, _DEEPEST = 255, 1024, 32
_HIDDEN_CHARACTERS = frozenset({"Cc", "Cs", "Cf"})
"""Categories of characters that no name of a picture needs: controls, undecodable bytes, changes of direction."""
_ARCHIVE_ENDINGS = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
_SHOWN = 3
_BLOCK = 1 << 20

Progress = Callable[[int, int], None]
"""Receives the bytes that are written and those of all wanted entries."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry as the archive describes it."""

    name: str
    size: int
    problem: str | None
    """Why the entry is refused whatever its name is, such as `a symbolic link`."""
    folder: bool
    key: Any
    """The entry's description in the library that reads it."""


@dataclass
class Listing:
    """Content of an archive that was checked."""

    wanted: dict[str, _Entry] = field(default_factory=dict)
    """Entries to be unpacked, by their plain relative path."""
    left_out: list[str] = field(default_factory=list)
    nested: list[str] = field(default_factory=list)
    """Archives among the entries that are left out."""

    @property
    def size(self) -> int:
        """Bytes of the wanted entries."""
        return sum(entry.size for entry in self.wanted.values())


class _Reader(Protocol):
    def entries(self) -> Iterator[_Entry]: ...

    def open(self, entry: _Entry) -> IO[bytes]: ...


@contextmanager
def _open_archive(path: Path) -> Iterator[tuple[_Reader, int]]:
    """Yield a reader of an archive, by its content, and the size of the file.

    Raises:
        DataError: if it is no archive, or a damaged one.
    """
    try:
        with open_regular(path) as raw:
            start = raw.read(512)
            size = raw.seek(0, 2)
            raw.seek(0)
            with _choose_reader(raw, start, path) as reader:
                yield reader, size
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        gzip.BadGzipFile,
    ) as error:
        raise DataError(
            f"{path} is damaged or incomplete ({str(error) or type(error).__name__}). Next: get it again"
        ) from None
    except RecursionError:  # each header of a tar that announces a longer name is read one level deeper
        raise DataError(f"{path} cannot be unpacked: its headers are nested too deeply") from None
    except (NotImplementedError, UnicodeDecodeError, ValueError, MemoryError) as error:
        raise DataError(f"{path} cannot be unpacked ({error or type(error).__name__})") from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise DataError(f"{path} cannot be unpacked ({where}{error.strerror or error})") from None


@contextmanager
def _choose_reader(raw: IO[bytes], start: bytes, path: Path) -> Iterator[_Reader]:
    if start[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        with zipfile.ZipFile(cast(Any, _Bounded(raw))) as archive:
            yield _ZipReader(archive)
        return
    unpackers: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
    unpack = next((opener for magic, opener in unpackers.items() if start.startswith(magic)), None)
    if unpack is None and start[257:262] != b"ustar":
        page = " It is a web page, perhaps a login." if start.lstrip()[:1] == b"<" else ""
        raise DataError(f"{path} is neither a zip nor a tar archive.{page} Next: get it again")
    stream = raw if unpack is None else unpack(raw)
    with tarfile.open(fileobj=cast(Any, _Bounded(stream)), mode="r:") as archive:
        yield _TarReader(archive)


class _Bounded:
    """A file that refuses to read more at once than names and headers need, so that memory cannot be filled."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, lambda: None

    def seekable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        if count < 0 or count > _MOST_AT_ONCE:
            count = _MOST_AT_ONCE + 1
        parts = []
        while count and (part := self._file.read(min(count, _BLOCK))):
            parts.append(part)
            count -= len(part)
        content = b"".join(parts)
        if len(content) > _MOST_AT_ONCE:
            raise ValueError(f"its names and headers have more than {_MOST_AT_ONCE:,} bytes")
        return content


class _ZipReader:
    _METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def entries(self) -> Iterator[_Entry]:
        for info in self._archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            problem = None
            if kind == stat.S_IFLNK:
                problem = "a link"
            elif kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                problem = "a device or a pipe"
            elif info.flag_bits & 0x1:
                problem = "encrypted"
            elif info.compress_type not in self._METHODS:
                problem = "compressed by a method that Python does not know"
            name = info.orig_filename if "\0" in info.orig_filename else info.filename
            yield _Entry(name, info.file_size, problem, info.is_dir(), info)

    def open(self, entry: _Entry) -> IO[bytes]:
        return self._archive.open(entry.key)


class _TarReader:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def entries(self) -> Iterator[_Entry]:
        for info in self._archive:
            problem = None
            if info.issym() or info.islnk():
                problem = "a link"
            elif not (info.isreg() or info.isdir()):
                problem = "a device or a pipe"
            elif info.issparse():
                problem = "a file with holes"
            yield _Entry(info.name, info.size, problem, info.isdir(), info)
        # a tar that was cut between two entries would pass as a whole one
        file = self._archive.fileobj
        assert file is not None
        file.seek(self._archive.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("the end is missing")

    def open(self, entry: _Entry) -> IO[bytes]:
        file = self._archive.extractfile(entry.key)
        assert file is not None
        return file


def check_archive(path: Path, keep: Sequence[str] = ("*",), *, published: bool = False) -> Listing:
    """Judge every entry of a zip or tar archive; nothing is written.

    Args:
        path: the archive.
        keep: patterns of `fnmatch` for the paths that are wanted.
        published: whether the archive has its published hash.  Then a strange entry that is not wanted is left out;
            otherwise it refuses the archive.

    Returns:
        What will be unpacked.

    Raises:
        DataError: if it cannot be read, an entry leads out of the folder, is a link or a device, or is there twice, or
            it unpacks to more than an honest archive of its size.
    """
    with _open_archive(path) as (reader, size):
        return _judge(path, reader, size, keep, published)


def _judge(path: Path, reader: _Reader, size: int, keep: Sequence[str], published: bool) -> Listing:
    listing = Listing()
    problems: list[str] = []
    names = _Names()
    total = count = 0
    most = min(MOST_BYTES, _RATIO * size + _SLACK)
    for entry in reader.entries():
        count += 1
        total += entry.size
        if count > MOST_ENTRIES:
            raise _refuse(path, [f"it has more than {MOST_ENTRIES:,} entries"])
        if entry.size < 0 or entry.size > MOST_IN_ENTRY or total > most:
            raise _refuse(
                path,
                [f"{entry.name[:80]!r} and those before it unpack to {total:,} bytes, from {size:,} bytes"],
            )
        problem = entry.problem or _find_name_problem(entry.name)
        plain = "/".join(part for part in entry.name.split("/") if part not in {"", "."})
        problem = problem or names.add(plain, entry.folder)
        wanted = any(fnmatch.fnmatchcase(plain, pattern) for pattern in keep)
        wanted = wanted and not any(map(is_system_name, PurePosixPath(plain).parts))
        if problem and (wanted or not published):
            problems.append(f"{entry.name[:80]!r} is {problem}")
        elif entry.folder:
            continue
        elif wanted:
            listing.wanted[plain] = entry
        else:
            listing.left_out.append(plain)
            if plain.casefold().endswith(_ARCHIVE_ENDINGS):
                listing.nested.append(plain)
    if problems:
        raise _refuse(path, problems)
    return listing


def _refuse(path: Path, problems: Sequence[str]) -> DataError:
    return DataError(
        f"{path} is refused: {join_some(problems, _SHOWN, '; ')}. Nothing was unpacked. "
        "Next: get the archive from the owner of the data again"
    )


def _find_name_problem(name: str) -> str | None:
    parts = name.split("/")
    if name.startswith("/") or (len(name) > 1 and name[1] == ":" and name[0].isalpha()):
        return "an absolute path"
    if ".." in parts:
        return "a path that leads out of the folder"
    if "\\" in name:
        return "a path with a backslash"
    if any(unicodedata.category(c) in _HIDDEN_CHARACTERS for c in name):
        return "a name with control characters or bytes that are no text"
    encoded = [part.encode() for part in parts]
    if max(map(len, encoded)) > _LONGEST_NAME or len(name.encode()) > _LONGEST_PATH or len(parts) > _DEEPEST:
        return "a name that is too long"
    return None


class _Names:
    """Names that an archive has had, as a disk that ignores case would compare them."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def add(self, plain: str, folder: bool) -> str | None:
        """Enter a path; return the problem if it is there already, as a file or as the other kind."""
        name = unicodedata.normalize("NFC", plain).casefold()
        above = name
        while "/" in above:
            above = above.rpartition("/")[0]
            if above in self._files:
                return "below an entry that is a file"
            if above in self._folders:
                break
            self._folders.add(above)
        if folder:
            self._folders.add(name)
            return "a file and a folder" if name in self._files else None
        if name in self._files:
            return "there twice"
        if name in self._folders:
            return "a file and a folder"
        self._files.add(name)
        return None


def unpack_archive(
    path: Path,
    target: Path,
    keep: Sequence[str] = ("*",),
    *,
    published: bool = False,
    progress: Progress | None = None,
) -> Listing:
    """Judge an archive as `check_archive` does, then unpack what is wanted below a folder.

    Args:
        path: the archive.
        target: a folder that only this process writes.  Files that it has are never replaced.
        keep: as for `check_archive`.
        published: as for `check_archive`.
        progress: receives the state after each block.

    Raises:
        DataError: as `check_archive`; also if an entry is damaged or longer than announced, or cannot be written.
    """
    with _open_archive(path) as (reader, size):
        listing = _judge(path, reader, size, keep, published)
        total, done = listing.size, 0
        for plain, entry in listing.wanted.items():
            place = target / plain
            place.parent.mkdir(parents=True, exist_ok=True)
            written = 0
            with reader.open(entry) as source, place.open("xb") as file:
                while block := source.read(_BLOCK):
                    written += len(block)
                    if written > entry.size:
                        raise _refuse(path, [f"{plain!r} is longer than the archive says"])
                    file.write(block)
                    if progress is not None:
                        progress(done + written, total)
            if written != entry.size:
                raise DataError(f"{path} is damaged: {plain} ends early. Next: get it again")
            done += written
    return listing
