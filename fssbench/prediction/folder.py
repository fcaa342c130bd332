"""The folder of a prediction: one owner at a time, files that are whole or absent, and nothing overwritten silently.

An image is finished when its line is in `predictions.jsonl`; its mask, overlay and thumbnail were written before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from fssbench.contracts.records import first_problem
from fssbench.errors import DataError, LockedError, UsageError
from fssbench.files.append_log import AppendLog, seal, split_log, unseal
from fssbench.files.atomic import replace_file
from fssbench.files.hashing import hash_present_file
from fssbench.files.writable import require_writable
from fssbench.images.opening import open_image
from fssbench.prediction.layout import LOG, MANIFEST, OWN_FOLDERS, SHEET, TABLE, list_output_files, name_page
from fssbench.prediction.records import ImageRecord, PredictionManifest

FORMAT = 1
"""Version of the format of the folder."""
_LOCK = ".lock"
_SHOWN = 160
"""Characters of a setting that an error shows."""


class PredictionFolder:
    """An output folder, locked while it is used.

    Args:
        path: the folder.
        manifest: what this process is going to predict.
        force: whether a folder with other settings is emptied of its own files; otherwise it is refused.

    Attributes:
        records: finished images by `place`.

    Raises:
        UsageError: if the folder was begun with other settings, or holds files of somebody else in our places.
        DataError: if it is damaged or cannot be written.
        LockedError: if another process predicts into it.
    """

    def __init__(self, path: Path, manifest: PredictionManifest, *, force: bool = False) -> None:
        self.path = path
        self.records: dict[str, ImageRecord] = {}
        self._manifest = manifest
        self._force = force
        self._lock = FileLock(path / _LOCK)
        self._log: AppendLog | None = None

    def __enter__(self) -> PredictionFolder:
        require_writable(self.path, "--out")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise LockedError(
                f"{self.path} is in use by another process. Next: wait until it has ended, or choose another --out"
            ) from None
        except OSError as error:
            raise DataError(f"{self.path} cannot be locked ({error}). Next: choose another --out") from error
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._log is not None:
                self._log.close()
        finally:
            self._lock.release()

    def _open(self) -> None:
        stored = read_manifest(self.path)
        if stored is None:
            self._refuse_strangers()
        elif stored.identity != self._manifest.identity:
            if not self._force:
                raise UsageError(_explain_other_settings(self.path, stored, self._manifest))
            self._empty()
            stored = None
        if stored is None:
            self.write(MANIFEST, (json.dumps(self._manifest.as_stored(), indent=2) + "\n").encode())
        records, good = _read_log(self.path / LOG)
        self.records = {record.place: record for record in records}
        self._log = AppendLog(self.path / LOG, good)

    def _refuse_strangers(self) -> None:
        """Refuse a folder in which files that are not ours have our names."""
        present = [
            name for name in (*OWN_FOLDERS, LOG, TABLE, f"{SHEET}.html") if (self.path / name).exists()
        ]
        if present:
            raise UsageError(
                f"{self.path} holds {', '.join(present)}, but no {MANIFEST}, so fssbench did not write them and "
                "does not overwrite them. Next: choose another --out"
            )

    def _empty(self) -> None:
        """Delete what the stored prediction wrote, and nothing else."""
        records, _ = _read_log(self.path / LOG)
        names = [file for record in records for file in list_output_files(record.name)]
        try:
            for name in [*names, TABLE, LOG]:  # the log last: a run that is killed here can begin again
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"{self.path} cannot be emptied ({error}). Next: choose another --out") from error
        self.remove_pages(1)
        for folder in OWN_FOLDERS:
            _remove_empty_folders(self.path / folder)

    def is_finished(self, record: ImageRecord) -> bool:
        """Return whether all files of a record are there, and its mask can be read."""
        if not all((self.path / name).is_file() for name in list_output_files(record.name)):
            return False
        return not self.is_changed(record) or self._can_read_mask(record)

    def is_changed(self, record: ImageRecord) -> bool:
        """Return whether the mask is not the one that was written, for example because a person corrected it."""
        try:
            return hash_present_file(self._mask_path(record)) != record.mask_sha256
        except (OSError, DataError):
            return True

    def _can_read_mask(self, record: ImageRecord) -> bool:
        try:
            return open_image(self._mask_path(record)).size == (record.width, record.height)
        except DataError:  # a power cut may leave an empty file
            return False

    def _mask_path(self, record: ImageRecord) -> Path:
        return self.path / list_output_files(record.name)[0]

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the folder, whole or not at all.

        Raises:
            DataError: if it cannot be written, for example because the disk is full.
        """
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # a file that a power cut damaged is noticed when the run resumes; waiting for the disk would be slow
            replace_file(path, content, durable=False)
        except OSError as error:
            raise DataError(
                f"{path} cannot be written ({error.strerror or error}). Finished images are kept. "
                "Next: free space, and the same command again"
            ) from error

    def add(self, record: ImageRecord) -> None:
        """Note that an image is finished.

        Raises:
            DataError: if the line cannot be written.
        """
        assert self._log is not None  # the folder is open
        line = seal(record.as_stored())
        self._log.append(line, "Finished images are kept. Next: free space, and the same command again")
        self.records[record.place] = record

    def remove_pages(self, first: int) -> None:
        """Delete pages of the contact sheet from a number on, which an earlier run with more images wrote."""
        while (page := self.path / name_page(first)).is_file():
            with suppress(OSError):
                page.unlink()
            first += 1


def read_manifest(path: Path) -> PredictionManifest | None:
    """Read the manifest of a folder; None if it has none.

    Raises:
        DataError: if it is damaged or of a newer version.
    """
    file = path / MANIFEST
    try:
        content = json.loads(file.read_bytes())
        manifest = PredictionManifest.read_stored(content)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror})") from None
    except ValidationError as error:
        raise DataError(f"{file} is damaged ({first_problem(error)}). Next: choose another --out") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged ({error}). Next: choose another --out") from None
    if manifest.format > FORMAT:
        raise DataError(
            f"{file} has format {manifest.format}, newer than {FORMAT}. Next: choose another --out"
        )
    return manifest


def read_records(path: Path) -> list[ImageRecord]:
    """Read the records of the finished images of a folder, the last one of each image.

    Raises:
        DataError: if the log cannot be read.
    """
    return list({record.place: record for record in _read_log(path / LOG)[0]}.values())


def _read_log(path: Path) -> tuple[list[ImageRecord], int]:
    """Read all whole records, and the number of bytes of whole lines; a damaged line only costs its image."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    lines, good = split_log(data, path)
    records = []
    for line in lines:
        with suppress(ValueError):
            content = unseal(line.content)
            content.pop("crc", None)
            records.append(ImageRecord.read_stored(content))
    return records, good


def find_place(image: Path, out: Path) -> str:
    """Return the path of an image relative to the output folder, by which a second run knows it again."""
    real = os.path.realpath(image)
    try:
        return Path(os.path.relpath(real, os.path.realpath(out))).as_posix()
    except ValueError:  # another drive of Windows
        return Path(real).as_posix()


def _explain_other_settings(path: Path, stored: PredictionManifest, wanted: PredictionManifest) -> str:
    names = sorted(stored.settings.keys() | wanted.settings.keys())
    pairs = [(name, stored.settings.get(name), wanted.settings.get(name)) for name in names]
    differing = [
        f"{name}: {_shorten(old)} there, {_shorten(new)} now" for name, old, new in pairs if old != new
    ]
    return (
        f"{path} was begun with other settings ({'; '.join(differing)}), and masks of two settings must not be mixed. "
        "Next: choose another --out, or --force to delete its masks and start anew"
    )


def _shorten(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def _remove_empty_folders(folder: Path) -> None:
    """Delete folders that hold no file; files of others stay with their folders."""
    walk: Iterable[tuple[str, list[str], list[str]]] = os.walk(folder, topdown=False)
    remove: Callable[[str], None] = os.rmdir
    for place, _, _ in walk:
        with suppress(OSError):
            remove(place)
