from __future__ import annotations

import io
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from messages import error_names
from PIL import Image, ImageFile
from torch.nn import functional

from fssbench.errors import DataError
from fssbench.images.reading import (
    MEAN,
    STD,
    open_image,
    read_binary,
    read_index,
    read_rgb,
    resize_mask,
    to_input,
)


def _noise(height: int = 40, width: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_palette_is_read_as_indices(tmp_path: Path) -> None:
    values = np.array([[0, 1], [15, 255]], np.uint8)
    image = Image.fromarray(values).convert("L")
    palette = Image.frombytes("P", (2, 2), values.tobytes())
    palette.putpalette([v for i in range(256) for v in ((i * 37) % 256, 200, 255 - i)])
    for name, stored in (("grey.png", image), ("palette.png", palette)):
        stored.save(tmp_path / name)
        assert read_index(tmp_path / name).tolist() == [[0, 1], [15, 255]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1", "I;16"])
def test_masks_without_indices_are_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "mask.png"
    Image.new(mode, (4, 4)).save(path)
    with pytest.raises(DataError, match="8.bit"):
        read_index(path)


@pytest.mark.parametrize("percent", [0, 1, 10, 50, 90, 99])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("reader", [open_image, read_rgb, read_index, read_binary])
def test_truncated_files_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    percent: int,
    suffix: str,
    reader: Callable[[Path], object],
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as a careless plugin leaves it
    path = tmp_path / f"cut.{suffix}"
    image = _noise().convert("L") if reader is read_index else _noise()
    image.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * percent // 100])
    with pytest.raises(DataError, match="cut"):
        reader(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_image(tmp_path / "absent.png")
    assert error_names(caught.value, tmp_path / "absent.png", "missing", "fssbench data verify")


def test_folder_and_text_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(DataError, match="text"):
        open_image(tmp_path / "text.png")
    with pytest.raises(DataError, match="a folder"):
        open_image(tmp_path)


@pytest.mark.parametrize("orientation", [0, 2, 3, 6, 8])
def test_images_that_are_to_be_turned_are_refused(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    _noise(40, 60).save(tmp_path / "turned.jpg", exif=exif)
    with pytest.raises(DataError, match=f"orientation {orientation}"):
        read_rgb(tmp_path / "turned.jpg")
    exif[0x0112] = 1
    _noise(40, 60).save(tmp_path / "upright.jpg", exif=exif)
    assert read_rgb(tmp_path / "upright.jpg").size == (60, 40)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("CMYK", "jpg"), ("L", "jpg"), ("P", "png"), ("RGBA", "png"), ("1", "png")]
)
def test_other_modes_become_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    _noise().convert(mode).save(path)
    image = read_rgb(path)
    assert (image.mode, image.size) == ("RGB", (60, 40))
    if mode == "L":
        grey = np.asarray(image)
        assert (grey[..., 0] == grey[..., 2]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1)])
def test_extreme_shapes(tmp_path: Path, shape: tuple[int, int]) -> None:
    _noise(*shape).save(tmp_path / "thin.png")
    tensor = to_input(read_rgb(tmp_path / "thin.png"), 32)
    assert tensor.shape == (3, 32, 32)
    assert torch.isfinite(tensor).all()


@pytest.mark.parametrize("factor", [0.9, 0.4])
def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    _noise().save(tmp_path / "bomb.png")
    # between once and twice the limit Pillow only warns
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(40 * 60 * factor))
    with pytest.raises(DataError) as caught:
        open_image(tmp_path / "bomb.png")
    assert error_names(caught.value, tmp_path / "bomb.png", "pixels that are allowed", "Next:")


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """20,000 x 20,000 pixels are 1.2 GB as RGB, and a file of a few kilobytes."""
    side = 20_000
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(1 + side // 8)) for _ in range(side)) + rows.flush()
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    for kind, part in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")):
        content += struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
    (tmp_path / "bomb.png").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (open_image, read_rgb, read_index, read_binary):
        with pytest.raises(DataError, match=r"bomb\.png"):
            read(tmp_path / "bomb.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_binary_masks(tmp_path: Path) -> None:
    values = np.array([[0, 127], [128, 255]], np.uint8)
    Image.fromarray(values).save(tmp_path / "grey.png")
    assert read_binary(tmp_path / "grey.png").tolist() == [[0, 0], [1, 1]]
    palette = Image.frombytes("P", (2, 1), bytes([0, 1]))
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.save(tmp_path / "palette.png")
    assert read_binary(tmp_path / "palette.png").tolist() == [[0, 1]]
    Image.frombytes("1", (8, 1), b"\x0f").save(tmp_path / "bits.png")
    assert read_binary(tmp_path / "bits.png").tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]


def test_sixteen_bit_binary_mask_is_not_misread(tmp_path: Path) -> None:
    values = np.array([[0, 200], [300, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="16"):
        read_binary(tmp_path / "deep.png")


@settings(max_examples=300, deadline=None)
@given(*[st.integers(1, 700)] * 4)
def test_resize_equals_torch_nearest(h: int, w: int, height: int, width: int) -> None:
    mask = np.random.default_rng(h * 701 + w).integers(0, 256, (h, w), dtype=np.uint8)
    theirs = functional.interpolate(
        torch.from_numpy(mask)[None, None].float(), (height, width), mode="nearest"
    )
    assert np.array_equal(resize_mask(mask, height, width), theirs[0, 0].numpy().astype(np.uint8))


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)), *[st.integers(1, 60)] * 2)
def test_a_resized_mask_has_no_label_of_its_own(mask: np.ndarray, height: int, width: int) -> None:
    """Any other rule than nearest neighbour mixes labels into new ones."""
    resized = resize_mask(mask, height, width)
    assert resized.shape == (height, width)
    assert np.isin(resized, mask).all()


@pytest.mark.parametrize("size", [(40, 60), (123, 77), (32, 32), (9, 500)])
def test_input_equals_torchvision(size: tuple[int, int]) -> None:
    from torchvision import transforms

    image = _noise(*size)
    theirs = transforms.Compose(
        [transforms.Resize((32, 32)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
    assert torch.equal(to_input(image, 32), theirs(image))


def test_input_does_not_alias_the_image() -> None:
    image = _noise(32, 32)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    to_input(image, 32).zero_()
    again = io.BytesIO()
    image.save(again, "PNG")
    assert buffer.getvalue() == again.getvalue()
