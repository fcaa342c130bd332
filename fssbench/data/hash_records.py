"""Hashes of a data set's files, kept in a file while the data are known to be good.

No owner of the seven data sets publishes hashes, and a JPEG with wrong bits is often decoded without an error.  A
record is a text that `sha256sum -c` understands, sorted by path, with sizes and the data set in comments.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fssbench import __version__
from fssbench.contracts.datasets import Dataset, Finding, FindingLevel
from fssbench.errors import DataError, UsageError
from fssbench.files.atomic import replace_file
from fssbench.files.links import check_links
from fssbench.files.listing import is_system_name
from fssbench.files.regular import open_regular, read_regular
from fssbench.files.text import decode_text

TITLE = "# fssbench hashes, version 1"
MOST_BYTES = 1 << 30
_LINE = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
_SIZE = re.compile(r"# (\d+) bytes")
_DATASET = re.compile(r"# data set: (\S+)")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


@dataclass(frozen=True, slots=True)
class FileHash:
    """Hash and size of a file in a record."""

    sha256: str
    size: int | None
    """In bytes; None if the record lacks it, as records of `sha256sum` do."""


def hash_files(dataset: Dataset, record: Path) -> dict[str, FileHash]:
    """Hash every file below the folder of a data set, by relative path with `/`.

    System files are left out, and so is the record itself.

    Raises:
        DataError: if a file cannot be read, is not a regular file, or is a link out of the data folder.
    """
    if dataset.root is None:
        raise DataError(f"data set {dataset.card.name!r} was opened without files. Next: give --data DIR")
    hashes = {}
    own = os.path.realpath(record)
    for relative, path in _walk_files(dataset.root, ""):
        check_links(path, dataset.places)
        if os.path.realpath(path) == own:
            continue
        try:
            with open_regular(path) as file:
                hashes[relative] = FileHash(
                    hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size
                )
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from None
    return dict(sorted(hashes.items()))


def _walk_files(folder: Path, prefix: str, above: frozenset[str] = frozenset()) -> Iterator[tuple[str, Path]]:
    """Yield each file below a folder with its relative path; a folder that links to one above is entered once."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"folder {folder} cannot be listed ({error.strerror})") from None
    for entry in entries:
        if is_system_name(entry.name):
            continue
        if entry.is_dir():
            yield from _walk_files(folder / entry.name, f"{prefix}{entry.name}/", above | {real})
        else:
            yield f"{prefix}{entry.name}", folder / entry.name


def digest_hashes(hashes: dict[str, FileHash]) -> str:
    """Return one sha256 over all paths and hashes, by which two people compare their data."""
    return hashlib.sha256(
        "".join(map(_format_line, hashes, hashes.values())).encode("utf-8", "surrogateescape")
    ).hexdigest()


def write_record(path: Path, dataset: Dataset, hashes: dict[str, FileHash]) -> None:
    """Write a record; an existing file is never replaced, because it may be the only record of undamaged data.

    Raises:
        DataError: if the file exists or cannot be written.
    """
    refuse_existing(path)
    header = (
        TITLE,
        f"# data set: {dataset.card.name}",
        f"# variant: {dataset.variant or 'none'}",
        f"# fssbench: {__version__}",
        f"# files: {len(hashes)}",
        f"# sha256 of all lines: {digest_hashes(hashes)}",
        "# check without fssbench, in the folder of the data set: sha256sum -c FILE",
    )
    rows = (f"# {known.size} bytes\n{_format_line(relative, known)}" for relative, known in hashes.items())
    content = ("\n".join(header) + "\n" + "".join(rows)).encode("utf-8", "surrogateescape")
    try:
        replace_file(path, content)
    except OSError as error:
        raise DataError(
            f"record {path} cannot be written ({error.strerror or error}). Next: name another file"
        ) from None


def refuse_existing(path: Path) -> None:
    """Refuse to replace a file.

    Raises:
        DataError: if there is one.
    """
    if path.exists() or path.is_symlink():
        raise DataError(
            f"{path} exists, and fssbench never replaces a record. Next: compare the data with it (--against {path}), "
            "or name another file"
        )


def _format_line(relative: str, known: FileHash) -> str:
    escaped = "".join(_ESCAPES.get(c, c) for c in relative)
    mark = "\\" if escaped != relative else ""
    return f"{mark}{known.sha256}  {escaped}\n"


def read_record(path: Path, dataset: str) -> dict[str, FileHash]:
    """Read a record, or the output of `sha256sum` in the folder of the data set.

    Raises:
        UsageError: if it belongs to another data set.
        DataError: if it cannot be read, or a line is malformed; the error names the line.
    """
    lines = _read_lines(path)
    hashes: dict[str, FileHash] = {}
    size = None
    for number, line in enumerate(lines, start=1):
        if line.startswith("#"):
            match = _DATASET.fullmatch(line)
            if match and match[1] != dataset:
                raise UsageError(f"{path} is a record of data set {match[1]!r}, not of {dataset!r}")
            size = int(match[1]) if (match := _SIZE.fullmatch(line)) else None
        elif line.strip():
            relative, sha256 = _parse_line(line, number, path)
            hashes[relative] = FileHash(sha256, size)
            size = None
    if not hashes:
        raise DataError(f"record {path} names no file. Next: `fssbench data verify {dataset} --record FILE`")
    return hashes


def _read_lines(path: Path) -> list[str]:
    try:
        content = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise DataError(f"record {path} cannot be read ({error.strerror})") from None
    try:
        return decode_text(content, path).split("\n")
    except DataError:  # a file name need not be valid text; a file of another kind fails at its first line
        return [line.rstrip("\r") for line in content.decode("utf-8", "surrogateescape").split("\n")]


def _parse_line(line: str, number: int, path: Path) -> tuple[str, str]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise DataError(
            f"{path}, line {number} is {line[:120]!r}, but a line of a record is a sha256, two spaces and a path"
        )
    name = match[3]
    if match[1]:
        name = re.sub(r"\\([\\nr])", lambda m: {"\\": "\\", "n": "\n", "r": "\r"}[m[1]], name)
    return name.removeprefix("./"), match[2].lower()


def compare_hashes(
    recorded: dict[str, FileHash], present: dict[str, FileHash], record: Path
) -> list[Finding]:
    """Name each file that changed, is missing or was added since the record was made."""
    findings = []
    for relative in sorted({*recorded, *present}):
        then, now = recorded.get(relative), present.get(relative)
        if now is None:
            problem = f"the file is missing, but the record {record.name} names it"
            remedy = "get the file from its owner again"
        elif then is None:
            problem = f"the file was added: the record {record.name} does not name it"
            remedy = "remove it, or record the data again if the file belongs to them"
        elif then.sha256 == now.sha256:
            continue
        else:
            sizes = (
                f"{now.size} bytes"
                if then.size in {None, now.size}
                else f"{now.size} bytes, recorded {then.size}"
            )
            problem = f"the file was changed: its hash is not the recorded one ({sizes})"
            remedy = "get the file from its owner again"
        findings.append(Finding(FindingLevel.ERROR, relative, problem, remedy))
    return findings
