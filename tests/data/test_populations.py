"""Every data set and variant against its published size: smaller, equal and larger."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fssbench.datasets.shared.pairs import warn_of_other_size
from fssbench.datasets.shared.pools import pool_from_files
from hypothesis import given, strategies as st
from PIL import Image

import fssbench
from fssbench.api import Entry, OtherList, Pool, Population, Verification
from fssbench.data.location import open_dataset
from fssbench.data.populations import compare_count, find_pool_marks, find_size_marks
from fssbench.plugins.registry import DATASETS


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def isic(root: Path, counts: tuple[int, int, int], *, flat: bool) -> None:
    number = 0
    for folder, count in enumerate(counts, start=1):
        for _ in range(count):
            part = "" if flat else f"{folder}/"
            touch(root / f"ISIC/ISIC2018_Task1-2_Training_Input/{part}ISIC_{number:07}.jpg")
            number += 1


def lungs(root: Path, shenzhen: int, montgomery: int) -> None:
    for i in range(shenzhen):
        touch(root / f"LungSegmentation/masks/CHNCXR_{i:04}_0_mask.png")
    for i in range(montgomery):
        touch(root / f"LungSegmentation/masks/MCUCXR_{i:04}_0.png")


def fss(root: Path, classes: int) -> None:
    for c in range(classes):
        for n in range(1, 11):
            touch(root / f"FSS-1000/class_{c:04}/{n}.jpg")
            touch(root / f"FSS-1000/class_{c:04}/{n}.png")


def deepglobe(root: Path, patches: int) -> None:
    for i in range(patches):
        touch(root / f"Deepglobe/{i % 6 + 1}/test/origin/{i}_sat_00.jpg")


def suim(root: Path, images: int) -> None:
    """Pictures of 8 x 1 pixels, one of each colour code."""
    codes = np.array([(r, g, b) for r in (0, 1) for g in (0, 1) for b in (0, 1)], np.uint8) * 255
    (root / "SUIM/images").mkdir(parents=True)
    (root / "SUIM/masks").mkdir()
    Image.fromarray(codes[None]).save(root / "SUIM/masks/i0.bmp")
    Image.fromarray(codes[None]).save(root / "SUIM/images/i0.jpg")
    for i in range(1, images):
        for name in (f"masks/i{i}.bmp", f"images/i{i}.jpg"):
            os.link(root / "SUIM" / name.replace(f"i{i}", "i0"), root / "SUIM" / name)


CASES: list[tuple[str, str, Callable[[Path], None], tuple[str, ...]]] = [
    ("pascal-to-isic2018:isic1", "task", lambda r: isic(r, (2594, 0, 0), flat=True), ()),
    (
        "pascal-to-isic2018:isic1",
        "all parts",
        lambda r: isic(r, (3694, 0, 0), flat=True),
        ("other population (3,694 entries, published 2,594)",),
    ),
    (
        "pascal-to-isic2018:isic1",
        "one short",
        lambda r: isic(r, (2593, 0, 0), flat=True),
        ("sample (2593 of 2594 entries)",),
    ),
    ("pascal-to-isic2018:isic3", "folders", lambda r: isic(r, (208, 1867, 519), flat=False), ()),
    (
        "pascal-to-isic2018:isic3",
        "other labels",
        lambda r: isic(r, (1000, 1000, 594), flat=False),
        ("other population (3 classes of other sizes than published: 594, 1,000 images)",),
    ),
    ("pascal-to-chestxray:lung566", "Shenzhen", lambda r: lungs(r, 566, 0), ()),
    ("pascal-to-chestxray:lung566", "both", lambda r: lungs(r, 566, 138), ()),
    (
        "pascal-to-chestxray:lung566",
        "all radiographs",
        lambda r: lungs(r, 662, 0),
        ("other population (662 entries, published 566)",),
    ),
    ("pascal-to-chestxray:lung704", "both", lambda r: lungs(r, 566, 138), ()),
    (
        "pascal-to-chestxray:lung704",
        "Shenzhen",
        lambda r: lungs(r, 566, 0),
        ("sample (566 of 704 entries)",),
    ),
    (
        "pascal-to-chestxray:lung704",
        "more",
        lambda r: lungs(r, 662, 138),
        ("other population (800 entries, published 704)",),
    ),
    ("pascal-to-deepglobe", "the script's", lambda r: deepglobe(r, 9174), ()),
    ("pascal-to-deepglobe", "fewer", lambda r: deepglobe(r, 5665), ("sample (5665 of 5666 entries)",)),
    ("pascal5i-to-suim:suim8", "whole", lambda r: suim(r, 1635), ()),
    ("pascal5i-to-suim:suim8", "test part", lambda r: suim(r, 110), ("sample (110 of 1635 images)",)),
    (
        "pascal5i-to-suim:suim8",
        "twice",
        lambda r: suim(r, 1640),
        ("other population (1,640 images, published 1,635)",),
    ),
    (
        "pascal5i-to-suim:suim7",
        "more",
        lambda r: suim(r, 552),
        ("other population (3,864 entries, published 3,859)",),
    ),
    ("pascal5i-to-suim:suim7", "few", lambda r: suim(r, 3), ("sample (21 of 3859 entries)",)),
]


@pytest.mark.parametrize(("benchmark", "what", "draw", "marks"), CASES, ids=[f"{c[0]} {c[1]}" for c in CASES])
def test_sizes_are_compared_with_the_published(tmp_path, benchmark, what, draw, marks):
    draw(tmp_path)
    assert fssbench.plan(benchmark, data=tmp_path).marks == marks


def test_fss_classes_and_images(tmp_path):
    fss(tmp_path, 1000)
    made = fssbench.plan("fss1000", data=tmp_path).marks
    assert made == ("other lists (fss1000 test: made from the files on disk)",)
    tested = min(e.query for e in fssbench.plan("fss1000", data=tmp_path))
    for ending in (".jpg", ".png"):
        (tmp_path / "FSS-1000" / tested).with_suffix(ending).unlink()
    assert fssbench.plan("fss1000", data=tmp_path).marks == ("sample (2399 of 2400 entries)",)


def test_verify_and_run_agree_on_more_than_published(tmp_path):
    isic(tmp_path, (2600, 0, 0), flat=True)
    (mark,) = fssbench.plan("pascal-to-isic2018", data=tmp_path).marks
    dataset = open_dataset("isic2018", data=tmp_path)
    report = Verification("isic2018", dataset.path("."))
    warn_of_other_size(report, ".", dataset, "images")
    assert [f.problem for f in report.findings] == [mark]


def test_every_variant_has_a_published_size():
    splits = {"pascal": ("trn", "val"), "coco": ("trn", "val"), "fss1000": ("trn", "val", "test")}
    for name in ("pascal", "coco", "fss1000", "deepglobe", "isic2018", "chestxray", "suim"):
        cls = DATASETS.get(name)
        populations = importlib.import_module(cls.__module__).POPULATIONS
        variants = cls.card.variants or (None,)
        assert set(populations) == {(v, s) for v in variants for s in splits.get(name, ("test",))}
        assert all(p.source and (p.entries or p.images) for p in populations.values())


def test_voc_of_the_published_size_without_lists_is_still_marked():
    """Which classes of which images are listed follows another rule than the reference's."""
    entries = [Entry(f"i{i}", i % 20) for i in range(1868)]
    expected = Population(entries=1868)
    assert find_pool_marks(pool_from_files(entries, "rule", expected, "pascal val"), [3]) == (
        "other lists (pascal val: made from the files on disk)",
    )
    assert find_pool_marks(pool_from_files(entries[1:], "rule", expected, "pascal val"), [3]) == (
        "sample (1867 of 1868 entries)",
    )


@given(st.integers(0, 5000), st.integers(1, 5000), st.booleans())
def test_a_count_is_marked_unless_it_is_the_published_one(count, published, least):
    mark = compare_count(count, published, "entries", least=least)
    if count == published or (least and count > published):
        assert mark is None
    else:
        assert mark is not None
        assert mark.startswith("sample (" if count < published else "other population (")
        assert str(count) in mark.replace(",", "")


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_classes_of_other_sizes_are_marked_though_the_sum_is_right(sizes):
    entries = tuple(Entry(f"{c}/{i}", c) for c, size in enumerate(sizes) for i in range(size))
    even = Population(entries=len(entries), images_by_class=tuple(sorted(sizes)))
    assert find_size_marks(Pool(entries, "x", population=even)) == ()
    other = Population(entries=len(entries), images_by_class=(*sorted(sizes)[:-1], max(sizes) + 1))
    assert len(find_size_marks(Pool(entries, "x", population=other))) == 1


def test_lists_are_marked_for_their_classes_only():
    pool = Pool((Entry("a", 1), Entry("b", 2)), "x", other_lists=(OtherList("x val", frozenset({2}), "odd"),))
    assert find_pool_marks(pool, [1]) == ()
    assert find_pool_marks(pool, [1, 2]) == ("other lists (x val: odd)",)


def test_a_plugin_may_give_the_number_of_entries_alone():
    assert Pool((), "x", published=4).population == Population(entries=4)
    assert Pool((), "x", population=Population(entries=7, least=True)).published == 7
    assert find_size_marks(Pool(tuple(Entry(str(i), 0) for i in range(5)), "x", published=4)) == (
        "other population (5 entries, published 4)",
    )
