"""ISIC 2018: one class and three, the class table, real samples, and what verify finds."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fssbench.datasets.isic2018.reader import IMAGES, ISIC2018, MASKS, read_table
from PIL import Image

from fssbench.api import DataError, UsageError


def digest(folder: Path) -> str:
    text = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        text.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return text.hexdigest()


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Six images as downloaded, with a class table."""
    root = tmp_path / "download"
    (root / IMAGES).mkdir(parents=True)
    (root / MASKS).mkdir()
    rows = []
    for number in range(6):
        name = f"ISIC_{number:07d}"
        Image.new("RGB", (12, 8), (200, 10 * number, 100)).save(root / IMAGES / f"{name}.jpg")
        mask = np.zeros((8, 12), dtype=np.uint8)
        mask[2:4, : number + 1] = 255
        Image.fromarray(mask).save(root / MASKS / f"{name}_segmentation.png")
        rows.append(f"{name},{('nevus', 'melanoma', 'seborrheic keratosis')[number % 3]}")
    (root / IMAGES / "LICENSE.txt").touch()
    (root / "class_id.csv").write_text("image,label\n" + "\n".join(rows) + "\n")
    return root


def test_the_stream_of_the_reference_is_drawn_from_this_order(shared: Path, tmp_path: Path) -> None:
    for line in (shared / "golden/episodes/crossdomain_tree.txt").read_text().split():
        if line.startswith("ISIC"):
            path = tmp_path / line
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    pool = ISIC2018(ISIC2018.locate(tmp_path), variant="isic3").pool("test")
    draw = np.random.RandomState(0)
    by_class = [[e.item for e in pool.of_classes((c,))] for c in range(3)]
    golden = json.loads((shared / "golden/episodes/isic2018_5shot.json").read_text())["episodes"]
    for index, (class_id, query, supports) in enumerate(golden):
        items = by_class[index % 3]
        mine = str(draw.choice(items, 1, replace=False)[0])
        drawn: list[str] = []
        while len(drawn) < 5:
            one = str(draw.choice(items, 1, replace=False)[0])
            if one != mine:
                drawn.append(one)
        assert [index % 3, mine, drawn] == [class_id, query, supports]


def test_one_class_reads_flat_and_foldered_images_in_one_order(flat: Path, tmp_path: Path) -> None:
    list(ISIC2018.prepare(flat, tmp_path))
    one, two = ISIC2018(flat).pool("test"), ISIC2018(tmp_path / "ISIC").pool("test")
    assert [Path(e.item).name for e in one.entries] == [Path(e.item).name for e in two.entries]
    assert one.entries[1].item == f"{IMAGES}/ISIC_0000001.jpg"
    assert two.entries[1].item == f"{IMAGES}/2/ISIC_0000001.jpg"
    assert {e.class_id for e in two.entries} == {0}
    assert one.published == 2594


def test_prepare_sorts_by_the_table(flat: Path, tmp_path: Path) -> None:
    lines = list(ISIC2018.prepare(flat, tmp_path))
    assert lines[0] == "folder 1: 2 images, nevus"
    data = ISIC2018(tmp_path / "ISIC", variant="isic3")
    assert [(e.item[-14:-4], e.class_id) for e in data.pool("test").entries] == [
        ("SIC_0000000"[-10:], 0),
        ("SIC_0000003"[-10:], 0),
        ("SIC_0000001"[-10:], 1),
        ("SIC_0000004"[-10:], 1),
        ("SIC_0000002"[-10:], 2),
        ("SIC_0000005"[-10:], 2),
    ]
    assert data.verify().ok


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (None, "cannot read"),
        ("id,class\nISIC_0000000,wart\n", "'wart'"),
        ("id,class\nISIC_0000000,nevus\nsomething,else\n", "line 3"),
        ("id,class\nISIC_0000000,nevus\n", "5 images not in class_id.csv"),
    ],
)
def test_prepare_names_what_is_wrong_with_the_table(
    flat: Path, tmp_path: Path, table: str | None, problem: str
) -> None:
    if table is None:
        (flat / "class_id.csv").unlink()
    else:
        (flat / "class_id.csv").write_text(table)
    with pytest.raises(DataError, match=problem):
        list(ISIC2018.prepare(flat, tmp_path))
    assert not (tmp_path / "ISIC").exists()


def test_table_takes_blanks_dashes_and_extensions(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("ISIC_1.jpg,Seborrheic-Keratosis\nISIC_2, melanoma\n\n")
    assert read_table(tmp_path / "t.csv") == {"ISIC_1": "seborrheic_keratosis", "ISIC_2": "melanoma"}


def test_three_classes_of_a_flat_folder_say_what_is_missing(flat: Path) -> None:
    data = ISIC2018(flat, variant="isic3")
    with pytest.raises(DataError, match="not part of the 2018 task download") as failure:
        data.pool("test")
    assert "isic1" in str(failure.value)
    report = data.verify()
    assert {f.path for f in report.findings if f.level == "error"} == {f"{IMAGES}/{n}" for n in "123"}


def test_an_image_in_two_folders_is_refused(flat: Path) -> None:
    (flat / IMAGES / "1").mkdir()
    shutil.copy(flat / IMAGES / "ISIC_0000000.jpg", flat / IMAGES / "1")
    with pytest.raises(DataError, match="more than one folder"):
        ISIC2018(flat).pool("test")
    assert any("more than one folder" in f.problem for f in ISIC2018(flat).verify().findings)


def test_verify_finds_every_planted_fault(flat: Path) -> None:
    whole = (flat / MASKS / "ISIC_0000000_segmentation.png").read_bytes()
    (flat / MASKS / "ISIC_0000000_segmentation.png").write_bytes(whole[:-20])
    Image.new("L", (8, 12), 255).save(flat / MASKS / "ISIC_0000001_segmentation.png")
    Image.fromarray(np.ones((8, 12), dtype=np.uint8)).save(flat / MASKS / "ISIC_0000002_segmentation.png")
    (flat / MASKS / "ISIC_0000003_segmentation.png").unlink()
    (flat / IMAGES / "ISIC_0000004.jpg").write_bytes(b"no image")
    Image.new("I;16", (12, 8), 60000).save(flat / MASKS / "ISIC_0000005_segmentation.png")
    report = ISIC2018(flat).verify()
    result = {f.path: f.problem for f in report.findings}
    assert "truncated" in result[f"{MASKS}/ISIC_0000000_segmentation.png"]
    assert "transposed" in result[f"{MASKS}/ISIC_0000001_segmentation.png"]
    assert "highest value is 1" in result[f"{MASKS}/ISIC_0000002_segmentation.png"]
    assert result[f"{MASKS}/ISIC_0000003_segmentation.png"] == "mask missing"
    assert "unreadable" in result[f"{IMAGES}/ISIC_0000004.jpg"]
    assert "16-" in result[f"{MASKS}/ISIC_0000005_segmentation.png"]
    assert report.histogram == {"lesion": 0}
    with pytest.raises(DataError, match="cannot be decoded"):
        ISIC2018(flat).image(f"{IMAGES}/ISIC_0000004.jpg")
    with pytest.raises(DataError, match="mode I;16"):
        ISIC2018(flat).label(f"{IMAGES}/ISIC_0000005.jpg")


def test_real_samples_read_and_verify(shared: Path) -> None:
    data = ISIC2018(ISIC2018.locate(shared / "data"))
    pool = data.pool("test")
    assert len(pool.entries) == 300
    item = pool.entries[0].item
    assert item == f"{IMAGES}/ISIC_0000000.jpg"
    mask = data.mask(item, 0)
    assert mask.shape == data.image(item).size[::-1] == (512, 512)
    assert 0.05 < mask.mean() < 0.9
    report = data.verify()
    assert report.ok
    assert (report.images, report.masks, report.histogram) == (300, 300, {"lesion": 300})
    assert [f.problem for f in report.findings] == ["300 of 2,594 published images are there: a sample"]


def test_miniature_serves_both_variants(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        (tmp_path / name).mkdir()
        ISIC2018.miniature(tmp_path / name, seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")
    root = ISIC2018.locate(tmp_path / "a")
    assert ISIC2018(root).verify().histogram == {"lesion": 24}
    three = ISIC2018(root, variant="isic3")
    report = three.verify()
    assert set(report.histogram.values()) == {8}
    assert [f.problem for f in report.findings] == ["24 of 2,594 published images are there: a sample"]
    entry = three.pool("test").entries[-1]
    assert entry.class_id == 2
    assert [p.suffix for p in three.files(entry.item) if p.is_file()] == [".jpg", ".png"]
    assert 0.02 < three.mask(entry.item, 2).mean() < 0.6
    with pytest.raises(UsageError, match="not of class"):
        three.mask(entry.item, 0)
    with pytest.raises(UsageError, match="no class 7"):
        three.mask(entry.item, 7)
    with pytest.raises(UsageError, match="no split"):
        three.pool("val")
