"""Damage in JPEG files that decoders ignore.

The JPEG library continues after damaged data and only warns, and Pillow discards its warnings.  This module uses the
last row of pixels.  In an undamaged baseline JPEG, that row is complete if the decoder has all data up to the end
mark (EOI), and incomplete if the last bytes are missing.  Damaged data usually hold more or fewer blocks than the
picture has, so one of the two statements is false.  In the natural images of PASCAL VOC this test detects a third of
single wrong bits and two thirds of longer damage.

This cannot find damage that keeps the number of blocks, such as a wrong brightness, or damage in
progressive files.  Only recorded hashes show such damage (`fssbench data verify --record`).
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fssbench.files.regular import read_regular
from fssbench.images.opening import MOST_BYTES

_HELD_BACK = 16
"""Number of bytes that are left out at the end of the data; the picture is then incomplete."""
_PADDING = b"\xff\x00" * 8
"""Eight bytes of ones, because the decoder reads ahead; ones are not a code, so they produce few blocks."""
_SOF_SEQUENTIAL = (0xC0, 0xC1)
_SOS = 0xDA
_EOI = 0xD9
_MAY_FOLLOW_A_SCAN = {0xC4, _SOS, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE}
"""Tables, another scan, the number of lines, the restart interval, application data and comments."""
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")


@dataclass(frozen=True)
class _Scan:
    """The one scan of a baseline JPEG."""

    start: int
    """Offset of the first byte of the data."""
    end: int
    """Offset of the next marker, the first byte after the data."""
    marker: int
    """The next marker."""


def find_jpeg_damage(path: Path, decoded: Image.Image) -> str | None:
    """Describe the damage in the data of a JPEG file; None if none is detected or the file is not a JPEG.

    Args:
        path: the file.
        decoded: the picture as `open_image` decoded it.

    Raises:
        OSError: if the file cannot be read.
    """
    if decoded.format not in {"JPEG", "MPO"}:
        return None
    content = read_regular(path, MOST_BYTES)
    scan = _find_only_scan(content)
    if scan is None:
        return None
    if scan.marker != _EOI:
        known = scan.marker in _MAY_FOLLOW_A_SCAN
        return (
            None
            if known
            else f"its data hold the bytes ff {scan.marker:02x}, which are not a marker of a JPEG"
        )
    restarts = [match[1][0] - 0xD0 for match in _RESTART.finditer(content, scan.start, scan.end)]
    if restarts != [place % 8 for place in range(len(restarts))]:
        return "its restart markers are not in order"
    return _compare_blocks(content, scan, decoded)


def _find_only_scan(content: bytes) -> _Scan | None:
    """Find the scan of a sequential JPEG that holds all components at once; None for every other kind."""
    place = 2
    components = 0
    while place + 4 <= len(content) and content[place] == 0xFF:
        kind = content[place + 1]
        if kind == 0xFF:  # a fill byte
            place += 1
            continue
        length = int.from_bytes(content[place + 2 : place + 4])
        if kind in _SOF_SEQUENTIAL and length >= 8:
            components = content[place + 9]
        elif kind == _SOS:
            if not components or content[place + 4] != components:
                return None
            start = place + 2 + length
            after = _MARKER.search(content, start)
            return _Scan(start, after.start(), after[1][0]) if after else None
        place += 2 + length
    return None


def _compare_blocks(content: bytes, scan: _Scan, decoded: Image.Image) -> str | None:
    """Describe whether the data hold too many or too few blocks, judged by the last row of pixels."""
    image = Image.open(io.BytesIO(content), formats=("JPEG",))
    codec, extents, _, arguments = image.tile[0]
    decoder = Image._getdecoder(image.mode, codec, arguments, image.decoderconfig)
    image.load_prepare()
    decoder.setimage(image.im, extents)
    held_back = max(scan.start, scan.end - _HELD_BACK)
    try:
        used, _ = decoder.decode(content[:held_back])
        if used < 0 or _has_last_row(image):
            return "its picture is complete before its data end, so the decoder skipped data"
        used, _ = decoder.decode(content[used : scan.end] + _PADDING)
        if used < 0 or _has_last_row(image):
            return None
    finally:
        decoder.cleanup()
    if not _has_last_row(decoded):
        return None  # a black row cannot be distinguished from a missing one
    return "its data end before its picture is complete, so the decoder invented the rest"


def _has_last_row(image: Image.Image) -> bool:
    """Return whether the last row has been decoded; until then it is black."""
    return image.im.crop((0, image.height - 1, image.width, image.height)).getbbox() is not None
