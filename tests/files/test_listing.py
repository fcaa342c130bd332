"""What counts as data in a folder, for every data set alike."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from fssbench.api import Pool, Verification
from fssbench.data.location import open_dataset
from fssbench.episodes.sampling import plan
from fssbench.errors import DataError
from fssbench.files.listing import find_file, is_owners_text, is_system_name, list_files, list_folder
from fssbench.plugins.registry import DATASETS

SYSTEM_FILES = ("._1.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "Icon\r", "1.jpg:Zone.Identifier")
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", ".ipynb_checkpoints", "lost+found", "#recycle", "$RECYCLE.BIN")
TEXTS = ("LICENSE", "license.txt", "README.md", "ISIC_attribution.txt", "ATTRIBUTION.pdf", "Copying")
BUILT_IN = {
    "pascal": ("pascal5i", "trn", "val"),
    "coco": ("coco20i", "trn", "val"),
    "fss1000": ("fss1000", "test"),
    "deepglobe": ("pascal-to-deepglobe", "test"),
    "isic2018": ("pascal-to-isic2018", "test"),
    "chestxray": ("pascal-to-chestxray", "test"),
    "suim": ("pascal5i-to-suim", "test"),
}


def link_tree(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, copy_function=os.link)
    return target


@cache
def read_miniature(name: str, mini: Path) -> tuple[list[Pool], str, Verification]:
    """Pools, hash of the plan and report of a miniature data set, as two tests compare them with those of copies."""
    benchmark, *splits = BUILT_IN[name]
    dataset = open_dataset(name, data=mini)
    return [dataset.pool(split) for split in splits], plan(benchmark, data=mini).sha256, dataset.verify()


@pytest.mark.parametrize("name", [*SYSTEM_FILES, *SYSTEM_FOLDERS])
def test_entries_of_a_system_are_known(name: str) -> None:
    assert is_system_name(name)
    assert is_system_name(name.upper())


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_an_owner_are_known(name: str) -> None:
    assert is_owners_text(name)


@pytest.mark.parametrize("name", ["license_plate", "abacus", "1.jpg", "2007_000032.png", "readme.png"])
def test_data_are_neither_system_nor_text(name: str, tmp_path: Path) -> None:
    assert not is_system_name(name)
    if "." in name:
        (tmp_path / name).touch()
        assert name in list_folder(tmp_path, (".jpg", ".png")).files
    else:
        (tmp_path / name).mkdir()
        assert list_folder(tmp_path).folders == (name,)


def test_a_folder_named_as_a_text_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "license").mkdir()
    assert list_folder(tmp_path).folders == ("license",)


def test_listing_ignores_the_case_of_endings_alone(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.png", "C.Png", "d.jpg", "e.txt"):
        (tmp_path / name).touch()
    assert list_files(tmp_path, ".png") == {"C.png": "C.Png", "a.png": "a.png", "b.png": "b.PNG"}
    assert list_folder(tmp_path, (".png",)).strangers == ("d.jpg", "e.txt")
    assert list_files(tmp_path / "none", ".png") == {}
    assert list_files(tmp_path / "a.png", ".png") == {}


@pytest.mark.parametrize("pair", [("1.jpg", "1.JPG"), ("A.jpg", "a.jpg"), ("x.JPG", "X.Jpg")])
def test_names_that_differ_in_case_alone_are_refused(pair: tuple[str, str], tmp_path: Path) -> None:
    for name in pair:
        (tmp_path / name).touch()
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system does not tell the two apart")
    with pytest.raises(DataError, match="case") as caught:
        list_files(tmp_path, ".jpg")
    assert all(name in str(caught.value) for name in pair)


def test_a_folder_that_may_not_be_listed_is_a_data_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        list_files(tmp_path, ".jpg")


def test_a_file_is_found_whatever_the_case_of_its_ending(tmp_path: Path) -> None:
    (tmp_path / "1.JpG").touch()
    (tmp_path / "2.jpg").touch()
    assert find_file(tmp_path / "1.jpg").is_file()
    assert find_file(tmp_path / "2.jpg") == tmp_path / "2.jpg"
    assert find_file(tmp_path / "3.jpg") == tmp_path / "3.jpg"
    long = tmp_path / "x.segmentation_of_a_lesion"
    assert find_file(long) == long


@pytest.mark.parametrize("name", BUILT_IN)
def test_entries_of_a_system_change_no_pool_and_no_plan(name: str, mini: Path, tmp_path: Path) -> None:
    benchmark, *splits = BUILT_IN[name]
    root = DATASETS.get(name).locate(mini)
    copy = link_tree(root, tmp_path / root.relative_to(mini))
    for folder in [copy, *(p for p in copy.rglob("*") if p.is_dir())]:
        for file in (*SYSTEM_FILES, *TEXTS):
            (folder / file).write_bytes(b"\0\5\26\7")
        for inner in SYSTEM_FOLDERS:
            (folder / inner).mkdir()
            (folder / inner / "._1.jpg").write_bytes(b"\0\5\26\7")
    pools, sha256, before = read_miniature(name, mini)
    after = open_dataset(name, data=tmp_path)
    assert [after.pool(split) for split in splits] == pools
    assert plan(benchmark, data=tmp_path).sha256 == sha256
    report = after.verify()
    assert report.ok
    assert (report.images, report.masks) == (before.images, before.masks)
    assert not any(name in f.path for f in report.findings for name in (*SYSTEM_FILES, *TEXTS))


@pytest.mark.parametrize("name", BUILT_IN)
def test_endings_in_upper_case_change_no_pool_and_no_plan(name: str, mini: Path, tmp_path: Path) -> None:
    benchmark, *splits = BUILT_IN[name]
    root = DATASETS.get(name).locate(mini)
    copy = link_tree(root, tmp_path / root.relative_to(mini))
    for number, path in enumerate(sorted(copy.rglob("*.*"))):
        if path.suffix in {".jpg", ".png", ".bmp"} and number % 3:
            path.rename(path.with_suffix(path.suffix.upper() if number % 3 == 1 else path.suffix.title()))
    pools, sha256, report = read_miniature(name, mini)
    before, after = open_dataset(name, data=mini), open_dataset(name, data=tmp_path)
    assert [after.pool(split) for split in splits] == pools
    drawn = plan(benchmark, data=tmp_path)
    assert drawn.sha256 == sha256
    for episode in drawn.episodes[:5]:
        np.testing.assert_array_equal(
            after.mask(episode.query, episode.class_id), before.mask(episode.query, episode.class_id)
        )
        assert after.image(episode.query).tobytes() == before.image(episode.query).tobytes()
        assert all(path.is_file() for path in after.files(episode.query))
    assert after.verify().findings == report.findings


@given(names=st.lists(st.text(min_size=1, max_size=12), max_size=20))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_entry_is_listed_once(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("listing")
    for name in names:
        try:
            (folder / name).touch()
        except (OSError, ValueError):
            continue  # the file system has no such name
    listing = list_folder(folder, (".png",))
    on_disk = sorted(p.name for p in folder.iterdir())
    told = [*listing.files.values(), *listing.strangers, *listing.system]
    assert sorted({*told, *(n for n in on_disk if is_owners_text(n))}) == on_disk
    assert len(told) == len(set(told))


# ---------------------------------------------------------------- FSS-1000: what is a class


def fss_class(folder: Path, numbers: range = range(1, 11)) -> None:
    folder.mkdir(parents=True)
    mask = np.zeros((32, 32), np.uint8)
    mask[4:20, 6:18] = 255
    for number in numbers:
        Image.fromarray(np.stack([mask] * 3, -1)).save(folder / f"{number}.jpg")
        Image.fromarray(mask).save(folder / f"{number}.png")


def test_a_folder_that_is_no_class_changes_no_class_that_is_tested(tmp_path: Path) -> None:
    root = tmp_path / "FSS-1000"
    for number in range(245):
        fss_class(root / f"class_{number:03}", range(1, 3))
    before = open_dataset("fss1000", data=tmp_path).pool("test")
    assert len(before.entries) == 480
    for name, inner in (
        ("__MACOSX", "class_000"),
        ("notes", "a.txt"),
        ("preview", "thumbnail.jpg"),
        ("FSS-1000", "class_000"),
        ("results", "run/1.jpg"),
    ):
        (root / name / inner).mkdir(parents=True)
    (root / "preview2").mkdir()
    (root / "preview2" / "montage.jpg").touch()
    dataset = open_dataset("fss1000", data=tmp_path)
    assert dataset.pool("test") == before
    warned = {f.path for f in dataset.verify().findings}
    assert {"__MACOSX", "notes", "preview", "preview2", "results", "FSS-1000"} <= warned


def test_stray_files_of_the_release_are_named(tmp_path: Path) -> None:
    fss_class(tmp_path / "FSS-1000/har_gow")
    shutil.copy(tmp_path / "FSS-1000/har_gow/4.jpg", tmp_path / "FSS-1000/har_gow/4.jpeg")
    shutil.copy(tmp_path / "FSS-1000/har_gow/4.jpg", tmp_path / "FSS-1000/har_gow/5.jpeg")
    shutil.copy(tmp_path / "FSS-1000/har_gow/4.jpg", tmp_path / "FSS-1000/har_gow/11.jpg")
    dataset = open_dataset("fss1000", data=tmp_path)
    assert len(dataset.pool("test").entries) == 10
    findings = {f.path: f for f in dataset.verify().findings}
    assert "issue 8" in findings["har_gow/4.jpeg"].problem
    assert "issue 8" not in findings["har_gow/5.jpeg"].problem
    assert "har_gow/11.jpg" in findings
    assert all(f.level == "warning" for f in findings.values())
