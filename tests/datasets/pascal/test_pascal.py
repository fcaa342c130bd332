from __future__ import annotations

import hashlib
import json
import shutil
import time

import numpy as np
import pytest
from fssbench.datasets.pascal import miniature
from fssbench.datasets.pascal.reader import CLASSES, Pascal
from fssbench.datasets.shared import palette
from PIL import Image

from fssbench.api import DataError, Entry, UsageError

FOLD = {f: tuple(range(5 * f, 5 * f + 5)) for f in range(4)}


@pytest.fixture
def copy(mini, tmp_path):
    """A miniature one may break."""
    shutil.copytree(mini / "VOC2012", tmp_path / "VOC2012")
    return tmp_path / "VOC2012"


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A devkit of seven images in each list, which show all classes; read-only by agreement."""
    root = tmp_path_factory.mktemp("few") / "VOC2012"
    miniature.write_devkit(root, 0, len(CLASSES), {"train": 7, "val": 7})
    list(Pascal.prepare(root, root.parent))
    return root


@pytest.fixture
def small(few, tmp_path):
    """A small devkit one may break."""
    return shutil.copytree(few, tmp_path / "VOC2012")


def write_lists(folder, split, folds):
    (folder / "pascal" / split).mkdir(parents=True)
    for fold, text in enumerate(folds):
        (folder / "pascal" / split / f"fold{fold}.txt").write_text(text)


def test_pools_of_the_reference_lists(shared):
    dataset = Pascal(None, splits=shared / "golden/splits")
    val, trn = dataset.pool("val"), dataset.pool("trn")
    assert [len(val.of_classes(FOLD[f])) for f in range(4)] == [346, 451, 725, 346]
    assert [len(trn.of_classes(FOLD[f])) for f in range(4)] == [2286, 3425, 5883, 2086]
    assert (val.published, trn.published) == (1868, 13680)
    assert val.source == trn.source == "reference list files"
    assert len({e.item for e in trn.entries}) == 10_092
    with pytest.raises(DataError, match="lists alone"):
        dataset.image("2007_000033")


@pytest.mark.parametrize(("name", "fold"), [("pascal5i_fold0_1shot", 0), ("pascal5i_fold2_5shot", 2)])
def test_queries_walk_as_in_the_reference_stream(shared, name, fold):
    golden = json.loads((shared / f"golden/episodes/{name}.json").read_text())["episodes"]
    entries = Pascal(None, splits=shared / "golden/splits").pool("val").of_classes(FOLD[fold])
    mine = [[e.class_id, e.item] for e in (entries[i % len(entries)] for i in range(len(golden)))]
    assert mine == [row[:2] for row in golden]


def test_real_sample_with_lists(shared):
    dataset = Pascal(Pascal.locate(shared / "data"), splits=shared / "golden/splits")
    pool = dataset.pool("val")
    assert pool.source == "reference list files, 373 of 1,868 entries on disk"
    assert len(pool.entries) == 373
    for entry in pool.entries[::40]:
        mask = dataset.mask(entry.item, entry.class_id)
        assert (mask == 1).any()
        assert mask.shape == dataset.image(entry.item).size[::-1]


def test_real_sample_verifies(shared):
    start = time.process_time()
    report = Pascal(Pascal.locate(shared / "data")).verify()
    assert time.process_time() - start < 30
    assert report.findings == []
    assert (report.images, report.masks) == (999, 999)
    # the counts of data/INDEX.md
    assert {k: report.histogram[k] for k in ("cat", "dog", "horse", "cow", "sheep", "person")} == {
        "cat": 288,
        "dog": 335,
        "horse": 140,
        "cow": 99,
        "sheep": 97,
        "person": 232,
    }


def test_miniature_is_sound_and_large_enough(mini):
    dataset = Pascal(Pascal.locate(mini))
    report = dataset.verify()
    assert report.findings == []
    assert report.images == report.masks == 104
    for split in ("trn", "val"):
        pool = dataset.pool(split)
        counts = np.bincount([e.class_id for e in pool.entries], minlength=20)
        assert counts.min() >= 6
        assert pool.published is not None
        assert len(pool.entries) < pool.published
    label = dataset.label("mini_000000")
    assert 255 in label
    mask = dataset.mask("mini_000000", int(label[(label > 0) & (label < 255)][0]) - 1)
    assert set(np.unique(mask)) == {0, 1, 255}
    np.testing.assert_array_equal(mask == 255, label == 255)


def digest(folder):
    content = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return content.hexdigest()


def test_miniature_follows_its_seed(mini, tmp_path):
    for folder, seed in (("same", 0), ("other", 1)):
        miniature.write_devkit(tmp_path / folder, seed, 20, {"train": 3})
    for name in (f"mini_00000{n}" for n in range(3)):
        for path in (f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png"):
            content = (mini / "VOC2012" / path).read_bytes()
            assert (tmp_path / "same" / path).read_bytes() == content
            assert (tmp_path / "other" / path).read_bytes() != content


def test_miniature_names_are_in_no_reference_list(mini, shared):
    dataset = Pascal(Pascal.locate(mini), splits=shared / "golden/splits")
    pool = dataset.pool("val")
    assert "none of the 1,868 reference entries is on disk" in pool.source
    assert pool.entries == Pascal(Pascal.locate(mini)).pool("val").entries


def test_lists_with_files_keep_order_and_leave_out_what_is_missing(mini, tmp_path):
    lists = ["mini_000003__02\nabsent__01\nmini_000001__01\n", "mini_000001__06\n", "x__11\n", "y__16\n"]
    write_lists(tmp_path, "val", lists)
    pool = Pascal(mini / "VOC2012", splits=tmp_path).pool("val")
    assert pool.entries == (Entry("mini_000003", 1), Entry("mini_000001", 0), Entry("mini_000001", 5))
    assert pool.source.startswith("other list files (pascal val fold 0: 3 entries, the reference has 346; ")
    assert pool.source.endswith(", 3 of 6 entries on disk")
    assert pool.published == 1868


def test_missing_list_is_named(tmp_path):
    write_lists(tmp_path, "val", ["a__01\n"])
    with pytest.raises(DataError, match=r"fold1\.txt"):
        Pascal(None, splits=tmp_path).pool("val")
    with pytest.raises(DataError, match="fssbench data splits"):
        Pascal(None).pool("val")
    with pytest.raises(UsageError, match="trn, val"):
        Pascal(None).pool("test")


def test_pool_without_any_list(copy):
    shutil.rmtree(copy / "ImageSets")
    pool = Pascal(copy).pool("val")
    assert pool.source.endswith("every mask in SegmentationClassAug by name")
    assert len({e.item for e in pool.entries}) == 104
    with pytest.raises(DataError, match="for training is not known"):
        Pascal(copy).pool("trn")


def test_scan_is_remembered_until_a_mask_changes(copy, monkeypatch):
    before = Pascal(copy).pool("val")
    with monkeypatch.context() as patch:
        patch.setattr("fssbench.datasets.shared.pools.read_index", lambda path: pytest.fail("opened a mask"))
        assert Pascal(copy).pool("val") == before
    target = copy / "SegmentationClassAug" / f"{before.entries[0].item}.png"
    palette.save_labels(np.zeros((10, 10), np.uint8), target)
    assert before.entries[0] not in Pascal(copy).pool("val").entries


def test_locate_names_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match="VOCdevkit/VOC2012"):
        Pascal.locate(tmp_path)
    (tmp_path / "VOCdevkit/VOC2012").mkdir(parents=True)
    assert Pascal.locate(tmp_path) == tmp_path / "VOCdevkit/VOC2012"


MASK = "SegmentationClassAug/mini_000000.png"
IMAGE = "JPEGImages/mini_000000.jpg"


def _grey(root):
    Image.open(root / MASK).convert("L").save(root / MASK)


def _colours(root):
    Image.open(root / MASK).convert("RGB").save(root / MASK)


def _alpha(root):
    Image.open(root / MASK).convert("RGBA").save(root / MASK)


def _deep(root):
    Image.fromarray(np.asarray(Image.open(root / MASK)).astype(np.uint16)).save(root / MASK)


def _truncate_mask(root):
    (root / MASK).write_bytes((root / MASK).read_bytes()[:-200])


def _truncate_image(root):
    (root / IMAGE).write_bytes((root / IMAGE).read_bytes()[:2000])


def _one_pixel(root):
    label = np.asarray(Image.open(root / MASK))
    palette.save_labels(label[:, :-1], root / MASK)


def _transposed(root):
    palette.save_labels(np.asarray(Image.open(root / MASK)).T, root / MASK)


def _unknown(root):
    label = np.asarray(Image.open(root / MASK)).copy()
    label[:5] = 38
    label[5:9] = 21
    palette.save_labels(label, root / MASK)


def _renumbered(root):
    label = np.asarray(Image.open(root / MASK))
    swapped = np.where(label == 255, 255, np.where(label > 0, label % 20 + 1, 0)).astype(np.uint8)
    colours = palette.voc_colours().copy()
    colours[[v % 20 + 1 for v in range(1, 21)]] = palette.voc_colours()[1:21]
    image = Image.fromarray(swapped)
    image.putpalette(colours.tobytes())
    image.save(root / MASK)


def _exif(root):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.open(root / IMAGE).save(root / IMAGE, exif=tags)


def _empty(root):
    (root / MASK).write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "path", "problem"),
    [
        (_grey, MASK, "converted from P to L"),
        (_colours, MASK, "RGB colours"),
        (_alpha, MASK, "RGBA"),
        (_deep, MASK, "16-bit"),
        (_truncate_mask, MASK, "mask unreadable"),
        (_truncate_image, IMAGE, "image unreadable"),
        (_one_pixel, MASK, "mask is "),
        (_transposed, MASK, "transposed"),
        (_unknown, MASK, "unknown label values 21, 38"),
        (_renumbered, MASK, "palette was renumbered"),
        (_exif, IMAGE, "EXIF"),
        (_empty, MASK, "it is empty"),
        (
            lambda root: (root / MASK).unlink(),
            MASK,
            "mask missing, ImageSets/Segmentation/train.txt names it",
        ),
        (lambda root: (root / IMAGE).unlink(), IMAGE, "image missing"),
    ],
)
def test_verify_finds_each_damage(small, damage, path, problem):
    # the mask and its VOC original are one file; break the link first
    shutil.copy(small / MASK, small / "other.png")
    (small / "other.png").replace(small / MASK)
    damage(small)
    before = digest(small)
    report = Pascal(small).verify()
    errors = [f for f in report.findings if f.level == "error"]
    assert [f.path for f in errors] == [path]
    assert problem in errors[0].problem
    assert errors[0].remedy
    assert not report.ok
    assert digest(small) == before, "verify repairs nothing"


def test_verify_counts_unknown_values_and_strangers(copy):
    _unknown(copy)
    (copy / "SegmentationClassAug/notes.txt").write_text("x")
    (copy / "SegmentationClassAug/.DS_Store").write_text("x")
    report = Pascal(copy).verify()
    assert (report.histogram["value 21"], report.histogram["value 38"]) == (1, 1)
    assert [f.path for f in report.findings if f.level == "warning"] == ["SegmentationClassAug/notes.txt"]


def test_verify_names_classes_with_too_few_images(copy):
    (copy / "ImageSets/Segmentation/val.txt").write_text("mini_000040\n")
    report = Pascal(copy).verify()
    few = [f.problem for f in report.findings]
    assert len(few) == 20
    assert any("class 'aeroplane' has 1 usable images, 5-shot needs 6: no episode" in p for p in few)


def test_verify_of_a_raw_devkit_says_prepare(copy):
    shutil.rmtree(copy / "SegmentationClassAug")
    report = Pascal(copy).verify()
    assert report.findings[0].path == "SegmentationClassAug"
    assert "fssbench data prepare pascal" in report.findings[0].remedy


def test_cmyk_and_grey_images_are_read_and_rotated_ones_refused(copy):
    dataset = Pascal(copy)
    size = dataset.image("mini_000000").size
    for mode in ("L", "CMYK"):
        Image.open(copy / IMAGE).convert(mode).save(copy / IMAGE)
        assert dataset.image("mini_000000").mode == "RGB"
        assert dataset.image("mini_000000").size == size
    assert Pascal(copy).verify().ok
    _exif(copy)
    with pytest.raises(DataError, match="orientation 6"):
        dataset.image("mini_000000")


def make_sbd(folder, name, label):
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    savemat(
        folder / f"{name}.mat",
        {"GTcls": {"Segmentation": label, "CategoriesPresent": [1]}},
        do_compression=True,
    )


def test_prepare_merges_sbd_below_voc(mini, tmp_path):
    source, data = tmp_path / "download", tmp_path / "data"
    shutil.copytree(mini / "VOC2012", source / "VOCdevkit/VOC2012")
    devkit = source / "VOCdevkit/VOC2012"
    shutil.rmtree(devkit / "SegmentationClassAug")
    (devkit / "SegmentationClass/mini_000001.png").unlink()
    sbd = source / "benchmark_RELEASE/dataset/cls"
    size = Image.open(devkit / "JPEGImages/mini_000001.jpg").size
    label = np.zeros(size[::-1], np.uint8)
    label[20:60, 30:90] = 7
    make_sbd(sbd, "mini_000001", label)
    make_sbd(sbd, "mini_000002", np.full((5, 5), 3, np.uint8))
    make_sbd(sbd, "elsewhere", label)
    lines = list(Pascal.prepare(source, data))
    assert "2 masks of SBD added; 1 left out" in "\n".join(lines)
    assert any("1 SBD masks have no image" in line for line in lines)
    dataset = Pascal(Pascal.locate(data))
    np.testing.assert_array_equal(dataset.label("mini_000001"), label)
    kept = (data / "VOC2012/SegmentationClassAug/mini_000002.png").read_bytes()
    assert kept == (devkit / "SegmentationClass/mini_000002.png").read_bytes()
    training = (data / "VOC2012/ImageSets/Segmentation/trainaug.txt").read_text().split()
    assert {"mini_000001", "elsewhere"} < set(training)
    assert not set(training) & set((devkit / "ImageSets/Segmentation/val.txt").read_text().split())
    first = digest(data)
    assert list(Pascal.prepare(source, data)) == lines
    assert digest(data) == first


def test_prepare_says_what_is_incomplete(mini, tmp_path):
    with pytest.raises(DataError, match="SegmentationClass"):
        list(Pascal.prepare(tmp_path, tmp_path / "data"))
    source = tmp_path / "VOC2012"
    shutil.copytree(mini / "VOC2012", source)
    (source / "cls").mkdir()
    (source / "cls/x.mat").write_bytes(b"MATLAB 5.0 nonsense")
    with pytest.raises(DataError, match=r"x\.mat is not a readable SBD file"):
        list(Pascal.prepare(source, tmp_path / "data"))
    shutil.rmtree(source / "JPEGImages")
    with pytest.raises(DataError, match="JPEGImages is missing"):
        list(Pascal.prepare(source, tmp_path / "data"))


def test_palette_is_that_of_voc(shared):
    path = next((shared / "data/VOC2012/SegmentationClassAug").glob("*.png"))
    np.testing.assert_array_equal(
        np.array(Image.open(path).getpalette()).reshape(-1, 3), palette.voc_colours()
    )
