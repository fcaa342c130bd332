"""Reference lists of images: which folder holds them, and how a user imports them.

The lists belong to the reference repositories, and users import them.  Data sets define the formats
(`Dataset.list_formats`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

from fssbench.contracts.lists import ListFormat
from fssbench.data.list_files import describe_text_file, read_list_bytes
from fssbench.data.list_formats import list_formats, require_sound_formats
from fssbench.data.list_judgement import ListJudgement, judge_list
from fssbench.errors import DataError
from fssbench.files.atomic import replace_file
from fssbench.files.cache import cache_folder
from fssbench.files.in_use import hold_folder
from fssbench.plugins.calls import plugin_call
from fssbench.plural import describe_count


def find_list_folder(explicit: Path | None = None, data: Path | None = None) -> Path | None:
    """Return the folder of reference lists to use, or None if there is none.

    Args:
        explicit: a folder that the user named; always wins.
        data: the folder of all data sets; its `splits` comes second, that of the cache third.

    Raises:
        DataError: if the named folder does not exist or holds no list folder.
    """
    if explicit is not None:
        if not _holds_lists(explicit):
            formats = list_formats()
            folders = _join([f"{form.family}/" for form in formats])
            origins = _join(list(dict.fromkeys(form.origin for form in formats)))
            raise DataError(
                f"folder {explicit} holds no reference lists: it must contain {folders}. "
                f"Next: `fssbench data splits DIR` with the lists of {origins}"
            )
        return explicit
    places = [cache_folder() / "splits"] if data is None else [data / "splits", cache_folder() / "splits"]
    hold_folder(cache_folder() / "splits")
    return next((place for place in places if _holds_lists(place)), None)


def _holds_lists(place: Path) -> bool:
    """Return whether a folder holds lists.  All data sets are loaded for their families, but only if it exists."""
    return place.is_dir() and any((place / form.family).is_dir() for form in list_formats())


def _join(names: list[str]) -> str:
    """Join names to "a, b or c"."""
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1] if names else "") if part)


def import_lists(source: Path, target: Path) -> list[str]:
    """Check the reference lists below `source` and copy them below `target`.

    Nothing is written unless every list that is there is sound.

    Returns:
        One line per list: its name, number of entries, whether it is the reference list of its place, and
        the SHA-256 of the file written. Then one line per family and split of which a fold is missing.

    Raises:
        DataError: if there is no list at all, one is malformed (with file and line), or one is the
            reference list of another split.
        PluginError: if the list formats of a data set are not sound, or two data sets define the same family.
    """
    require_sound_formats()
    formats = list_formats()
    ready = [row for form in formats for row in _read_lists(form, source)]
    if not ready:
        raise DataError(
            f"{source} holds no reference list; it must contain {_join([form.file_pattern for form in formats])} "
            f"({_join(list(dict.fromkeys(form.origin for form in formats)))}){_describe_other_lists(source)}"
        )
    report = []
    for name, count, verdict, content in sorted(ready, key=lambda row: row[0]):
        _write(target / name, content)
        digest = hashlib.sha256(content).hexdigest()
        report.append(
            f"{name}: {describe_count(count, 'entry', 'entries')}, {_describe_verdict(verdict)}, sha256 {digest}"
        )
    return report + _describe_missing_lists(formats, {name for name, *_ in ready})


def _read_lists(form: ListFormat[Any], source: Path) -> list[tuple[str, int, ListJudgement, bytes]]:
    """Read the lists of one format: imported name, number of entries, judgement and bytes to be written."""
    rows = []
    for place in form.published:
        with plugin_call(f"lists of the family {form.family!r} cannot be read:"):
            path = form.path(source, place.split, place.fold)
            if not path.is_file():
                continue
            content = form.read(path)
            lines = form.hashed_lines(content)
            imported = form.imported_bytes(content, read_list_bytes(path))
            name = form.file_names(place.split, place.fold)[0]
        rows.append((name, len(lines), judge_list(form, place.split, place.fold, lines, path), imported))
    return rows


def _describe_other_lists(source: Path) -> str:
    """Describe the first text file below a folder without reference lists."""
    others = sorted(path for pattern in ("*.txt", "*/*.txt", "*/*/*.txt") for path in source.glob(pattern))
    return f"; {describe_text_file(others[0])}" if others else ""


def _describe_verdict(judgement: ListJudgement) -> str:
    """Say in words whether a list is the reference's."""
    if judgement.problem is not None:
        return f"not the reference list ({judgement.problem})"
    if judgement.proven:
        return "the reference list"
    return "as long as the reference list, whose hash is unknown"


def _describe_missing_lists(formats: list[ListFormat[Any]], imported: set[str]) -> list[str]:
    """Return a line per folder for which only some of the lists were imported."""
    expected: dict[str, list[PurePosixPath]] = {}
    for form in formats:
        for place in form.published:
            name = PurePosixPath(form.file_names(place.split, place.fold)[0])
            expected.setdefault(name.parent.as_posix(), []).append(name)
    lines = []
    for folder, names in expected.items():
        missing = [name.stem for name in names if name.as_posix() not in imported]
        if 0 < len(missing) < len(names):
            lines.append(f"{folder} lacks {', '.join(missing)}, so its lists cannot be used without them")
    return lines


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}). Next: name another --into"
        ) from None
