"""A picture is known by what it is: tested ones are not trained on, seen ones are marked, under any name."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

import fssbench
from fssbench.api import Dataset, DatasetCard, Entry, Episode, Pool, UsageError, Verification
from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.contracts.provenance import Provenance
from fssbench.data.location import open_dataset
from fssbench.data.picture_names import (
    count_queries_among_supports,
    find_given_name,
    find_same_pictures,
    name_pictures,
)
from fssbench.errors import PluginError
from fssbench.loading.contamination import make_content_ids, make_image_ids
from fssbench.runs.early_marks import make_support_marks, make_training_marks, read_plan_pictures
from fssbench.training.episodes import collect_training_set


class Photos(Dataset):
    """A stranger's data set: one folder of JPEGs, all of one class; both splits are the whole folder."""

    card = DatasetCard(
        name="photos",
        title="Photos",
        domain="d",
        folders=("photos",),
        url="u",
        licence="l",
        citation="c",
        layout="l",
    )

    def classes(self):
        return {0: "thing"}

    def pool(self, split):
        if split != "test":
            raise UsageError("test only")
        return Pool(tuple(Entry(p.name, 0) for p in sorted(self.path(".").glob("*.jpg"))), "files")

    def image(self, item):
        return Image.open(self.path(item)).convert("RGB")

    def label(self, item):
        return np.ones(self.image(item).size[::-1], np.uint8)

    def mask(self, item, class_id):
        return self.label(item)

    def verify(self):
        return Verification("photos", self.path("."))

    @classmethod
    def miniature(cls, data, seed):
        raise NotImplementedError


class Archive(Photos):
    """All images in one file."""

    def pool(self, split):
        return Pool(tuple(Entry(f"{i}.jpg", 0) for i in range(4)), "archive")

    def files(self, item):
        return (self.path("all.npz"),)


def write_image(path: Path, seed: int, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def coco(root: Path, train: range, val: range) -> None:
    """COCO of 2017: noise, and masks that show every class."""
    for part, numbers in (("train2017", train), ("val2017", val)):
        for n in numbers:
            write_image(root / f"COCO2017/{part}/{n:012}.jpg", n, (80, 64))
            mask = root / f"COCO2017/annotations/{part}/{n:012}.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.tile(np.arange(1, 81, dtype=np.uint8), (64, 1))).save(mask)


def coco_val_lists(root: Path, numbers: range) -> None:
    for fold in range(4):
        path = root / f"splits/coco/val/fold{fold}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        items = [f"val2014/COCO_val2014_{n:012}.jpg" for n in numbers]
        path.write_bytes(pickle.dumps(dict.fromkeys(range(fold, 80, 4), items)))


def method_trained_on(**manifest: Any) -> Any:
    """The attributes of a method that `make_training_marks` reads."""
    training = TrainingManifest.read_stored({"dataset": "coco", **manifest})
    return SimpleNamespace(provenance=Provenance(training=training))


def seen_mark(marks: list[str]) -> str | None:
    return next((m for m in marks if m.startswith("trained on test images")), None)


# --- F2: COCO under the names of two releases ---


def test_tested_images_of_coco_are_left_out_under_the_names_of_2017(tmp_path):
    coco(tmp_path, range(1, 25), range(61, 62))
    coco_val_lists(tmp_path, range(1, 13))
    source = collect_training_set("coco20i", data=tmp_path)
    assert {int(item[-16:-4]) for item in source.items} == set(range(13, 25))
    assert source.left_out == 12


def test_a_checkpoint_that_saw_them_is_marked_whatever_its_manifest_knows(tmp_path):
    coco(tmp_path, range(1, 9), range(61, 62))
    coco_val_lists(tmp_path, range(1, 7))
    plan = fssbench.plan("coco20i", data=tmp_path, episodes=40)
    dataset = open_dataset("coco", data=tmp_path)
    trained = [f"train2017/{n:012}.jpg" for n in (1, 2, 7)]
    shown = sum(int(e.query[-16:-4]) in {1, 2} for e in plan)
    assert 0 < shown < 40
    expected = f"trained on test images ({shown} of 40 queries)"
    names = name_pictures(dataset, trained)
    for facts in (
        {"image_ids": make_image_ids(trained)},  # of an earlier version: names alone
        {
            "image_ids": make_image_ids(
                ["val2014/COCO_val2014_000000000001.jpg", "train2017/000000000002.jpg"]
            )
        },
        {"content_ids": make_content_ids(n for each in names.values() for n in each)},
    ):
        assert seen_mark(make_training_marks(method_trained_on(**facts), plan)) == expected
    other = {"content_ids": make_content_ids(["coco:000000000099"]), "image_ids": make_image_ids(["x"])}
    assert seen_mark(make_training_marks(method_trained_on(**other), plan)) is None


def test_only_what_shows_no_test_class_under_any_name_stays_without_novel(tmp_path):
    coco(tmp_path, range(1, 5), range(61, 62))
    shutil.copy(tmp_path / "COCO2017/train2017/000000000001.jpg", tmp_path / "twin.jpg")
    shutil.move(tmp_path / "twin.jpg", tmp_path / "COCO2017/train2017/000000000088.jpg")
    Image.fromarray(np.full((64, 80), 2, np.uint8)).save(
        tmp_path / "COCO2017/annotations/train2017/000000000088.png"
    )
    for n in (2, 3, 4, 5, 6):
        write_image(tmp_path / f"COCO2017/train2017/{n:012}.jpg", n)
        classes = np.resize(np.array([c for c in range(1, 81) if (c - 1) % 4], np.uint8), (64, 80))
        Image.fromarray(classes).save(tmp_path / f"COCO2017/annotations/train2017/{n:012}.png")
    source = collect_training_set("coco20i", data=tmp_path, without_novel=True)
    assert {int(item[-16:-4]) for item in source.items} == {2, 3, 4, 5, 6}


# --- the same file under two names ---


def voc(root: Path, names: list[str]) -> None:
    """VOC: noise, and masks that show every class."""
    for i, name in enumerate(names):
        write_image(root / f"VOC2012/JPEGImages/{name}.jpg", i)
        mask = root / f"VOC2012/SegmentationClassAug/{name}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.tile(np.repeat(np.arange(1, 21, dtype=np.uint8), 2), (30, 1))).save(mask)


def test_a_test_image_copied_into_the_training_part_is_left_out(tmp_path):
    """Train and test copies of one file: the names differ, the bytes do not."""
    train, val = [f"2008_{i:06}" for i in range(12)], [f"2007_{i:06}" for i in range(12)]
    voc(tmp_path, [*train, *val])
    lists = tmp_path / "VOC2012/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(train))
    (lists / "val.txt").write_text("\n".join(val))
    assert collect_training_set("pascal5i", data=tmp_path).left_out == 0
    images = tmp_path / "VOC2012/JPEGImages"
    for n in (3, 4):
        shutil.copy(images / f"2007_{n:06}.jpg", images / f"2008_{n:06}.jpg")
    source = collect_training_set("pascal5i", data=tmp_path)
    assert source.left_out == 2
    assert not {"2008_000003", "2008_000004"} & set(source.items)


def test_a_copy_of_a_training_image_is_not_held_out(tmp_path):
    """Otherwise the checkpoint would be chosen on pictures that were trained on."""
    names = [f"2008_{i:06}" for i in range(60)]
    voc(tmp_path, names)
    lists = tmp_path / "VOC2012/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names))
    (lists / "val.txt").write_text("2007_000001")
    before = collect_training_set("pascal5i", data=tmp_path)
    held = sorted(before.held_out[5])
    assert held
    images = tmp_path / "VOC2012/JPEGImages"
    shutil.copy(images / f"{before.training[5][0]}.jpg", images / f"{held[0]}.jpg")
    after = collect_training_set("pascal5i", data=tmp_path)
    assert sorted(after.held_out[5]) == held[1:]
    assert after.items == before.items


def test_files_of_voc_are_known_under_the_name_of_another_data_set(tmp_path):
    voc(tmp_path, [f"2007_{i:06}" for i in range(6)])
    pascal = open_dataset("pascal", data=tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in (1, 4):
        shutil.copy(tmp_path / f"VOC2012/JPEGImages/2007_{i:06}.jpg", photos / f"holiday{i}.jpg")
    write_image(photos / "own.jpg", 99)
    other = Photos(photos)
    items = [e.item for e in other.pool("test").entries]
    assert find_same_pictures(other, items, pascal, [f"2007_{i:06}" for i in range(6)]) == {
        "holiday1.jpg",
        "holiday4.jpg",
    }
    trained = {n for names in name_pictures(pascal, ["2007_000001"]).values() for n in names}
    assert "voc:2007_000001" in trained
    assert name_pictures(other, items)["holiday1.jpg"] & trained
    assert not name_pictures(other, items)["holiday4.jpg"] & trained


def test_a_renamed_voc_goes_by_its_ids(tmp_path):
    class Mine(type(open_dataset("pascal", data=_voc_folder(tmp_path)))):  # type: ignore[misc]
        card = Photos.card

    mine = Mine(tmp_path / "VOC2012")
    assert mine.content("2007_000000") == "voc:2007_000000"
    assert mine.content("own_picture").startswith("sha256:")


def _voc_folder(root: Path) -> Path:
    voc(root, ["2007_000000", "own_picture"])
    return root


def test_a_file_that_holds_all_images_tells_nothing(tmp_path):
    (tmp_path / "all.npz").write_bytes(b"images")
    archive = Archive(tmp_path)
    assert find_same_pictures(archive, ["0.jpg", "1.jpg"], archive, ["2.jpg", "3.jpg"]) == frozenset()
    assert set(name_pictures(archive, ["0.jpg", "1.jpg"]).values()) == {frozenset()}
    assert find_same_pictures(archive, ["0.jpg", "1.jpg"], archive, ["1.jpg"]) == {"1.jpg"}


def test_missing_files_and_failing_plugins(tmp_path):
    class Broken(Photos):
        def content(self, item):
            return {}[item]

    write_image(tmp_path / "a.jpg", 1)
    assert name_pictures(Photos(tmp_path), ["gone.jpg"]) == {"gone.jpg": frozenset()}
    assert name_pictures(Photos(None), ["a.jpg"]) == {"a.jpg": frozenset()}
    with pytest.raises(PluginError, match=r"content\('a\.jpg'\) fails: KeyError"):
        find_given_name(Broken(tmp_path), "a.jpg")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_same_pictures_are_those_of_equal_bytes(tmp_path_factory, kinds, cut):
    """Against the obvious comparison of all with all."""
    root = tmp_path_factory.mktemp("photos")
    for place, kind in enumerate(kinds):
        (root / f"{place}.jpg").write_bytes(bytes([kind // 2]) * (10 + kind % 2))
    items = [f"{place}.jpg" for place in range(len(kinds))]
    mine, theirs = items[:cut], items[cut:]
    dataset = Photos(root)
    expected = {a for a in mine if any((root / a).read_bytes() == (root / b).read_bytes() for b in theirs)}
    assert find_same_pictures(dataset, mine, dataset, theirs) == expected
    names = name_pictures(dataset, items)
    assert expected == {a for a in mine if any(names[a] & names[b] for b in theirs)}


# --- a query among its own supports ---


def test_a_query_that_is_its_own_support_under_another_name_is_counted():
    episodes = [
        Episode(0, 0, "a", ("b", "c")),
        Episode(1, 0, "b", ("a", "b2")),
        Episode(2, 0, "c", ("c",)),
        Episode(3, 0, "a", ("b", "b")),
    ]
    names = {"a": frozenset({"1"}), "b": frozenset({"2"}), "b2": frozenset({"2", "x"}), "c": frozenset()}
    assert count_queries_among_supports(episodes, names) == 2
    assert count_queries_among_supports(episodes, {}) == 1


def test_copies_among_the_images_are_marked(tmp_path):
    images = tmp_path / "ISIC/ISIC2018_Task1-2_Training_Input"
    for i in range(6):
        write_image(images / f"ISIC_{i:07}.jpg", i)
    plan = fssbench.plan("pascal-to-isic2018", data=tmp_path)
    assert make_support_marks(plan, read_plan_pictures(plan)) == []
    shutil.copy(images / "ISIC_0000000.jpg", images / "ISIC_0000001.jpg")
    pairs = [{e.query, *e.supports} for e in plan]
    twins = {f"ISIC2018_Task1-2_Training_Input/ISIC_000000{i}.jpg" for i in (0, 1)}
    count = sum(pair == twins for pair in pairs)
    assert count > 0
    assert make_support_marks(plan, read_plan_pictures(plan)) == [
        f"query among its supports ({count} of 600 episodes)"
    ]
