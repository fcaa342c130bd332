"""Montgomery's masks of two lungs, and the layouts in which the radiographs come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fssbench.datasets.chestxray import join_lungs
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fssbench.cli import main
from fssbench.data.location import open_dataset
from fssbench.errors import DataError

HALVES = ("leftMask", "rightMask")


def radiograph(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((48, 64), 90, np.uint8)).save(folder / name)


def half(side: str, value: int = 255, shape: tuple[int, int] = (48, 64)) -> np.ndarray[Any, Any]:
    mask = np.zeros(shape, np.uint8)
    mask[8:40, slice(4, 28) if side == "leftMask" else slice(36, 60)] = value
    return mask


def montgomery(folder: Path, count: int = 3) -> Path:
    for number in range(count):
        name = f"MCUCXR_{number:04}_0.png"
        radiograph(folder / "CXR_png", name)
        for side in HALVES:
            (folder / "ManualMask" / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(half(side)).save(folder / "ManualMask" / side / name)
    return folder


def shenzhen(folder: Path, masks: str = "masks", count: int = 3) -> Path:
    for number in range(count):
        radiograph(folder / "CXR_png", f"CHNCXR_{number:04}_0.png")
        (folder / masks).mkdir(parents=True, exist_ok=True)
        whole = half("leftMask") | half("rightMask")
        Image.fromarray(whole).save(folder / masks / f"CHNCXR_{number:04}_0_mask.png")
    return folder


def command(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["data", *map(str, arguments)])
    assert "Traceback" not in result.output
    return result.exit_code, result.output


@pytest.mark.parametrize(
    "folder", ["LungSegmentation", "lung", "Lung Segmentation", "data/Lung Segmentation"]
)
def test_the_folders_people_have_are_read(folder: str, tmp_path: Path) -> None:
    shenzhen(tmp_path / folder)
    assert command("verify", "chestxray", "--data", tmp_path)[0] == 0
    assert len(open_dataset("chestxray", data=tmp_path).pool("test").entries) == 3


def test_verify_says_that_the_halves_can_be_joined_and_prepare_joins_them(tmp_path: Path) -> None:
    root = montgomery(shenzhen(tmp_path / "LungSegmentation"))
    code, text = command("verify", "chestxray:lung704", "--data", tmp_path)
    assert code == 0
    assert "ManualMask" in text
    assert "data prepare chestxray" in text
    assert "nothing to do: the release has such images" not in text
    originals = {p: p.read_bytes() for p in root.rglob("*.png")}
    code, text = command("prepare", "chestxray", root, "--data", tmp_path)
    assert code == 0
    assert "3 joined" in text
    assert {p: p.read_bytes() for p in originals} == originals
    dataset = open_dataset("chestxray", data=tmp_path, variant="lung704")
    assert len(dataset.pool("test").entries) == 6
    expected = (half("leftMask") | half("rightMask")) // 255
    np.testing.assert_array_equal(dataset.mask("masks/MCUCXR_0000_0.png", 0), expected)
    assert "ManualMask" not in command("verify", "chestxray:lung704", "--data", tmp_path)[1]
    assert command("prepare", "chestxray", root, "--data", tmp_path)[0] == 3, "nothing is left to join"


def test_both_releases_become_one_data_set(tmp_path: Path) -> None:
    montgomery(tmp_path / "get/MontgomerySet")
    shenzhen(tmp_path / "get/ChinaSet_AllFiles", "mask")
    assert command("prepare", "chestxray", tmp_path / "get", "--data", tmp_path / "data")[0] == 0
    assert command("verify", "chestxray:lung704", "--data", tmp_path / "data")[0] == 0
    dataset = open_dataset("chestxray", data=tmp_path / "data", variant="lung704")
    assert len(dataset.pool("test").entries) == 6


FAULTS: dict[str, tuple[np.ndarray[Any, Any] | None, str]] = {
    "missing": (None, "no mask in ManualMask/leftMask"),
    "another size": (half("leftMask", shape=(48, 62)), "62x48"),
    "the right lung twice": (half("rightMask"), "same lung"),
    "empty": (half("leftMask", 0), "highest value is 0"),
    "0 and 1": (half("leftMask", 1), "highest value is 1"),
    "a photograph": (np.random.default_rng(0).integers(0, 255, (48, 64), dtype=np.uint8), "not a mask"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_halves_that_cannot_be_joined_are_named(fault: str, tmp_path: Path) -> None:
    content, told = FAULTS[fault]
    source = montgomery(tmp_path / "MontgomerySet")
    path = source / "ManualMask/leftMask/MCUCXR_0001_0.png"
    path.unlink()
    if content is not None:
        Image.fromarray(content).save(path)
    code, text = command("prepare", "chestxray", source, "--data", tmp_path / "data")
    assert code == 3
    assert "MCUCXR_0001_0.png" in text
    assert told in text
    assert not any((tmp_path / "data").rglob("*"))


def test_a_radiograph_of_another_size_is_named(tmp_path: Path) -> None:
    source = montgomery(tmp_path / "MontgomerySet")
    Image.fromarray(np.zeros((48, 60), np.uint8)).save(source / "CXR_png/MCUCXR_0002_0.png")
    code, text = command("prepare", "chestxray", source, "--data", tmp_path / "data")
    assert code == 3
    assert "60x48" in text


def test_a_download_without_radiographs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "get").mkdir()
    code, text = command("prepare", "chestxray", tmp_path / "get", "--data", tmp_path / "data")
    assert code == 3
    assert "CXR_png" in text


@given(left=hnp.arrays(np.bool_, (8, 9)), right=hnp.arrays(np.bool_, (8, 9)), bits=st.booleans())
@settings(deadline=None, max_examples=40)
def test_the_union_is_every_pixel_of_either(
    left: np.ndarray[Any, Any], right: np.ndarray[Any, Any], bits: bool, tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("halves")
    for name, mask in (("left.png", left), ("right.png", right)):
        image = Image.fromarray(mask.astype(np.uint8) * 255)
        (image.convert("1") if bits else image).save(folder / name)
    Image.new("L", (9, 8)).save(folder / "image.png")
    try:
        union = join_lungs.join_masks(folder / "left.png", folder / "right.png", folder / "image.png", "x")
    except DataError:
        overlap = (left & right).sum()
        assert not left.any() or not right.any() or overlap > 0.05 * min(left.sum(), right.sum())
        return
    np.testing.assert_array_equal(union == 255, left | right)
    assert set(np.unique(union)) <= {0, 255}
