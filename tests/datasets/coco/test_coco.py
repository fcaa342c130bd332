from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from fssbench.datasets.coco import miniature, rasterise
from fssbench.datasets.coco.lists import LISTS
from fssbench.datasets.coco.reader import CLASSES, Coco, image_id
from fssbench.datasets.shared import palette
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fssbench.api import DataError, UsageError, decode_region

IMAGES = 6
"""Images of a small release, the third of which is harmed."""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A smaller release, prepared; read-only by agreement."""
    data = tmp_path_factory.mktemp("small")
    miniature.write_release(data / "COCO2017", 0, CLASSES, {"val2017": IMAGES})
    list(Coco.prepare(data / "COCO2017", data))
    return data / "COCO2017"


@pytest.fixture
def copy(small, tmp_path):
    """A small release one may break."""
    return shutil.copytree(small, tmp_path / "COCO2017")


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    """The real sample, prepared into a folder of our own."""
    data = tmp_path_factory.mktemp("real")
    lines = list(Coco.prepare(shared / "data/COCO2017", data))
    assert "annotations/val2017: 94 masks drawn" in lines
    return data


def test_pool_of_the_reference_lists(shared):
    pool = Coco(None, splits=shared / "golden/splits").pool("val")
    counts = np.bincount([e.class_id for e in pool.entries], minlength=80)
    assert [int(counts[f::4].sum()) for f in range(4)] == [35_783, 17_912, 14_563, 14_315]
    assert [int(counts[f::4].min()) for f in range(4)] == [142, 270, 37, 94]
    assert len(pool.entries) == pool.published == 82_573
    assert pool.source == "reference list files"
    order = [e.class_id for e in pool.entries]
    assert order == sorted(order)
    for class_id in (0, 5, 78, 79):
        listed = LISTS.read(shared / f"golden/splits/coco/val/fold{class_id % 4}.pkl")[class_id]
        assert [e.item for e in pool.of_classes((class_id,))] == listed


def test_reference_stream_is_drawn_from_this_pool(shared):
    golden = json.loads((shared / "golden/episodes/coco20i_fold0_1shot.json").read_text())["episodes"]
    pool = Coco(None, splits=shared / "golden/splits").pool("val")
    draws = np.random.RandomState(0)
    by_class = {c: [e.item for e in pool.of_classes((c,))] for c in range(0, 80, 4)}
    for class_id, query, supports in golden[:300]:
        drawn = int(draws.choice(list(by_class), 1, replace=False)[0])
        first = second = str(draws.choice(by_class[drawn], 1, replace=False)[0])
        while second == first:
            second = str(draws.choice(by_class[drawn], 1, replace=False)[0])
        assert (drawn, first, [second]) == (class_id, query, supports)


def test_trn_lists_hold_the_other_sixty_classes(tmp_path):
    (tmp_path / "coco/trn").mkdir(parents=True)
    for fold in range(4):
        lists = {c: [f"train2014/COCO_train2014_{c:012d}.jpg"] for c in range(80) if c % 4 != fold}
        (tmp_path / f"coco/trn/fold{fold}.json").write_text(json.dumps(lists))
    pool = Coco(None, splits=tmp_path).pool("trn")
    assert [e.class_id for e in pool.entries] == list(range(80))
    (tmp_path / "coco/trn/fold2.json").unlink()
    with pytest.raises(DataError, match=r"fold2\.pkl"):
        Coco(None, splits=tmp_path).pool("trn")


def test_class_without_images_in_its_list_is_an_error(tmp_path):
    (tmp_path / "coco/val").mkdir(parents=True)
    for fold in range(4):
        (tmp_path / f"coco/val/fold{fold}.json").write_text(json.dumps({c: [] for c in range(fold, 80, 4)}))
    with pytest.raises(DataError, match=r"fold0\.json lists no image of class 0 \(person\)"):
        Coco(None, splits=tmp_path).pool("val")


def test_nothing_to_draw_from(tmp_path):
    with pytest.raises(DataError, match="fssbench data splits"):
        Coco(None).pool("val")
    with pytest.raises(UsageError, match="trn, val"):
        Coco(None).pool("test")
    with pytest.raises(DataError, match="fssbench data prepare coco"):
        Coco(tmp_path).pool("val")


@pytest.mark.parametrize(
    "item", ["val2014/COCO_val2014_000000507081.jpg", "000000507081.jpg", "val2017/000000507081.jpg"]
)
def test_one_image_has_one_number_in_both_releases(item):
    assert image_id(item) == "000000507081"
    with pytest.raises(DataError, match="twelve digits"):
        image_id("val2014/x.jpg")


def test_reference_names_are_found_in_2017_files(shared, real):
    dataset = Coco(Coco.locate(real), splits=shared / "golden/splits")
    pool = dataset.pool("val")
    assert pool.source == f"reference list files, {len(pool.entries)} of 82,573 entries on disk"
    assert len(pool.entries) > 300
    for entry in pool.entries[::25]:
        assert entry.item.startswith("val2014/COCO_val2014_")
        mask = dataset.mask(entry.item, entry.class_id)
        assert mask.shape == dataset.image(entry.item).size[::-1]
        assert mask.any(), entry


def test_real_sample_has_no_errors_once_prepared(real):
    report = Coco(Coco.locate(real)).verify()
    assert report.ok
    assert report.images == report.masks == 175


def test_a_release_that_is_not_prepared_names_the_command(tmp_path):
    miniature.write_release(tmp_path / "COCO2017", 0, CLASSES, {"train2017": 2, "val2017": 1})
    report = Coco(Coco.locate(tmp_path)).verify()
    assert [f.path for f in report.findings] == ["annotations/train2017", "annotations/val2017"]
    assert all("fssbench data prepare coco" in f.remedy for f in report.findings)
    assert report.images == 3


def test_masks_agree_with_pycocotools(shared, real):
    """Oracle: COCO's own code, image by image; where regions do not overlap the label is theirs."""
    coco = pytest.importorskip("pycocotools.coco").COCO(
        str(shared / "data/COCO2017/annotations/instances_val2017.json")
    )
    labels = {category: n for n, category in enumerate(sorted(coco.getCatIds()), start=1)}
    for image in coco.loadImgs(coco.getImgIds()):
        regions = [
            (labels[a["category_id"]], coco.annToMask(a).astype(bool)) for a in coco.imgToAnns[image["id"]]
        ]
        drawn = np.asarray(Image.open(real / f"COCO2017/annotations/val2017/{image['file_name'][:-4]}.png"))
        cover = sum((r.astype(int) for _, r in regions), np.zeros(drawn.shape, int))
        np.testing.assert_array_equal(drawn > 0, cover > 0)
        for label, where in regions:
            assert (drawn[where & (cover == 1)] == label).all()


def test_small_regions_lie_on_large_ones_and_all_on_crowds():
    def box(x, y, w, h):
        return [[x, y, x + w, y, x + w, y + h, x, y + h]]

    crowd = np.zeros((20, 30), bool)
    crowd[:2] = True
    annotations = [
        {"id": 1, "category_id": 5, "segmentation": box(4, 4, 4, 4)},
        {"id": 2, "category_id": 7, "segmentation": box(0, 0, 20, 15) + box(25, 16, 4, 3)},
        {"id": 3, "category_id": 9, "iscrowd": 1, "segmentation": rasterise.encode_run_lengths(crowd)},
    ]
    mask = rasterise.draw_mask(annotations, {5: 1, 7: 2, 9: 3}, 20, 30)
    assert mask[5, 5] == 1
    assert mask[12, 10] == 2
    assert mask[17, 26] == 2, "every polygon is drawn, not the first alone"
    assert mask[0, 5] == 2, "a crowd lies lowest"
    assert mask[0, 25] == 3
    np.testing.assert_array_equal(mask, rasterise.draw_mask(annotations[::-1], {5: 1, 7: 2, 9: 3}, 20, 30))


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_round_trip_and_agree_with_pycocotools(where):
    tools = pytest.importorskip("pycocotools.mask")
    stored = rasterise.encode_run_lengths(where)
    np.testing.assert_array_equal(decode_region(stored, *where.shape), where)
    compressed = tools.frPyObjects(stored, *where.shape)
    np.testing.assert_array_equal(tools.decode(compressed).astype(bool), where)
    np.testing.assert_array_equal(decode_region(compressed, *where.shape), where)


def test_miniature_is_sound_and_large_enough(mini):
    dataset = Coco(Coco.locate(mini))
    report = dataset.verify()
    assert report.findings == []
    assert report.images == report.masks == 136
    pool = dataset.pool("val")
    assert np.bincount([e.class_id for e in pool.entries], minlength=80).min() >= 6
    assert pool.source.startswith("files on disk: ")
    assert {e.class_id for e in dataset.pool("trn").entries} == set(range(80))
    entry = pool.entries[0]
    assert set(np.unique(dataset.mask(entry.item, entry.class_id))) == {0, 1}
    content = json.loads((mini / "COCO2017/annotations/instances_val2017.json").read_text())
    assert any(a["iscrowd"] for a in content["annotations"])


def test_miniature_needs_no_pycocotools_and_follows_its_seed(mini, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    for folder, seed in (("same", 0), ("other", 1)):
        root = tmp_path / folder / "COCO2017"
        miniature.write_release(root, seed, CLASSES, {"train2017": 2})
        list(Coco.prepare(root, tmp_path / folder))
    for path in ("train2017/000900000002.jpg", "annotations/train2017/000900000002.png"):
        content = (mini / "COCO2017" / path).read_bytes()
        assert (tmp_path / "same/COCO2017" / path).read_bytes() == content
        assert (tmp_path / "other/COCO2017" / path).read_bytes() != content


def test_miniature_is_in_no_reference_list(mini, shared):
    pool = Coco(Coco.locate(mini), splits=shared / "golden/splits").pool("val")
    assert "none of the 82,573 reference entries is on disk" in pool.source
    assert pool.entries == Coco(Coco.locate(mini)).pool("val").entries


def test_prepare_refuses_other_categories(copy, tmp_path):
    path = copy / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["categories"][3]["name"] = "dragon"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="dragon, motorcycle"):
        list(Coco.prepare(copy, tmp_path / "data"))
    report = Coco(copy).verify()
    assert [f.path for f in report.findings if f.level == "error"] == ["annotations/instances_val2017.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"images": []}'])
def test_prepare_refuses_a_broken_file(copy, tmp_path, text):
    (copy / "annotations/instances_val2017.json").write_text(text)
    with pytest.raises(DataError, match=r"instances_val2017\.json"):
        list(Coco.prepare(copy, tmp_path / "data"))


def test_prepare_says_what_is_missing(copy, tmp_path):
    with pytest.raises(DataError, match="instances_"):
        list(Coco.prepare(tmp_path / "none", tmp_path / "data"))
    content = json.loads((copy / "annotations/instances_val2017.json").read_text())
    content["annotations"][0]["segmentation"]["counts"][0] += 1
    (copy / "annotations/instances_val2017.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="run lengths do not fill"):
        list(Coco.prepare(copy, tmp_path / "data"))
    shutil.rmtree(copy / "val2017")
    with pytest.raises(DataError, match="image folder"):
        list(Coco.prepare(copy, tmp_path / "data"))


MASK = "annotations/val2017/000900000003.png"
IMAGE = "val2017/000900000003.jpg"


def _unknown(root):
    label = np.asarray(Image.open(root / MASK)).copy()
    label[0, :3] = (81, 90, 255)
    palette.save_labels(label, root / MASK)


def _smaller_image(root):
    image = Image.open(root / IMAGE)
    image.resize((image.width - 1, image.height)).save(root / IMAGE)


@pytest.mark.parametrize(
    ("damage", "paths", "problem"),
    [
        (_unknown, [MASK], "unknown label values 81, 90, 255"),
        (_smaller_image, [IMAGE, MASK], "its annotations are for (272, 204)"),
        (lambda root: (root / MASK).unlink(), [MASK], "mask missing"),
        (lambda root: (root / IMAGE).unlink(), [IMAGE], "image missing"),
        (lambda root: (root / IMAGE).write_bytes(b"x" * 99), [IMAGE], "image unreadable"),
        (lambda root: Image.open(root / MASK).convert("RGB").save(root / MASK), [MASK], "RGB colours"),
        (
            lambda root: shutil.rmtree(root / "annotations"),
            ["annotations/val2017"],
            f"index masks of {IMAGES} images missing",
        ),
        (
            lambda root: shutil.rmtree(root / "val2017") or shutil.rmtree(root / "annotations"),
            ["."],
            "none of",
        ),
    ],
)
def test_verify_finds_each_damage(copy, damage, paths, problem):
    damage(copy)
    errors = [f for f in Coco(copy).verify().findings if f.level == "error"]
    assert [f.path for f in errors] == paths
    assert problem in errors[0].problem
    assert all(f.remedy for f in errors)


def test_missing_pair_is_named_when_it_is_read(copy):
    (copy / MASK).unlink()
    with pytest.raises(DataError, match="000900000003"):
        Coco(copy).label(IMAGE)
