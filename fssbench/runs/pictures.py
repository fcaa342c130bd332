"""Small pictures of some episodes, stored with a run so that a report needs no data set.

    panels.jsonl     one line per episode: pictures as JPEG, masks as packed and deflated bits, a crc32

The episodes with pictures depend only on the plan: the requested number, evenly spread.  So every method stores the
same ones, and a report can choose the best, the worst and the most disputed among them.  A
line takes 10 kB at one shot and 25 kB at five.  It is written before the record of its episode, so
a killed run lacks no pictures.  No figure depends on this file: a damaged line loses only its own pictures.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.contracts.datasets import IGNORE
from fssbench.contracts.episodes import Episode
from fssbench.contracts.results import Panel, Pictures
from fssbench.data.reader import Reader, Target
from fssbench.errors import DataError
from fssbench.files.append_log import LogLine, seal, split_log, unseal
from fssbench.files.kept_log import KeptLog
from fssbench.files.regular import read_regular
from fssbench.runs.store import StoredRun

PANELS = 60
"""Default number of episodes per plan whose pictures are stored."""
SIDE = 128
"""Longest side of a stored picture, in pixels."""
FILE = "panels.jsonl"
_QUALITY = 80
_KEPT = 256
"""Number of thumbnails in memory."""
_LARGEST = 1024
"""Largest side of a stored picture; fssbench writes no larger ones."""
_BAD = (
    *(OSError, ValueError, KeyError, TypeError, SyntaxError, RecursionError, zlib.error),
    Image.DecompressionBombError,
)
"""Exceptions that damaged pictures raise."""
Places = dict[int, tuple[int, int]]
"""Offset and length of the line of each episode with pictures; a line of no episode has number -1."""
_INDEX = re.compile(rb'\{"i":(\d{1,9}),')


class Thumbnails:
    """Encoded small pictures of a data set's items, shared by the runs of a plan."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.image: Callable[[str], tuple[tuple[int, int], str]] = lru_cache(_KEPT)(self._image)
        """Return width, height and the JPEG in base64 of an item."""

    def _image(self, item: str) -> tuple[tuple[int, int], str]:
        image = self.reader.image(item)
        scale = min(1.0, SIDE / max(image.size))
        size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
        out = io.BytesIO()
        image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0).save(out, "JPEG", quality=_QUALITY)
        return size, base64.b64encode(out.getvalue()).decode()

    def support(self, item: str, class_id: int) -> dict[str, Any]:
        """Return the picture and the mask of a support, in their stored form."""
        size, jpeg = self.image(item)
        return {"size": size, "jpeg": jpeg, "mask": _pack_mask(self.reader.mask(item, class_id) == 1, size)}


class Panels:
    """Writes the pictures of evenly spread episodes of a plan.

    Only the owner of the run may write.  No file is opened before the first episode is saved.

    Args:
        run: the run folder.
        small: source of the thumbnails.
        episodes: length of the full plan.
        keep: number of episodes whose pictures are stored.
    """

    def __init__(self, run: Path, small: Thumbnails, episodes: int, keep: int) -> None:
        self.path = run / FILE
        self.small = small
        keep = min(keep, episodes)
        self._indices = {round((k + 0.5) * episodes / keep - 0.5) for k in range(keep)}
        self._log: KeptLog | None = None
        self._stored: dict[int, bytes] = {}

    def wanted(self, index: int) -> bool:
        """Return whether the pictures of this episode are stored."""
        return index in self._indices

    def save(self, episode: Episode, prediction: NDArray[np.bool_], target: Target) -> None:
        """Store query, supports, ground truth and prediction of one episode.

        Raises:
            DataError: if they cannot be written.
        """
        size, jpeg = self.small.image(episode.query)
        data = {
            "i": episode.index,
            "size": size,
            "jpeg": jpeg,
            "truth": _pack_mask(target.foreground, size),
            "ignored": None if target.ignored is None else _pack_mask(target.ignored, size),
            "prediction": _pack_mask(prediction, size),
            "supports": [self.small.support(item, episode.class_id) for item in episode.supports],
        }
        self.add(episode.index, seal(data))

    def add(self, index: int, line: bytes) -> None:
        """Append a line, unless a process that was killed before the episode was counted has written it already."""
        if self._log is None:
            lines, good = _read_lines(self.path)
            self._stored = {stored: whole.content for stored, whole in lines}
            self._log = KeptLog(self.path, self.path.read_bytes()[:good] if good else b"")
        if self._log.find_harm() and self.path.parent.is_dir():
            self._log.put_back()
        if self._stored.get(index) != line[:-1]:
            self._log.append(line, "Next: free space, or run with --panels 0")
            self._stored[index] = line[:-1]

    def close(self) -> None:
        """Close the file if it was opened; restore what somebody else removed, and sort it by episode."""
        if self._log is not None:
            try:
                if self._log.find_harm(whole=True) and self.path.parent.is_dir():
                    self._log.put_back()
                if not self._log.find_harm():
                    with suppress(DataError):  # a reader takes them in any order
                        self._log.sort(_episode_of)
            finally:
                self._log.close()
                self._log = None


def join_panels(shards: Sequence[Path], run: Path) -> None:
    """Copy the pictures of the shards into the joined run, in the order of the shards."""
    joined = Panels(run, Thumbnails(None), 0, 0)  # type: ignore[arg-type]  # draws nothing
    try:
        for shard in shards:
            for index, line in dict(_read_lines(shard / FILE)[0]).items():
                if index >= 0:
                    joined.add(index, line.content + b"\n")
    finally:
        joined.close()


def locate_panels(run: Path) -> Places:
    """Find the lines of a run's stored pictures.

    Raises:
        DataError: if their log cannot be read.
    """
    return {index: (line.place, len(line.content)) for index, line in _read_lines(run / FILE)[0]}


def read_panels(run: StoredRun, places: Places | None = None) -> Iterator[Panel]:
    """List the stored pictures of a run's counted episodes by index.  Each picture is read when it is used.

    Args:
        run: the run.
        places: what `locate_panels` returns, if it was called already.
    """
    names = dict(zip(run.plan.classes, run.plan.class_names, strict=True))
    path = run.path / FILE
    lines = locate_panels(run.path) if places is None else places
    table = run.table
    rows = {index: row for row, index in enumerate(table.indices.tolist())} if lines else {}
    for index in sorted(lines.keys() & rows.keys()):
        row = rows[index]
        inter, union = int(table.inter[row, 1]), int(table.union[row, 1])
        iou = 100 * inter / union if union else float("nan")
        load = partial(_load_pictures, path, *lines[index])
        yield Panel(index, names[int(table.class_ids[row])], iou, load)


def _read_lines(path: Path) -> tuple[list[tuple[int, LogLine]], int]:
    """Return the complete lines with their episodes, and their size in bytes; a line without episode has number -1."""
    try:
        data = read_regular(path)
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})") from None
    lines, good = split_log(data, path)
    return [(_episode_of(line.content), line) for line in lines], good


def _episode_of(line: bytes) -> int:
    """Index of a line's episode; -1 for a line of no episode."""
    match = _INDEX.match(line)
    return int(match[1]) if match else -1


def _load_pictures(path: Path, place: int, length: int) -> Pictures:
    try:
        with path.open("rb") as file:
            file.seek(place)
            data = unseal(file.read(length))
        query = _decode_picture(data)
        truth = _unpack_shared_mask(data["truth"], query.size).astype(np.uint8)
        if data["ignored"] is not None:
            truth[_unpack_shared_mask(data["ignored"], query.size)] = IGNORE
        supports = tuple(
            (s := _decode_picture(each), _unpack_shared_mask(each["mask"], s.size).copy())
            for each in data["supports"]
        )
        return Pictures(query, truth, _unpack_mask(data["prediction"], query.size), supports)
    except _BAD as error:
        raise DataError(f"{path} holds damaged pictures of an episode ({error})") from None


def _pack_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> str:
    """Resize a mask to the size of a picture by nearest neighbour, and encode it as text."""
    small = Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return base64.b64encode(zlib.compress(np.packbits(np.asarray(small) > 0).tobytes(), 9)).decode()


def _unpack_mask(text: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    count = size[0] * size[1]
    expected = -(-count // 8)
    bits = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), expected + 1)
    if len(bits) != expected:
        raise ValueError(f"a mask has {len(bits)} bytes instead of {expected}")
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=count).reshape(size[1], size[0]) > 0


_unpack_shared_mask = lru_cache(maxsize=64)(_unpack_mask)
"""The same for masks that the runs of all methods on one plan hold; nobody may write on one."""


def _decode_picture(data: dict[str, Any]) -> Image.Image:
    try:
        image = _decode_jpeg(data["jpeg"])
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if list(image.size) != data["size"]:
        raise ValueError(f"a picture has {image.size} pixels, not {data['size']}")
    return image.copy()  # whoever draws on it draws on no other's


@lru_cache(maxsize=32)
def _decode_jpeg(text: str) -> Image.Image:
    """Decode a picture; the runs of several methods on one plan hold the same pictures."""
    image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("JPEG",))
    if max(image.size) > _LARGEST:
        raise ValueError(f"a picture has {image.size} pixels, more than {_LARGEST} on a side")
    return image.convert("RGB")
