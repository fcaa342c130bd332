"""`prepare` of downloads that are damaged, foreign or cut short: named, whole or not at all, and never in the way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fssbench.datasets.coco import rasterise
from fssbench.datasets.coco.reader import CLASSES, Coco
from fssbench.datasets.shared.staging import stage_and_merge, stage_folder
from hypothesis import given, settings, strategies as st
from PIL import Image

from fssbench.api import DataError, check_segmentation
from fssbench.cli import main

WIDTH, HEIGHT = 96, 64
POLYGON = [10, 10, 40, 10, 40, 40]
IDS = [i for i in range(1, 91) if i not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}]
MASK = "COCO2017/annotations/val2017/000000000001.png"


def annotation(segmentation: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "segmentation": segmentation,
    } | fields


def release(folder: Path, annotations: list[Any], file_name: str = "000000000001.jpg", **image: Any) -> Path:
    """Write one picture of 96 x 64 pixels and its annotation file."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "val2017").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "val2017/000000000001.jpg")
    record = {"id": 1, "file_name": file_name, "width": WIDTH, "height": HEIGHT} | image
    content = {
        "images": [record],
        "annotations": annotations,
        "categories": [{"id": i, "name": n} for i, n in zip(IDS, CLASSES, strict=True)],
    }
    (folder / "annotations/instances_val2017.json").write_text(json.dumps(content))
    return folder


def prepare(name: str, source: Path, data: Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["data", "prepare", name, str(source), "--data", str(data)])
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def nothing_is_left(data: Path) -> bool:
    return not any(data.rglob("*")) if data.exists() else True


HUGE = 10**400
FAULTS = {
    "NaN": ([float("nan"), 10, 20, 10, 20, 20], "NaN"),
    "infinity": ([float("inf"), 10, 20, 10, 20, 20], "Infinity"),
    "1e9": ([1e9, 10, 20, 10, 20, 20], "1000000000"),
    "more than a float": ([HUGE, 10, 20, 10, 20, 20], "outside of the image"),
    "off to the left": ([-40, 10, 20, 10, 20, 20], "-40"),
    "drawn for a larger image": ([10, 10, 180, 10, 180, 120], "180"),
    "point": ([10, 10], "2 numbers"),
    "box": ([10, 10, 40, 40], "box"),
    "odd": ([10, 10, 40, 10, 40, 40, 7], "7 numbers"),
    "text": (["10", "10", "40", "10", "40", "40"], "not a number"),
    "true": ([True, 10, 40, 10, 40, 40], "not a number"),
    "null": ([None, 10, 40, 10, 40, 40], "not a number"),
    "endless boundary": ([0, 0, 95, 63] * 20_000, "boundary"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_polygon_that_cannot_be_drawn_is_named(fault: str, tmp_path: Path) -> None:
    polygon, told = FAULTS[fault]
    source = release(tmp_path / "coco", [annotation([POLYGON, polygon], id=77)])
    code, text = prepare("coco", source, tmp_path / "data")
    assert code == 3
    for part in ("instances_val2017.json", "000000000001.jpg", "annotation 77", told):
        assert part in text
    assert nothing_is_left(tmp_path / "data")


OTHER_FAULTS: dict[str, tuple[Any, str]] = {
    "flat": (POLYGON, "not a list of numbers"),
    "a number": (7, "7"),
    "a text": ("0`2`0", "expected polygons"),
    "swapped": ({"size": [WIDTH, HEIGHT], "counts": "0`2`0"}, "swapped"),
    "another size": ({"size": [10, 10], "counts": [0, 100]}, "[10, 10]"),
    "no size": ({"counts": [0, WIDTH * HEIGHT]}, "size"),
    "no counts": ({"size": [HEIGHT, WIDTH]}, "not whole numbers"),
    "too long": ({"size": [HEIGHT, WIDTH], "counts": [0, 10**15]}, "sum"),
    "too short": ({"size": [HEIGHT, WIDTH], "counts": [5, 5]}, "sum is 10"),
    "negative": ({"size": [HEIGHT, WIDTH], "counts": [-6, WIDTH * HEIGHT + 6]}, "negative"),
    "fractions": ({"size": [HEIGHT, WIDTH], "counts": [0.5, WIDTH * HEIGHT - 0.5]}, "whole numbers"),
    "compressed, cut": ({"size": [HEIGHT, WIDTH], "counts": "P"}, "middle"),
    "compressed, foreign": ({"size": [HEIGHT, WIDTH], "counts": "é~"}, "character"),
    "compressed, another sum": ({"size": [HEIGHT, WIDTH], "counts": "04"}, "sum"),
}


@pytest.mark.parametrize("fault", OTHER_FAULTS)
def test_a_segmentation_that_cannot_be_drawn_is_named(fault: str, tmp_path: Path) -> None:
    segmentation, told = OTHER_FAULTS[fault]
    source = release(tmp_path / "coco", [annotation([POLYGON]), annotation(segmentation, id=77)])
    code, text = prepare("coco", source, tmp_path / "data")
    assert code == 3
    assert "annotation 77" in text
    assert told in text
    assert nothing_is_left(tmp_path / "data")


RECORDS: dict[str, tuple[list[Any], str]] = {
    "unknown category": ([annotation([POLYGON], category_id=12)], "category_id 12"),
    "category as a list": ([annotation([POLYGON], category_id=[1])], "category_id"),
    "unknown image": ([annotation([POLYGON], image_id=9)], "image_id 9"),
    "image as a text": ([annotation([POLYGON], image_id="1")], "image_id '1'"),
    "an id twice": ([annotation([POLYGON]), annotation([POLYGON])], "twice"),
    "no id": ([{"image_id": 1, "category_id": 1, "segmentation": [POLYGON]}], "id"),
    "no record": ([17], "17"),
    "a crowd of two": ([annotation([POLYGON], iscrowd=2)], "iscrowd"),
    "NaN elsewhere": ([annotation([POLYGON], area=float("nan"))], "'area'"),
}


@pytest.mark.parametrize("fault", RECORDS)
def test_a_record_that_is_malformed_is_named(fault: str, tmp_path: Path) -> None:
    annotations, told = RECORDS[fault]
    code, text = prepare("coco", release(tmp_path / "coco", annotations), tmp_path / "data")
    assert code == 3
    assert told in text
    assert nothing_is_left(tmp_path / "data")


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ({"width": HEIGHT, "height": WIDTH}, "64x96"),
        ({"width": 10**6, "height": 10**6}, "1000000x1000000"),
        ({"width": 0}, "width"),
        ({"width": None}, "width"),
        ({"id": "1"}, "whole number"),
        ({"file_name": "photo.jpg"}, "photo.jpg"),
        ({"file_name": None}, "file_name"),
    ],
)
def test_an_image_record_that_does_not_fit_is_named(image: dict[str, Any], told: str, tmp_path: Path) -> None:
    code, text = prepare("coco", release(tmp_path / "coco", [], **image), tmp_path / "data")
    assert code == 3
    assert told in text
    assert nothing_is_left(tmp_path / "data")


@pytest.mark.parametrize("segmentation", [[], [[]], None], ids=["empty", "inner", "null"])
def test_an_annotation_without_a_region_draws_nothing(segmentation: Any, tmp_path: Path) -> None:
    annotations = [annotation([POLYGON], id=1), annotation(segmentation, id=2, category_id=2)]
    code, text = prepare("coco", release(tmp_path / "coco", annotations), tmp_path / "data")
    assert code == 0
    assert "1 annotations without a region" in text
    assert "ids 2" in text
    assert set(np.unique(Image.open(tmp_path / "data" / MASK))) == {0, 1}


@pytest.mark.parametrize(
    "name", ["COCO_val2014_000000000001.jpg", "val2017/000000000001.jpg", "000000000001.JPG"]
)
def test_images_are_found_by_number_under_the_names_of_any_release(name: str, tmp_path: Path) -> None:
    source = release(tmp_path / "coco", [annotation([POLYGON])], file_name=name)
    code, text = prepare("coco", source, tmp_path / "data")
    assert code == 0
    assert "1 masks drawn" in text
    assert (tmp_path / "data" / MASK).is_file()
    errors = [f.problem for f in Coco(tmp_path / "data/COCO2017").verify().findings if f.level == "error"]
    assert errors == []


def test_none_of_the_images_there_is_an_error(tmp_path: Path) -> None:
    source = release(tmp_path / "coco", [annotation([POLYGON])], file_name="000000000002.jpg")
    code, text = prepare("coco", source, tmp_path / "data")
    assert code == 3
    assert "none of the 1 images" in text
    assert nothing_is_left(tmp_path / "data")


def test_two_images_of_one_number_are_refused(tmp_path: Path) -> None:
    source = release(tmp_path / "coco", [annotation([POLYGON])])
    shutil.copy(source / "val2017/000000000001.jpg", source / "val2017/COCO_val2014_000000000001.jpg")
    code, text = prepare("coco", source, tmp_path / "data")
    assert code == 3
    assert "one number" in text


def test_a_failed_prepare_is_not_in_the_way_of_the_next(tmp_path: Path) -> None:
    source, data = tmp_path / "coco", tmp_path / "data"
    release(source, [annotation([[10, 10]])])
    assert prepare("coco", source, data)[0] == 3
    shutil.rmtree(source)
    release(source, [annotation([POLYGON])])
    assert prepare("coco", source, data)[0] == 0
    before = (data / MASK).read_bytes()
    assert prepare("coco", source, data)[0] == 0, "the same again"
    assert (data / MASK).read_bytes() == before


def test_masks_that_are_there_are_never_overwritten(tmp_path: Path) -> None:
    source = release(tmp_path / "coco", [annotation([POLYGON])])
    mine = tmp_path / "data" / MASK
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"drawn by somebody else")
    code, text = prepare("coco", source, tmp_path / "data")
    assert code == 3
    assert str(mine) in text
    assert mine.read_bytes() == b"drawn by somebody else"
    assert not (tmp_path / "data/COCO2017/val2017").exists()


FORKS = """
import os, resource, sys
from pathlib import Path
from fssbench.cli import main
from fssbench.datasets.coco.reader import Coco
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
for folder in map(Path, sys.argv[1:]):
    process = os.fork()
    if process == 0:
        os.dup2(os.open(folder / "errors", os.O_WRONLY | os.O_CREAT), 2)
        sys.argv = ["fssbench", "data", "prepare", "coco", str(folder / "coco"), "--data", str(folder / "data")]
        main()
    status = os.waitpid(process, 0)[1]
    (folder / "code").write_text(str(os.waitstatus_to_exitcode(status)))
"""
SEGMENTATIONS: list[Any] = [
    [[float("nan"), 10, 20, 10, 20, 20]],
    [[1e9, 10, 20, 10, 20, 20]],
    [[1e300, 10, 20, 10, 20, 20]],
    [[-(2.0**31), 10, 2.0**31, 10, 20, 20]],
    [[0, 0, 95, 63] * 100_000],
    {"size": [HEIGHT, WIDTH], "counts": "o" * 12 + "O"},
    {"size": [1 << 20, 1 << 20], "counts": [0, 1 << 40]},
]


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A folder for each segmentation, which a process of its own tried to prepare; one interpreter forks them all."""
    folders = [tmp_path_factory.mktemp("attempt") for _ in SEGMENTATIONS]
    for folder, segmentation in zip(folders, SEGMENTATIONS, strict=True):
        release(folder / "coco", [annotation(segmentation)])
    subprocess.run([sys.executable, "-c", FORKS, *map(str, folders)], timeout=100, check=True)
    return folders


@pytest.mark.parametrize("number", range(len(SEGMENTATIONS)))
def test_nothing_kills_the_process_or_takes_its_memory(number: int, attempts: list[Path]) -> None:
    folder = attempts[number]
    errors = (folder / "errors").read_text()
    assert (folder / "code").read_text() == "3", errors
    assert "annotation 1" in errors
    assert "000000000001.jpg" in errors
    assert nothing_is_left(folder / "data")


numbers = st.one_of(
    st.integers(-200, 200), st.floats(allow_nan=True), st.sampled_from([None, "1", True, 10**30, 1e9])
)
polygons = st.lists(st.lists(numbers, max_size=10), max_size=3)
runs = st.fixed_dictionaries(
    {
        "size": st.just([8, 12]),
        "counts": st.one_of(st.lists(st.integers(-5, 97), max_size=8), st.text(max_size=8)),
    }
)


@given(segmentation=st.one_of(polygons, runs, st.none(), st.integers(), st.text(max_size=3)))
@settings(deadline=None, max_examples=300)
def test_what_passes_the_check_can_be_drawn(segmentation: Any) -> None:
    pytest.importorskip("pycocotools.mask")
    try:
        check_segmentation(segmentation, 8, 12)
    except ValueError:
        return
    drawn = rasterise.draw_mask([annotation(segmentation)], {1: 1}, 8, 12)
    assert drawn.shape == (8, 12)
    assert set(np.unique(drawn)) <= {0, 1}


# ---------------------------------------------------------------- folders that are whole or not there


def fill_half(way: Any, target: Path) -> None:
    with way(target) as folder:
        (folder / "half").touch()
        raise RuntimeError


def merge_other(target: Path) -> None:
    with stage_and_merge(target) as folder:
        (folder / "a").mkdir()
        (folder / "a/1").write_text("other")
        (folder / "a/3").write_text("three")


def test_a_stopped_attempt_is_cleared_away(tmp_path: Path) -> None:
    target = tmp_path / "data/SET"
    for way in (stage_folder, stage_and_merge):
        with pytest.raises(RuntimeError):
            fill_half(way, target)
        assert nothing_is_left(tmp_path / "data")
    left = tmp_path / "data/.SET.partial"
    left.mkdir()
    (left / "of a killed process").touch()
    with stage_folder(target) as folder:
        (folder / "whole").touch()
    assert [p.name for p in target.iterdir()] == ["whole"]
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["SET"]


def test_two_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    with stage_folder(tmp_path / "SET") as folder:
        with pytest.raises(DataError, match="another process"), stage_folder(tmp_path / "SET"):
            pass
        (folder / "whole").touch()
    assert (tmp_path / "SET/whole").is_file()


def test_merging_adds_what_is_new_and_refuses_what_differs(tmp_path: Path) -> None:
    target = tmp_path / "SET"
    (target / "a").mkdir(parents=True)
    (target / "a/1").write_text("one")
    with stage_and_merge(target) as folder:
        (folder / "a").mkdir()
        (folder / "a/1").write_text("one")
        (folder / "a/2").write_text("two")
        (folder / "b").mkdir()
    assert sorted(p.name for p in target.rglob("*")) == ["1", "2", "a", "b"]
    with pytest.raises(DataError, match="a/1"):
        merge_other(target)
    assert (target / "a/1").read_text() == "one"
    assert not (target / "a/3").exists()


def test_prepare_starts_again_after_a_kill(mini: Path, tmp_path: Path) -> None:
    source, data = tmp_path / "source", tmp_path / "data"
    (source / "train").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for tile in range(40):
        mask = np.repeat(rng.choice([0, 255], (6, 6, 3)).astype(np.uint8), 40, 0).repeat(40, 1)
        mask[::3, :, 0] ^= 255
        Image.fromarray(mask).save(source / f"train/{tile}_mask.png")
        Image.fromarray(rng.integers(0, 255, (240, 240, 3), dtype=np.uint8)).save(
            source / f"train/{tile}_sat.jpg"
        )
    command = [
        sys.executable,
        "-m",
        "fssbench",
        "data",
        "prepare",
        "deepglobe",
        str(source),
        "--data",
        str(data),
    ]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    while "tile 5/40" not in child.stderr.readline():
        assert child.poll() is None
    child.kill()
    child.wait()
    assert not (data / "Deepglobe").exists()
    code, _ = prepare("deepglobe", source, data)
    assert code == 0
    assert [p.name for p in data.iterdir()] == ["Deepglobe"]
    assert prepare("deepglobe", source, data)[0] == 3, "never overwritten"


# ---------------------------------------------------------------- DeepGlobe


def tiles(folder: Path, masks: list[np.ndarray[Any, Any]], image: tuple[int, int] | None = None) -> Path:
    (folder / "train").mkdir(parents=True)
    for number, mask in enumerate(masks):
        Image.fromarray(mask).save(folder / f"train/{number}_mask.png")
        shape = (*(image or mask.shape[:2]), 3)
        Image.fromarray(np.full(shape, 90, np.uint8)).save(folder / f"train/{number}_sat.jpg")
    return folder


def colours(side: int, value: int = 255) -> np.ndarray[Any, Any]:
    mask = np.zeros((side, side, 3), np.uint8)
    mask[:, :, 1] = value
    mask[::2, :, 0] = value
    return mask


@pytest.mark.parametrize(
    ("masks", "image", "told"),
    [
        ([colours(60), colours(60, 1)], None, ["1_mask.png", "highest value is 1"]),
        ([colours(60), colours(60, 127)], None, ["1_mask.png", "highest value is 127"]),
        ([np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)], None, ["0_mask.png"]),
        ([np.zeros((60, 60), np.uint8)], None, ["0_mask.png", "mode L"]),
        ([colours(60)], (66, 60), ["0_sat.jpg", "60x66", "60x60"]),
        ([colours(61)], None, ["61x61"]),
        ([colours(60)[:30]], None, ["60x30"]),
        ([np.zeros((60, 60, 3), np.uint8)], None, ["no patch"]),
    ],
)
def test_tiles_that_cannot_be_cut_are_named(
    masks: list[np.ndarray[Any, Any]], image: tuple[int, int] | None, told: list[str], tmp_path: Path
) -> None:
    source = tiles(tmp_path / "land", masks, image)
    for _ in range(2):  # the first attempt leaves nothing that stops the second
        code, text = prepare("deepglobe", source, tmp_path / "data")
        assert code == 3
        assert all(part in text for part in told)
        assert nothing_is_left(tmp_path / "data")


def test_a_tile_without_a_mask_is_named(tmp_path: Path) -> None:
    source = tiles(tmp_path / "land", [colours(60), colours(60)])
    (source / "train/1_mask.png").unlink()
    code, text = prepare("deepglobe", source, tmp_path / "data")
    assert code == 3
    assert "1_sat.jpg" in text


# ---------------------------------------------------------------- PASCAL and SBD


def devkit(folder: Path) -> Path:
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / "VOC2012" / part).mkdir(parents=True)
    for name in ("a", "b", "c"):
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / f"VOC2012/JPEGImages/{name}.jpg")
    label = Image.fromarray(np.eye(20, 30, dtype=np.uint8))
    for split, name in (("train", "a"), ("val", "c")):
        label.save(folder / f"VOC2012/SegmentationClass/{name}.png")
        (folder / f"VOC2012/ImageSets/Segmentation/{split}.txt").write_text(f"{name}\n")
    (folder / "dataset/cls").mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (np.full((20, 30), 21, np.uint8), "0..20"),
        (np.ones((30, 20), np.uint8), "20x30"),
        (np.ones((20, 30), np.uint16), "8 bits"),
        (np.ones((20, 30, 3), np.uint8), "8 bits"),
        (np.zeros((0, 0), np.uint8), "8 bits"),
        (b"MATLAB 5.0 nonsense", "not a readable SBD file"),
        (b"", "not a readable SBD file"),
        (b"\0" * 5_000_000, "5,000,000 bytes"),
    ],
)
def test_sbd_files_that_cannot_be_used_are_named(content: Any, told: str, tmp_path: Path) -> None:
    from scipy import io

    source = devkit(tmp_path / "download")
    path = source / "dataset/cls/b.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        io.savemat(path, {"GTcls": {"Segmentation": content}})
    for _ in range(2):
        code, text = prepare("pascal", source, tmp_path / "data")
        assert code == 3
        assert "b.mat" in text
        assert told in text
        assert nothing_is_left(tmp_path / "data")
    io.savemat(path, {"GTcls": {"Segmentation": np.ones((20, 30), np.uint8)}})
    assert prepare("pascal", source, tmp_path / "data")[0] == 0
    assert (tmp_path / "data/VOC2012/SegmentationClassAug/b.png").is_file()
    assert (tmp_path / "data/VOC2012/ImageSets/Segmentation/trainaug.txt").read_text() == "a\nb\n"


@pytest.mark.parametrize("part", ["JPEGImages", "SegmentationClass"])
def test_an_empty_devkit_is_refused(part: str, tmp_path: Path) -> None:
    source = devkit(tmp_path / "download")
    for path in (source / "VOC2012" / part).iterdir():
        path.unlink()
    code, text = prepare("pascal", source, tmp_path / "data")
    assert code == 3
    assert part in text
    assert nothing_is_left(tmp_path / "data")
