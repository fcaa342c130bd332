"""Files that are no picture, or more than one: refused by name, before anything is decoded or run."""

from __future__ import annotations

import io
import os
import socket
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from at_night import draw_more
from hypothesis import given, settings, strategies as st
from messages import error_names
from PIL import Image, PngImagePlugin

from fssbench.errors import DataError
from fssbench.images import opening
from fssbench.images.opening import MOST_PIXELS, open_image
from fssbench.images.png_chunks import find_png_damage

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs files that only POSIX systems have")

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 30
%%EndComments
showpage
%%EOF
"""


def picture(mode: str = "RGB", shade: int = 90) -> Image.Image:
    noise = np.random.default_rng(shade).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG with one chunk more, right behind its header."""
    return png[:33] + chunk(kind, data) + png[33:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
def test_formats_of_data_sets_are_read_under_any_ending(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(picture(), kind))
    assert open_image(path).size == (40, 30)


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PCX", "JPEG2000", "SGI", "DIB", "MSP"])
def test_other_formats_of_pillow_are_refused(tmp_path: Path, kind: str) -> None:
    image = picture("1" if kind == "MSP" else "RGB")
    path = tmp_path / "picture.png"
    try:
        image.save(path, kind)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {kind}")
    assert Image.open(path).format is not None, "Pillow itself would read it"
    with pytest.raises(DataError) as caught:
        open_image(path)
    assert error_names(caught.value, path, "JPEG, PNG, BMP, GIF, WEBP, TIFF", "Next:")


@posix
@pytest.mark.parametrize(
    "start", [b"", b"\xc5\xd0\xd3\xc6" + struct.pack("<6IH", 30, 99, 0, 0, 0, 0, 0xFFFF)]
)
def test_postscript_in_a_jpg_starts_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    canary = tmp_path / "canary"
    for name in ("gs", "gswin64c", "gswin32c"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntouch '{canary}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "picture.jpg"
    path.write_bytes(start + EPS)
    with pytest.raises(DataError, match="PostScript"):
        open_image(path)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (bytes(5000), "zero bytes"),
        (b"%PDF-1.7", "PDF"),
        (b"\n<!DOCTYPE html><html>404", "web page"),
        (b'<?xml version="1.0"?><svg/>', "SVG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"PK\x03\x04", "zip"),
        (b"\x93NUMPY", "NumPy"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"hello", "text"),
        (b"\x01\x02\x03", "01 02 03"),
    ],
)
def test_what_is_no_picture_is_named_by_its_first_bytes(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        open_image(path)


@posix
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    path = Path("picture.png")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(DataError, match=kind):
        open_image(path)  # waits for ever on a pipe if it is opened as a file


def test_a_link_in_a_circle_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png"):
        open_image(tmp_path / "a.png")


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(picture(), "PNG"))
    monkeypatch.setattr(opening, "MOST_BYTES", path.stat().st_size)
    open_image(path)
    monkeypatch.setattr(opening, "MOST_BYTES", path.stat().st_size - 1)
    with pytest.raises(DataError, match="bytes"):
        open_image(path)


@pytest.mark.parametrize("limit", [None, 10**12])
@pytest.mark.parametrize("rows", [0, 1])
def test_pixels_are_limited_exactly_and_by_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, limit: int | None
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # as a careless plugin leaves it
    width, height = 5, MOST_PIXELS // 5 + rows
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path = tmp_path / "picture.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    with pytest.raises(DataError) as caught:
        open_image(path)
    assert ("more than the 89," in str(caught.value)) == bool(rows)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_files_of_several_pictures_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(picture(), kind, save_all=True, append_images=[picture(shade=1)]))
    with pytest.raises(DataError, match="several pictures"):
        open_image(path)


def test_the_first_picture_of_a_multi_picture_jpeg_is_read(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(picture(), "MPO", save_all=True, append_images=[picture(shade=1)], quality=95))
    image = open_image(path)
    assert image.format == "MPO"
    alone = Image.open(io.BytesIO(encoded(picture(), "JPEG", quality=95)))
    assert np.array_equal(np.asarray(image), np.asarray(alone))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_text_that_unpacks_to_more_than_a_mebibyte_is_refused(tmp_path: Path, kind: bytes) -> None:
    bomb = zlib.compress(bytes(50 << 20))
    data = b"a\0\1\0\0\0" + bomb if kind == b"iTXt" else b"a\0\0" + bomb
    path = tmp_path / "picture.png"
    path.write_bytes(with_chunk(encoded(picture(), "PNG"), kind, data))
    with pytest.raises(DataError, match="cannot be decoded"):
        open_image(path)


def test_a_jpeg_of_thousands_of_scans_is_refused(tmp_path: Path) -> None:
    content = encoded(picture(), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    path = tmp_path / "picture.jpg"
    path.write_bytes(content[:last] + content[last:-2] * 1000 + b"\xff\xd9")
    with pytest.raises(DataError, match="scans"):
        open_image(path)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_wrong_bit_anywhere_in_a_png_is_found(data: st.DataObject) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "said")
    content = bytearray(encoded(picture(), "PNG", pnginfo=info))
    assert find_png_damage(bytes(content)) is None
    place = data.draw(st.integers(8, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    assert find_png_damage(bytes(content)) is not None


@given(st.integers(0, 200))
@settings(max_examples=50, deadline=None)
def test_a_png_that_lost_its_end_is_found_and_one_with_a_tail_is_not(cut: int) -> None:
    content = encoded(picture(), "PNG")
    assert find_png_damage(content + bytes(cut)) is None
    assert cut == 0 or find_png_damage(content[:-cut]) is not None


BASES: tuple[Callable[[], bytes], ...] = tuple(
    lambda kind=kind: encoded(picture(), kind)  # type: ignore[misc]
    for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
)


RUBBISH = given(
    st.sampled_from(BASES),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=20),
    st.floats(0, 1),
)


@settings(max_examples=100, deadline=None)
@RUBBISH
def test_rubbish_is_a_picture_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory,
    base: Callable[[], bytes],
    changes: list[tuple[float, int]],
    cut: float,
) -> None:
    content = bytearray(base())
    for where, value in changes:
        content[int(where * (len(content) - 1))] = value
    path = tmp_path_factory.mktemp("rubbish") / "picture.png"
    path.write_bytes(bytes(content[: int(cut * len(content))] if cut > 0.3 else content))
    try:
        open_image(path)
    except DataError as error:
        assert str(path) in str(error)


test_rubbish_is_a_picture_or_a_data_error_at_night = draw_more(
    test_rubbish_is_a_picture_or_a_data_error, RUBBISH, 400
)
