"""`data verify` and the readers judge the same generated files alike: by mode, values, size, orientation, depth.

What verify calls an error, a reader refuses with a DataError; what it warns of in a file is a doubt of the episode or
a note; and a pair without findings is read without a doubt.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from at_night import draw_more
from hypothesis import event, given, settings, strategies as st
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import DataError, Dataset, Episode, UsageError, Verification
from fssbench.data.location import open_dataset
from fssbench.data.reader import Reader

HEIGHT, WIDTH = 24, 32
NOTES = ("soft colours", "alpha channel")
"""Warnings of verify that say how a file is published; they mark nothing."""

orientations = st.sampled_from([*[None] * 9, 1, 3, 6])
sizes = st.sampled_from([*[(HEIGHT, WIDTH)] * 7, (WIDTH, HEIGHT), (HEIGHT, WIDTH // 2)])


@dataclass(frozen=True)
class MaskFile:
    """How a generated mask is stored."""

    values: tuple[int, ...]
    """Values of its stripes; the first is the widest."""
    mode: str
    size: tuple[int, int]
    orientation: int | None
    form: str = "PNG"
    noise: bool = False
    """Whether the lower half is any value at all."""


@dataclass(frozen=True)
class ImageFile:
    """How a generated image is stored."""

    mode: str
    orientation: int | None


def masks(values: st.SearchStrategy[int], modes: list[str]) -> st.SearchStrategy[MaskFile]:
    return st.builds(
        MaskFile,
        values=st.lists(values, min_size=1, max_size=4).map(tuple),
        mode=st.sampled_from([*modes[:2] * 8, *modes]),
        size=sizes,
        orientation=orientations,
        form=st.sampled_from([*["PNG"] * 7, "BMP", "TIFF", "JPEG"]),
        noise=st.sampled_from([False] * 9 + [True]),
    )


images = st.builds(
    ImageFile,
    mode=st.sampled_from(["RGB"] * 18 + ["L", "CMYK", "P", "RGBA", "hole", "I;16", "I", "F", "rgb16", "LAB"]),
    orientation=orientations,
)


def striped(mask: MaskFile) -> NDArray[np.uint8]:
    """Stripes (H, W) of the values, the first from the top to the middle."""
    height, width = mask.size
    rows = [mask.values[0], *mask.values]
    values = np.repeat(np.array(rows, np.uint8), -(-height // len(rows)))[:height, None].repeat(width, 1)
    if mask.noise:
        values[height // 2 :] = np.random.default_rng(0).integers(0, 256, (height - height // 2, width))
    return values


def save(image: Image.Image, path: Path, form: str, orientation: int | None, **options: Any) -> None:
    """Save a picture whatever the file's name ends in; formats that do not take its mode give way to PNG or TIFF."""
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    for tried in (form, "PNG", "TIFF"):
        try:
            image.save(path, format=tried, **options)
        except (OSError, KeyError, ValueError):
            continue
        return
    raise AssertionError(f"no format takes mode {image.mode}")


def save_image(drawn: Any, file: ImageFile, path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    if file.mode == "rgb16":
        drawn.write_png(path, pixels.astype(np.uint16) * 257, 16)
        return
    if file.mode == "hole":
        image = Image.fromarray(pixels).convert("RGBA")
        image.putpixel((3, 3), (9, 9, 9, 254))
    elif file.mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif file.mode == "LAB":
        image = Image.frombytes("LAB", (WIDTH, HEIGHT), pixels.tobytes())
    else:
        image = Image.fromarray(pixels).convert(file.mode)
    save(image, path, "TIFF" if file.mode == "LAB" else "PNG", file.orientation)


def save_mask(drawn: Any, file: MaskFile, values: NDArray[Any], path: Path) -> None:
    """Store values (H, W), or colours (H, W, 3), as the file's mode says."""
    grey = values if values.ndim == 2 else values[..., 0]
    if file.mode in {"deep", "deep colours", "bits"}:
        depth = 4 if file.mode == "bits" else 16
        chosen = values if file.mode == "deep colours" else grey
        drawn.write_png(path, chosen.astype(np.uint16) & (2**depth - 1), depth)
        return
    if file.mode in {"P", "other palette"} and values.ndim == 2:
        image = Image.fromarray(grey)
        colours = drawn.make_palette()
        if file.mode == "other palette":
            colours = np.concatenate([colours[:1], colours[2:], colours[1:2]])
        image.putpalette(colours.tobytes())
    elif file.mode in {"RGBA", "hole"}:
        image = Image.fromarray(values).convert("RGBA")
        if file.mode == "hole":
            image.putalpha(Image.fromarray(grey))
    elif file.mode in {"I;16", "I", "F"}:
        image = Image.fromarray(grey.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[file.mode]))
    else:
        image = Image.fromarray(values).convert("L" if file.mode == "other palette" else file.mode)
    save(image, path, file.form, file.orientation)


def findings(report: Verification, files: tuple[Path, ...], root: Path) -> tuple[list[str], list[str]]:
    """Errors and warnings about the files of one item."""
    names = {str(path.relative_to(root)) for path in files}
    about = [f for f in report.findings if f.path in names]
    return (
        [f.problem for f in about if f.level == "error"],
        [f.problem for f in about if f.level == "warning" and not any(note in f.problem for note in NOTES)],
    )


def read(dataset: Dataset, item: str, class_id: int) -> tuple[str | None, tuple[str, ...]]:
    """The refusal of a reader, and what it doubts where it does not refuse."""
    reader = Reader(dataset)
    try:
        reader.image(item)
        reader.mask(item, class_id)
    except DataError as error:
        return str(error), ()
    except UsageError as error:
        raise AssertionError("the test asked for another class") from error
    return None, reader.doubts(Episode(0, class_id, item, ()))


def compare(dataset: Dataset, item: str, class_id: int, files: tuple[Path, ...], root: Path) -> None:
    errors, warnings = findings(dataset.verify(), files, root)
    refusal, doubts = read(dataset, item, class_id)
    event("refused" if errors else "doubted" if doubts else "taken")
    assert bool(errors) == (refusal is not None), f"verify: {errors}; reader: {refusal}"
    if refusal is None:
        assert bool(warnings) == bool(doubts), f"verify: {warnings}; reader: {doubts}"


class Folder:
    """A folder for one example."""

    def __enter__(self) -> Path:
        self.path = Path(tempfile.mkdtemp())
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path)


FOREGROUND = given(
    image=images,
    mask=masks(
        st.sampled_from([0, 255] * 6 + [1, 60, 127, 128, 200]),
        [
            "L",
            "RGB",
            "1",
            "P",
            "RGBA",
            "LA",
            "hole",
            "I;16",
            "I",
            "F",
            "CMYK",
            "deep",
            "deep colours",
            "bits",
        ],
    ),
)


@settings(max_examples=30, deadline=None)
@FOREGROUND
@pytest.mark.parametrize("kind", ["isic2018", "fss1000"])
def test_foreground_masks(drawn: Any, kind: str, image: ImageFile, mask: MaskFile) -> None:
    with Folder() as data:
        if kind == "isic2018":
            folders = drawn.draw_isic(data, 1)
            files = folders[0] / "ISIC_0000000.jpg", folders[1] / "ISIC_0000000_segmentation.png"
            root, class_id = data / "ISIC", 0
        else:
            root = drawn.draw_fss(data, 1)
            files, class_id = (root / "class_000/3.jpg", root / "class_000/3.png"), 760
        save_image(drawn, image, files[0])
        values = striped(mask)
        if mask.mode in {"RGB", "deep colours"}:
            values = np.stack([values, values, values if sum(mask.values) % 5 else 255 - values], 2)
        save_mask(drawn, mask, values, files[1])
        dataset = open_dataset(kind, data=data)
        item = str(files[0].relative_to(root))
        compare(dataset, item, class_id, files, root)


test_foreground_masks_at_night = draw_more(test_foreground_masks, FOREGROUND, 100)


INDEX = given(
    image=images,
    mask=masks(
        st.sampled_from([0, 2, 20, 255] * 3 + [21, 38, 80, 81, 128]),
        ["P", "L", "other palette", "RGB", "RGBA", "LA", "1", "I;16", "I", "deep", "bits"],
    ),
)


@settings(max_examples=30, deadline=None)
@INDEX
@pytest.mark.parametrize("kind", ["pascal", "coco"])
def test_index_masks(drawn: Any, kind: str, image: ImageFile, mask: MaskFile) -> None:
    with Folder() as data:
        root = data / ("VOC2012" if kind == "pascal" else "COCO2017")
        name = "JPEGImages/a.jpg" if kind == "pascal" else "val2017/000000000001.jpg"
        label = "SegmentationClassAug/a.png" if kind == "pascal" else "annotations/val2017/000000000001.png"
        files = root / name, root / label
        for path in files:
            path.parent.mkdir(parents=True)
        save_image(drawn, image, files[0])
        values = striped(mask)
        values[:2] = 1  # of the class that is read
        save_mask(drawn, mask, values, files[1])
        dataset = open_dataset(kind, data=data)
        compare(dataset, "a" if kind == "pascal" else name, 0, files, root)


test_index_masks_at_night = draw_more(test_index_masks, INDEX, 100)


COLOURS = given(
    image=images,
    mask=masks(
        st.sampled_from([0, 255] * 6 + [1, 32, 40, 100, 128]),
        ["RGB", "RGB", "P", "L", "RGBA", "hole", "I;16", "deep", "deep colours"],
    ),
    scale=st.sampled_from([*[1] * 7, 255]),
)


@settings(max_examples=30, deadline=None)
@COLOURS
def test_colour_coded_masks(drawn: Any, image: ImageFile, mask: MaskFile, scale: int) -> None:
    with Folder() as data:
        files = data / "SUIM/images/a.jpg", data / "SUIM/masks/a.bmp"
        for path in files:
            path.parent.mkdir(parents=True)
        save_image(drawn, image, files[0])
        values = striped(mask) // scale
        colours = np.stack([values, np.roll(values, 3, 0), np.roll(values, 6, 0)], 2)
        colours[:2] = 255 // scale, 255 // scale, 0
        if mask.mode in {"P", "L", "I;16", "deep"}:
            save_mask(drawn, mask, values, files[1])
        else:
            save_mask(drawn, mask, colours, files[1])
        dataset = open_dataset("suim", data=data)
        report = dataset.verify()
        if report.histogram["fish and vertebrates"] == 0 and not findings(report, files, data / "SUIM")[0]:
            return  # a sound mask of grey stripes, which does not show the class
        compare(dataset, "images/a.jpg", 0, files, data / "SUIM")


test_colour_coded_masks_at_night = draw_more(test_colour_coded_masks, COLOURS, 100)
