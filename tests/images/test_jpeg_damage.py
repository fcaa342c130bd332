"""Damage that the JPEG library passes over: found where it can be, and never in a sound file."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from fssbench.errors import DataError
from fssbench.images.jpeg_damage import find_jpeg_damage
from fssbench.images.opening import open_image


def damage(path: Path) -> str | None:
    return find_jpeg_damage(path, open_image(path))


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@given(
    width=st.integers(1, 100),
    height=st.integers(1, 100),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    quality=st.integers(1, 100),
    subsampling=st.integers(0, 2),
    restarts=st.integers(0, 3),
    progressive=st.booleans(),
    shade=st.sampled_from([None, 0, 99, 255]),
    tail=st.sampled_from([b"", bytes(99), b"a\xff\xd9b\xff\xd9"]),
)
@settings(max_examples=300, deadline=None)
def test_sound_files_of_all_kinds_are_sound(
    tmp_path_factory: pytest.TempPathFactory,
    width: int,
    height: int,
    mode: str,
    quality: int,
    subsampling: int,
    restarts: int,
    progressive: bool,
    shade: int | None,
    tail: bytes,
) -> None:
    image = noise(width, height) if shade is None else Image.new("RGB", (width, height), (shade,) * 3)
    out = io.BytesIO()
    options = {"subsampling": subsampling, "restart_marker_rows": restarts, "progressive": progressive}
    try:
        image.convert(mode).save(out, "JPEG", quality=quality, **options)
    except OSError:
        return  # Pillow's buffer is too small for some tiny progressive files
    path = tmp_path_factory.mktemp("sound") / "picture.jpg"
    path.write_bytes(out.getvalue() + tail)
    assert damage(path) is None


def test_much_of_the_damage_in_noise_is_found(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    noise(96, 96).save(path, quality=95)
    content = path.read_bytes()
    rng = random.Random(0)
    noticed = 0
    for _ in range(50):
        changed = bytearray(content)
        start = rng.randrange(700, len(content) - 100)
        changed[start : start + 3] = bytes(b ^ 0x55 for b in changed[start : start + 3])
        path.write_bytes(bytes(changed))
        try:
            noticed += damage(path) is not None
        except DataError:
            noticed += 1
    assert noticed >= 20


def test_restart_marks_out_of_order_and_markers_that_do_not_exist_are_found(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    noise(64, 64).save(path, quality=95, restart_marker_rows=1)
    content = path.read_bytes()
    for old, new, said in ((b"\xff\xd1", b"\xff\xd5", "restart"), (b"\xff\xd2", b"\xff\x4f", "ff 4f")):
        path.write_bytes(content.replace(old, new, 1))
        assert said in (damage(path) or "")


def test_data_cut_from_the_middle_are_found(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    noise(96, 96).save(path, quality=95)
    content = path.read_bytes()
    path.write_bytes(content[:3000] + content[3500:])
    assert "data end before" in (damage(path) or "")
    path.write_bytes(content[:3000] + content[2900:])
    assert "complete before" in (damage(path) or "")


def test_no_real_photograph_is_called_damaged(shared: Path) -> None:
    paths = sorted((shared / "data").glob("*/**/*.jpg"))[::15]
    assert len(paths) > 50
    assert [path for path in paths if damage(path)] == []
