"""Functions that open image files of unknown origin: a fixed list of formats, exact limits, one picture per file.

Pillow recognises a file by its content and knows dozens of formats, some of which run other programs (PostScript is
given to Ghostscript).  Here only the formats of `FORMATS` are recognised, whatever the name of the file ends in.

- Size: a file has at most `MOST_BYTES` bytes; its header announces at most `MOST_PIXELS` pixels, which is checked
  before anything is decoded.
- Frames: an animated GIF, PNG or WebP and a TIFF of several pages are refused, because nothing says which picture is
  meant.  A multi-picture JPEG (MPO, as some cameras write it) is read as its first picture, as every JPEG decoder
  reads it; `data verify` names such files.
- Text, colour profiles and other chunks that are compressed may unpack to 1 MiB each, which is Pillow's limit.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError

from fssbench.errors import DataError
from fssbench.files.regular import MEBIBYTE, open_regular, read_regular
from fssbench.images.png_chunks import find_png_damage

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
"""Formats that data sets have, as Pillow names them."""
MOST_BYTES = 256 * MEBIBYTE
"""Size of the largest file that is read."""
MOST_PIXELS = 89_478_485
"""Pixels of the largest picture that is decoded; Pillow only warns from here to twice as many."""
MOST_SCANS = 500
"""Scans of a progressive JPEG; each costs time for the whole picture, and encoders write about ten."""

VERIFY = "Next: `fssbench data verify`"
"""End of errors about a file of a data set."""
DEPTH = "bits per channel"
"""Key of an image's `info` under which a PNG's stored depth is kept: Pillow reads 16 bits of RGB as 8."""
ORIENTATION = "stored orientation"
"""Key of a TIFF's `info` under which its orientation is kept: Pillow turns the pixels and drops the tag."""
ORIENTATION_TAG = 0x0112
_PNG_DEPTH = 24
"""Place of the depth in a PNG."""
_SIGNATURES = (
    (0, b"%!", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"%PDF", "PDF"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG", "PNG"),
    (0, b"\x8aMNG", "MNG"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "BigTIFF"),
    (0, b"MM\0+", "BigTIFF"),
    (8, b"WEBP", "WebP"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftyp", "an ISO media file, such as a video"),
    (128, b"DICM", "DICOM"),
    (0, b"8BPS", "Photoshop"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\x00\x00\x01\x00", "a Windows icon"),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (40, b" EMF", "a Windows metafile"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"MATLAB", "a MATLAB file"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (0, b"Rar!", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"version https://git-lfs", "a Git LFS pointer (the picture was not downloaded)"),
)
"""Offset, bytes and what they announce."""


@contextmanager
def ignored_warnings(category: type[Warning]) -> Iterator[None]:
    """Ignore warnings of a kind; in the main thread alone, because the filters belong to the whole process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


def open_image(path: Path) -> Image.Image:
    """Decode an image file completely, in its stored mode.

    Raises:
        DataError: if the file is missing, no regular file, too large, of a format that is not in `FORMATS`,
            truncated, damaged, or holds several pictures.
    """
    try:
        content = read_regular(path, MOST_BYTES)
    except FileNotFoundError:
        raise DataError(f"file {path} is missing. {VERIFY}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). {VERIFY}") from None
    return decode_image(content, path)


def read_size(path: Path) -> tuple[int, int]:
    """Read the stored width and height of an image from its header; no pixel is decoded.

    Raises:
        DataError: if the file is missing, no regular file, or of no format in `FORMATS`.
    """
    try:
        with open_regular(path) as file, Image.open(io.BufferedReader(file), formats=FORMATS) as image:
            return image.size
    except DataError:
        raise
    except Exception as error:  # a damaged header may raise almost anything
        raise DataError(f"{path} is not a readable image ({error}). {VERIFY}") from None


def decode_image(content: bytes, path: Path) -> Image.Image:
    """Decode the content of an image file, as `open_image` does; the path is named in errors.

    Raises:
        DataError: as `open_image`.
    """
    # A plugin can set this global, and half a PNG would then load as black rows.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with ignored_warnings(Image.DecompressionBombWarning):  # our limit is exact, see below
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            _check_header(image, content, path)
            if image.format == "TIFF":
                image.info[ORIENTATION] = image.getexif().get(ORIENTATION_TAG, 1)
            image.load()
            if image.format == "PNG":
                image.info[DEPTH] = content[_PNG_DEPTH]
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(
            f"{path} cannot be decoded: it is {describe_content(content)}. Allowed formats are "
            f"{', '.join(FORMATS)}. {VERIFY}"
        ) from None
    except Image.DecompressionBombError:
        raise _make_size_error(path) from None
    except MemoryError:
        raise DataError(f"{path} cannot be decoded: its picture does not fit into memory") from None
    except Exception as error:  # the decoders raise almost anything for a damaged header
        why = str(error) or type(error).__name__
        raise DataError(f"{path} cannot be decoded ({why}). {VERIFY}") from None
    return image


def _check_header(image: Image.Image, content: bytes, path: Path) -> None:
    """Refuse a file whose header shows that it is too large, animated or damaged."""
    limit = min(MOST_PIXELS, Image.MAX_IMAGE_PIXELS or MOST_PIXELS)
    if image.width * image.height > limit:
        raise _make_size_error(path)
    if image.format == "PNG" and (damage := find_png_damage(content)):
        raise DataError(f"{path} cannot be decoded ({damage}). {VERIFY}")
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise DataError(
            f"{path} holds several pictures ({image.format} with more than one frame or page), but an image file "
            "must hold one. Next: store the right picture in a file of its own"
        )
    if image.info.get("progressive") and content.count(b"\xff\xda") > MOST_SCANS:
        raise DataError(
            f"{path} is a JPEG of more than {MOST_SCANS} scans, which would take too long to decode"
        )


def _make_size_error(path: Path) -> DataError:
    limit = min(MOST_PIXELS, Image.MAX_IMAGE_PIXELS or MOST_PIXELS)
    return DataError(
        f"{path} holds more than the {limit:,} pixels that are allowed. Next: store a smaller picture"
    )


def describe_content(content: bytes) -> str:
    """Describe what a file seems to be by its first bytes; nothing is decoded."""
    if not content:
        return "empty"
    for offset, signature, name in _SIGNATURES:
        if content.startswith(signature, offset):
            known = name in {"JPEG", "PNG", "GIF", "BMP", "TIFF", "WebP"}
            return f"{name} by its first bytes" + (", but damaged" if known else "")
    if not any(content[:4096]):
        return "full of zero bytes, as after an interrupted download"
    start = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page, as after a failed download"
    if b"<svg" in start:
        return "SVG by its first bytes"
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in content[:512]):
        return "text"
    return f"of an unknown format (first bytes {content[:8].hex(' ')})"
