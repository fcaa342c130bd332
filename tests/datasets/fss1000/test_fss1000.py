from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from fssbench.datasets.fss1000 import miniature
from fssbench.datasets.fss1000.reader import FSS1000
from PIL import Image

from fssbench.api import DataError, Entry, UsageError


@pytest.fixture
def copy(mini, tmp_path):
    """Two classes of the miniature one may break."""
    for name in miniature.NAMES[:2]:
        shutil.copytree(mini / "FSS-1000" / name, tmp_path / name)
    return tmp_path


def write_lists(folder, **lists):
    (folder / "fss").mkdir(parents=True)
    for split, names in lists.items():
        (folder / "fss" / f"{split}.txt").write_text("".join(f"{n}\n" for n in names))


def test_queries_and_ids_are_those_of_the_reference(shared):
    golden = json.loads((shared / "golden/episodes/fss1000_1shot.json").read_text())["episodes"]
    dataset = FSS1000(None, splits=shared / "golden/splits")
    pool = dataset.pool("test")
    assert [[e.class_id, e.item] for e in pool.entries] == [row[:2] for row in golden]
    assert (pool.published, pool.source) == (2400, "reference list files")
    assert dataset.classes()[760] == "abe's_flyingfish"
    assert sorted(dataset.classes()) == list(range(1000))
    assert dataset.pool("val").entries[0].class_id == 520
    assert len(dataset.pool("trn").entries) == dataset.pool("trn").published == 5200


def test_lists_with_files_leave_out_what_is_missing(copy, tmp_path_factory):
    lists = tmp_path_factory.mktemp("lists")
    write_lists(lists, trn=["zebra"], val=["ape"], test=["banded_snail", "absent"])
    (copy / "banded_snail/3.png").unlink()
    pool = FSS1000(copy, splits=lists).pool("test")
    assert [e.item for e in pool.entries] == [f"banded_snail/{n}.jpg" for n in (1, 10, 2, 4, 5, 6, 7, 8, 9)]
    assert {e.class_id for e in pool.entries} == {761}
    assert FSS1000(copy, splits=lists).classes() == {761: "banded_snail"}
    assert pool.source.startswith("other list files (fss test: 2 classes, the reference has 240)")
    assert pool.source.endswith(", 9 of 20 entries on disk")
    assert pool.published == 2400
    with pytest.raises(DataError, match="none of the classes of this reference list is on disk"):
        FSS1000(copy, splits=lists).pool("val")


def test_without_lists_the_split_follows_from_the_name(tmp_path):
    names = [f"class_{n:03d}" for n in range(500)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").touch()
        (tmp_path / name / "1.png").touch()
    dataset = FSS1000(tmp_path)
    pools = {split: dataset.pool(split) for split in ("test", "val", "trn")}
    assert {s: len(p.entries) for s, p in pools.items()} == {"test": 240, "val": 240, "trn": 20}
    assert len({e.item for p in pools.values() for e in p.entries}) == 500
    assert [e.class_id for e in pools["test"].entries] == list(range(760, 1000))
    held = {e.item for e in pools["test"].entries}
    shutil.rmtree(tmp_path / names[0])
    assert len(held - {e.item for e in FSS1000(tmp_path).pool("test").entries}) <= 1
    assert "SHA-256" in pools["test"].source


def test_nothing_to_draw_from(tmp_path):
    with pytest.raises(DataError, match="fssbench data splits"):
        FSS1000(None).pool("test")
    with pytest.raises(UsageError, match="trn, val, test"):
        FSS1000(None).pool("dev")
    with pytest.raises(DataError, match="is empty"):
        FSS1000(tmp_path).pool("test")


def test_miniature_is_sound_and_large_enough(mini):
    dataset = FSS1000(FSS1000.locate(mini))
    report = dataset.verify()
    assert report.findings == []
    assert report.images == report.masks == 120
    assert set(report.histogram.values()) == {10}
    pool = dataset.pool("test")
    assert len(pool.entries) == 120
    assert pool.entries[0] == Entry("amber_lantern/1.jpg", 760)
    for entry in pool.entries[::13]:
        mask = dataset.mask(entry.item, entry.class_id)
        assert mask.shape == (224, 224)
        assert 0.03 < mask.mean() < 0.6
        assert dataset.image(entry.item).size == (224, 224)


def test_miniature_follows_its_seed(mini, tmp_path, monkeypatch):
    monkeypatch.setattr(miniature, "NAMES", miniature.NAMES[:1])
    FSS1000.miniature(tmp_path / "same", 0)
    FSS1000.miniature(tmp_path / "other", 1)
    for path in ("FSS-1000/amber_lantern/7.jpg", "FSS-1000/amber_lantern/7.png"):
        content = (mini / path).read_bytes()
        assert (tmp_path / "same" / path).read_bytes() == content
        assert (tmp_path / "other" / path).read_bytes() != content


def test_miniature_is_in_no_reference_list(mini, shared):
    with_lists = FSS1000(FSS1000.locate(mini), splits=shared / "golden/splits")
    assert with_lists.pool("test") == FSS1000(FSS1000.locate(mini)).pool("test")
    listed = {
        n
        for s in ("trn", "val", "test")
        for n in (shared / f"golden/splits/fss/{s}.txt").read_text().split("\n")
    }
    assert not listed & set(miniature.NAMES)


def test_oddities_of_the_real_sample_are_found(shared):
    report = FSS1000(FSS1000.locate(shared / "data")).verify()
    result = {f.path: f for f in report.findings}
    for number in range(3, 8):
        finding = result[f"african_elephant/{number}.png"]
        assert "RGBA" in finding.problem
        assert "soft edges" in finding.problem
    for number in range(1, 6):
        finding = result[f"eiffel_tower/{number}.png"]
        assert finding.level == "error"
        assert "highest value is 1" in finding.problem
        assert "255" in finding.remedy
    assert "5 of 10 pairs missing: 1, 2, 8, 9, 10" in result["african_elephant"].problem
    assert "5 of 10 pairs missing: 6, 7, 8, 9, 10" in result["eiffel_tower"].problem
    assert report.histogram == {"african_elephant": 5, "eiffel_tower": 0}
    assert "no episode can be drawn" in next(
        f.problem for f in report.findings if "'eiffel_tower' has 0" in f.problem
    )


def test_real_masks_are_read_by_the_threshold(shared):
    dataset = FSS1000(FSS1000.locate(shared / "data"))
    assert len(dataset.pool("test").entries) == 10
    stored = np.asarray(Image.open(shared / "data/FSS-1000/african_elephant/3.png").convert("L"))
    np.testing.assert_array_equal(dataset.mask("african_elephant/3.jpg", 760), stored >= 128)


MASK = "amber_lantern/2.png"
IMAGE = "amber_lantern/2.jpg"


def _save(change):
    def damage(root):
        grey = np.asarray(Image.open(root / MASK).convert("L"))
        Image.fromarray(change(grey)).save(root / MASK)

    return damage


@pytest.mark.parametrize(
    ("damage", "path", "level", "problem"),
    [
        (_save(lambda g: g // 255), MASK, "error", "highest value is 1"),
        (_save(np.zeros_like), MASK, "error", "mask is empty"),
        (_save(lambda g: g.astype(np.uint16)), MASK, "error", "16-bit"),
        (
            _save(lambda g: g[:-1]),
            MASK,
            "warning",
            "as released: the mask is 224x223, but the image is 224x224",
        ),
        (_save(lambda g: np.full_like(g, 255)), MASK, "warning", "every pixel is foreground"),
        (_save(lambda g: g // 2 + 40), MASK, "warning", "pixels are grey"),
        (
            lambda root: Image.open(root / IMAGE).save(root / MASK),
            MASK,
            "warning",
            "as released: the mask holds colours",
        ),
        (lambda root: (root / MASK).unlink(), MASK, "error", "mask missing"),
        (lambda root: (root / IMAGE).unlink(), IMAGE, "error", "image missing"),
        (
            lambda root: (root / IMAGE).write_bytes((root / IMAGE).read_bytes()[:900]),
            IMAGE,
            "error",
            "image unreadable",
        ),
        (
            lambda root: (root / "amber_lantern/x.bmp").touch(),
            "amber_lantern/x.bmp",
            "warning",
            "it is not read",
        ),
    ],
)
def test_verify_finds_each_damage(copy, damage, path, level, problem):
    damage(copy)
    first = FSS1000(copy).verify().findings[0]
    assert (first.path, first.level) == (path, level)
    assert problem in first.problem
    assert first.remedy


def test_verify_of_an_empty_or_absent_folder(tmp_path):
    report = FSS1000(tmp_path).verify()
    assert [f.problem for f in report.findings] == ["no class folder is there"]
    with pytest.raises(DataError, match="does not exist"):
        FSS1000(tmp_path / "none").verify()
    with pytest.raises(DataError, match="lists alone"):
        FSS1000(None).verify()


def test_listed_classes_that_are_missing_are_counted(copy, tmp_path_factory):
    lists = tmp_path_factory.mktemp("lists")
    write_lists(lists, trn=["zebra"], val=["ape"], test=["banded_snail", "absent"])
    problems = [f.problem for f in FSS1000(copy, splits=lists).verify().findings]
    assert "1 of 2 listed entries are not on disk: absent" in problems
