"""The chunks of a PNG file, and whether their checksums hold.

Pillow checks the checksum of few chunks, and stops reading at the last row of pixels: a PNG whose pixel data are
damaged, or which has lost its end, can be decoded without an error.
"""

from __future__ import annotations

import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def find_png_damage(content: bytes) -> str | None:
    """Describe the damage in a PNG file; None if every chunk up to the end mark is intact.

    Bytes after the end mark are not damage, because some programs append to a PNG.

    Args:
        content: the whole file, which begins with the signature of a PNG.
    """
    view = memoryview(content)
    place = len(SIGNATURE)
    while place + 12 <= len(content):
        length = int.from_bytes(view[place : place + 4])
        end = place + 12 + length
        kind = bytes(view[place + 4 : place + 8])
        if end > len(content):
            return f"the file is truncated in chunk {_decode_name(kind)}"
        if zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            return f"the checksum of chunk {_decode_name(kind)} at byte {place:,} does not match its data"
        if kind == b"IEND":
            return None
        place = end
    return "the PNG is truncated: it has no end mark (IEND)"


def _decode_name(kind: bytes) -> str:
    return kind.decode("ascii", "backslashreplace")
