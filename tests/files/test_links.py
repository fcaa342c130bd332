"""Links in a data folder: inside it they are followed, out of it they are refused wherever a file is read."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fssbench.api import Dataset
from fssbench.cli import main
from fssbench.data.data_files import hash_item_files
from fssbench.data.location import open_dataset
from fssbench.errors import DataError
from fssbench.files.links import check_links

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")

IMAGE = "ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg"
MASK = "ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png"


@pytest.fixture
def isic(tmp_path: Path) -> Path:
    """A data folder with six pairs of ISIC; the tests change the first."""
    root = tmp_path / "data" / "ISIC"
    for relative in (IMAGE, MASK):
        (root / relative).parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in "012345":
        noise = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / IMAGE.replace("0.", f"{number}."))
        Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(root / MASK.replace("0_", f"{number}_"))
    return root


def opened(root: Path) -> Dataset:
    return open_dataset("isic2018", data=root.parent)


def read_all(dataset: Dataset) -> None:
    entry = dataset.pool("test").entries[0]
    dataset.image(entry.item)
    dataset.mask(entry.item, 0)
    hash_item_files(dataset, [entry.item], "a test")


def move_and_link(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, target)
    path.symlink_to(target)


def test_whole_folders_may_be_links(tmp_path: Path, isic: Path) -> None:
    move_and_link(isic, tmp_path / "disk" / "some_isic")
    read_all(opened(isic))
    move_and_link(isic.parent, tmp_path / "elsewhere")
    read_all(opened(isic))


@pytest.mark.parametrize("place", ["other/picture.jpg", "ISIC/other/picture.jpg"])
@pytest.mark.parametrize("relative", [IMAGE, MASK])
def test_links_inside_the_data_folder_are_followed(isic: Path, relative: str, place: str) -> None:
    move_and_link(isic / relative, isic.parent / place)
    read_all(opened(isic))
    assert verify(isic) == (0, "")


@pytest.mark.parametrize("relative", [IMAGE, MASK])
@pytest.mark.parametrize("whole_folder", [False, True])
def test_links_out_of_the_data_folder_are_refused(
    tmp_path: Path, isic: Path, relative: str, whole_folder: bool
) -> None:
    link = (isic / relative).parent if whole_folder else isic / relative
    target = tmp_path / "private" / "holiday"
    move_and_link(link, target)
    with pytest.raises(DataError) as caught:
        read_all(opened(isic))
    said = str(caught.value)
    assert str(link) in said
    assert str(target) in said
    assert "copy" in said
    code, errors = verify(isic)
    assert code == 3
    assert str(target) in errors


def verify(root: Path) -> tuple[int, str]:
    """The exit code of `data verify`, and the findings that speak of links."""
    result = CliRunner().invoke(main, ["data", "verify", "isic2018", "--data", str(root.parent), "--all"])
    return result.exit_code, "\n".join(line for line in result.stdout.splitlines() if "leads out" in line)


def test_a_relative_link_and_dots_are_resolved(tmp_path: Path, isic: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (isic / "up").symlink_to("../..")
    for path in (isic / "up/secret", isic / "../../secret", tmp_path / "secret"):
        with pytest.raises(DataError, match="secret"):
            check_links(path, (isic, isic.parent))
    check_links(isic / "up/data/ISIC", (isic,))
    check_links(isic / ".." / "ISIC" / IMAGE, (isic,))


def test_a_folder_whose_name_only_begins_alike_is_outside(tmp_path: Path, isic: Path) -> None:
    twin = tmp_path / "data2"
    twin.mkdir()
    (isic / "link").symlink_to(twin)
    with pytest.raises(DataError, match="data2"):
        check_links(isic / "link", (isic, isic.parent))


def test_files_that_a_plugin_names_are_checked_too(tmp_path: Path, toy: type[Dataset]) -> None:
    data = tmp_path / "real"
    toy.miniature(data, 0)
    dataset = open_dataset("toy", data=data)
    item = dataset.pool("test").entries[0].item
    hash_item_files(dataset, [item], "a test")
    move_and_link(dataset.files(item)[0], tmp_path / "private.png")
    with pytest.raises(DataError, match=r"private\.png"):
        hash_item_files(dataset, [item], "a test")
