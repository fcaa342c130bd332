"""Predicted masks of a run, stored without loss beside its counts (`fssbench run --save-masks`).

    masks/00003-2011_000065.png    0 background, 255 object, at the size at which the episode is counted
    masks.jsonl                    one line per episode: file, sha256 and size of its mask, a crc32

The name of a file is the index of the episode and its query.  A file is written before its line, and the line before
the record of its episode, so a killed run lacks no mask.  No figure depends on these files: the same command stores a
mask that is lost or damaged again, if the episode is counted as before.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.contracts.episodes import Episode
from fssbench.errors import DataError
from fssbench.files.append_log import seal, split_log, unseal
from fssbench.files.atomic import replace_file
from fssbench.files.kept_log import KeptLog, read_whole_lines
from fssbench.files.plain_names import make_plain_name
from fssbench.files.regular import read_regular

FILE = "masks.jsonl"
FOLDER = "masks"
_LONGEST_NAME = 100
"""Characters of the query's name in the name of a file."""
_ENDING = re.compile(r"(\.png)+$", re.IGNORECASE)
_HINT = "Next: free space, or run without --save-masks"


@dataclass(frozen=True)
class MaskRecord:
    """Record of one stored mask."""

    index: int
    """Index of the episode."""
    file: str
    """Name of the file in the folder `masks`."""
    sha256: str
    """Hash of the bytes of the file."""
    height: int
    width: int

    def line(self) -> bytes:
        """Write the record as one line of JSON that ends in its own crc32."""
        return seal(asdict(self))

    @classmethod
    def parse(cls, line: bytes) -> MaskRecord:
        """Read a line without its newline.

        Raises:
            ValueError: if the line is damaged.
        """
        data = unseal(line)
        names = ("index", "file", "sha256", "height", "width")
        return cls(
            *(type_of(data[name]) for name, type_of in zip(names, (int, str, str, int, int), strict=True))
        )


class SavedMasks:
    """Writes the masks of one run.  Only the owner of the run may write.

    Args:
        run: the run folder.  Nothing is written before the first mask is saved.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._records: dict[int, MaskRecord] | None = None
        self._log: KeptLog | None = None

    def holds(self, index: int) -> bool:
        """Return whether the mask of an episode is stored and undamaged."""
        record = self._known().get(index)
        return record is not None and not find_mask_fault(self.run, record)

    def save(self, episode: Episode, prediction: NDArray[np.bool_]) -> None:
        """Store the mask (H, W) of one episode.

        Raises:
            DataError: if it cannot be written.
        """
        content = encode_mask(prediction)
        name = name_mask_file(episode)
        path = self.run / FOLDER / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content, durable=False)
        except OSError as error:
            raise DataError(f"mask {path} cannot be written ({error.strerror or error}). {_HINT}") from None
        height, width = prediction.shape
        record = MaskRecord(episode.index, name, hashlib.sha256(content).hexdigest(), height, width)
        self._append(record)

    def _append(self, record: MaskRecord) -> None:
        if self._known().get(record.index) == record:
            return
        if self._log is None:
            path = self.run / FILE
            self._log = KeptLog(path, read_whole_lines(path))
        if self._log.find_harm() and self.run.is_dir():
            self._log.put_back()
        self._log.append(record.line(), _HINT)
        self._known()[record.index] = record

    def _known(self) -> dict[int, MaskRecord]:
        if self._records is None:
            self._records = read_masks(self.run)
        return self._records

    def close(self) -> None:
        """Close the log if it was opened, and sort it by episode, so that equal runs hold equal bytes."""
        if self._log is not None:
            try:
                if not self._log.find_harm():
                    with suppress(DataError):  # a reader takes them in any order
                        self._log.sort(lambda line: MaskRecord.parse(line).index)
            finally:
                self._log.close()
                self._log = None


def name_mask_file(episode: Episode) -> str:
    """Name the file of an episode's mask: the index, which no other episode of the plan has, and the query.

    Example:
        >>> name_mask_file(Episode(3, 0, "CXR_png/CHNCXR_0001_0.png", ()))
        '00003-CXR_png-CHNCXR_0001_0.png'
    """
    query = make_plain_name(_ENDING.sub("", episode.query), keep="._")[-_LONGEST_NAME:]
    return f"{episode.index:05d}-{query}.png"


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Encode a mask (H, W) as a PNG of 8 bits: 0 background, 255 object."""
    out = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(out, "PNG")
    return out.getvalue()


def read_mask(run: Path, record: MaskRecord) -> NDArray[np.bool_]:
    """Read a stored mask (H, W).

    Raises:
        DataError: if it is missing or damaged.
    """
    if fault := find_mask_fault(run, record):
        raise DataError(
            f"mask {run / FOLDER / record.file} {fault}. Next: run its command again with --save-masks"
        )
    with Image.open(run / FOLDER / record.file, formats=("PNG",)) as image:
        mask: NDArray[np.bool_] = np.asarray(image.convert("L")) > 0
    if mask.shape != (record.height, record.width):
        raise DataError(
            f"mask {run / FOLDER / record.file} has {mask.shape} pixels, not {(record.height, record.width)}"
        )
    return mask


def find_mask_fault(run: Path, record: MaskRecord) -> str:
    """Say what is wrong with the file of a mask; empty if it is as it was written."""
    if Path(record.file).name != record.file:
        return "lies outside of its folder"
    try:
        content = read_regular(run / FOLDER / record.file)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except DataError as error:
        return f"cannot be read ({error})"
    return "" if hashlib.sha256(content).hexdigest() == record.sha256 else "was changed"


def read_masks(run: Path) -> dict[int, MaskRecord]:
    """Read the records of the masks of a run by episode; of two for one episode the last counts.

    Raises:
        DataError: for a damaged line.
    """
    path = run / FILE
    records: dict[int, MaskRecord] = {}
    for line in split_log(read_whole_lines(path), path)[0]:
        try:
            record = MaskRecord.parse(line.content)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, line {line.number} is damaged ({error}). Next: delete the file, then run the command again "
                "with --save-masks"
            ) from None
        records[record.index] = record
    return records


def join_masks(shards: Sequence[Path], run: Path) -> None:
    """Copy the masks of the shards into the joined run.

    Raises:
        DataError: if a mask is missing or damaged, or cannot be written.
    """
    joined = SavedMasks(run)
    try:
        for shard in shards:
            for record in read_masks(shard).values():
                if fault := find_mask_fault(shard, record):
                    raise DataError(
                        f"mask {shard / FOLDER / record.file} {fault}. Next: run the command of that shard again"
                    )
                try:
                    (run / FOLDER).mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(shard / FOLDER / record.file, run / FOLDER / record.file)
                except OSError as error:
                    raise DataError(
                        f"mask {run / FOLDER / record.file} cannot be written ({error.strerror}). Next: free space"
                    ) from None
                joined._append(record)
    finally:
        joined.close()
