"""DeepGlobe: the reference's listing, the cut by hand-counted tiles, and what verify finds."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pytest
from fssbench.datasets.deepglobe import patches as cutting
from fssbench.datasets.deepglobe.reader import DeepGlobe
from PIL import Image

from fssbench.api import DataError, UsageError
from fssbench.data.location import MINIATURE_SEED

YELLOW, CYAN, BLACK, WHITE = (255, 255, 0), (0, 255, 255), (0, 0, 0), (255, 255, 255)


def digest(folder: Path) -> str:
    text = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        text.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return text.hexdigest()


def tile(folder: Path, name: str, mask: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask // 2).save(folder / f"{name}_sat.jpg")
    Image.fromarray(mask).save(folder / f"{name}_mask.png")


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """One 120 px tile, 6x6 patches of 20, agriculture all over but for three patches."""
    mask = np.zeros((120, 120, 3), dtype=np.uint8)
    mask[:] = YELLOW
    mask[0:20, 20:30] = CYAN  # patch 01: half urban -> kept, two entries
    mask[20:40, 0:1] = CYAN  # patch 10: 20 of 400 pixels = 5 % -> kept, two entries
    mask[40:59, 0:1] = CYAN  # patch 20: 19 of 400 = 4.75 % -> dropped
    mask[60:80, 0:10] = BLACK  # patch 30: half unknown -> kept, one entry
    mask[80:100, 0:10] = WHITE  # patch 40: barren, but one black pixel -> the rarest colour drops it
    mask[99, 0] = BLACK
    tile(tmp_path / "download", "7", mask)
    return tmp_path / "download"


def test_the_stream_of_the_reference_is_drawn_from_this_order(shared: Path, tmp_path: Path) -> None:
    for line in (shared / "golden/episodes/crossdomain_tree.txt").read_text().split():
        if line.startswith("Deepglobe"):
            path = tmp_path / line
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    pool = DeepGlobe(DeepGlobe.locate(tmp_path)).pool("test")
    draw = np.random.RandomState(0)
    by_class = [[e.item for e in pool.of_classes((c,))] for c in range(6)]
    golden = json.loads((shared / "golden/episodes/deepglobe_1shot.json").read_text())["episodes"]
    for index, (class_id, query, supports) in enumerate(golden):
        items = by_class[index % 6]
        mine = str(draw.choice(items, 1, replace=False)[0])
        support = mine
        while support == mine:
            support = str(draw.choice(items, 1, replace=False)[0])
        assert [index % 6, mine, [support]] == [class_id, query, supports]


def test_cut_keeps_and_copies_what_was_counted_by_hand(download: Path, tmp_path: Path) -> None:
    lines = list(DeepGlobe.prepare(download, tmp_path / "data"))
    root = tmp_path / "data/Deepglobe"
    listed = sorted(str(p.relative_to(root)) for p in root.rglob("*.jpg"))
    assert listed == [
        "1/test/origin/7_sat_01.jpg",
        "1/test/origin/7_sat_10.jpg",
        "1/test/origin/7_sat_30.jpg",
        "2/test/origin/7_sat_01.jpg",
        "2/test/origin/7_sat_10.jpg",
    ]
    assert "3 of 36 patches kept, 5 entries" in lines[0]
    assert "not the published 2448" in lines[0]
    urban = np.asarray(Image.open(root / "2/test/groundtruth/7_sat_10.png"))
    assert urban.shape == (20, 20)
    assert set(np.unique(urban)) == {0, 255}
    assert (urban[:, 0] == 255).all()
    assert (urban[:, 1:] == 0).all()


def test_first_index_of_a_patch_is_its_row(download: Path, tmp_path: Path) -> None:
    list(DeepGlobe.prepare(download, tmp_path / "data"))
    mask = np.asarray(Image.open(tmp_path / "data/Deepglobe/2/test/groundtruth/7_sat_01.png"))
    assert (mask[:, :10] == 255).all()
    assert (mask[:, 10:] == 0).all()


@pytest.mark.parametrize(("rare", "kept"), [(0, False), (19, False), (20, True), (200, True)])
def test_filter_drops_one_colour_and_rare_colours(rare: int, kept: bool) -> None:
    codes = np.full(400, 0b110, dtype=np.uint8)
    codes[:rare] = 0b011
    assert cutting.is_kept(codes.reshape(20, 20)) is kept


def test_red_is_said_and_is_no_class(tmp_path: Path) -> None:
    mask = np.zeros((120, 120, 3), dtype=np.uint8)
    mask[:] = YELLOW
    mask[:20, :10] = (255, 0, 0)
    tile(tmp_path / "download", "7", mask)
    line = next(iter(DeepGlobe.prepare(tmp_path / "download", tmp_path / "data")))
    assert "200 red pixels" in line
    assert "1 of 36 patches kept, 1 entries" in line


def test_prepare_overwrites_nothing_and_a_stopped_one_leaves_nothing(download: Path, tmp_path: Path) -> None:
    tile(download, "8", np.zeros((120, 120, 3), dtype=np.uint8))
    stopped = DeepGlobe.prepare(download, tmp_path / "data")
    next(stopped)
    stopped.close()
    assert not (tmp_path / "data/Deepglobe").exists()
    list(DeepGlobe.prepare(download, tmp_path / "data"))
    with pytest.raises(DataError, match="already"):
        list(DeepGlobe.prepare(download, tmp_path / "data"))


def test_prepare_names_what_the_download_lacks(download: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"_sat\.jpg"):
        list(DeepGlobe.prepare(tmp_path, tmp_path / "data"))
    (download / "7_mask.png").unlink()
    with pytest.raises(DataError, match=r"7_sat\.jpg"):
        list(DeepGlobe.prepare(download, tmp_path / "data"))
    tile(download, "7", np.zeros((100, 100, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="100x100"):
        list(DeepGlobe.prepare(download, tmp_path / "data"))
    Image.new("L", (120, 120)).save(download / "7_mask.png")
    with pytest.raises(DataError, match="mode L"):
        list(DeepGlobe.prepare(download, tmp_path / "data"))


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("mini")
    start = time.process_time()
    DeepGlobe.miniature(data, MINIATURE_SEED)
    assert time.process_time() - start < 15
    return data


def test_miniature_is_clean_small_and_holds_every_class(miniature: Path) -> None:
    data = DeepGlobe(DeepGlobe.locate(miniature))
    report = data.verify()
    assert [f.problem for f in report.findings] == [
        f"{report.images:,} of 5,666 published patches are there: a sample"
    ]
    assert min(report.histogram.values()) >= 8
    assert [p.name for p in miniature.iterdir()] == ["Deepglobe"]
    assert sum(p.stat().st_size for p in miniature.rglob("*") if p.is_file()) < 5e6


def test_miniature_is_a_function_of_its_seed(mini: Path, miniature: Path, tmp_path: Path) -> None:
    DeepGlobe.miniature(tmp_path, MINIATURE_SEED + 1)
    assert digest(mini / "Deepglobe") == digest(miniature / "Deepglobe")
    assert digest(tmp_path / "Deepglobe") != digest(miniature / "Deepglobe")


def test_masks_of_a_patch_agree_with_its_folder(mini: Path) -> None:
    data = DeepGlobe(DeepGlobe.locate(mini))
    pool = data.pool("test")
    for entry in pool.entries[::9]:
        mask = data.mask(entry.item, entry.class_id)
        assert set(np.unique(mask)) == {0, 1}
        assert mask.shape == data.image(entry.item).size[::-1] == (204, 204)
        assert all(path.is_file() for path in data.files(entry.item))
        assert ((data.label(entry.item) == 255) == mask).all()
    with pytest.raises(UsageError, match="folder"):
        data.mask(pool.entries[0].item, 3)
    with pytest.raises(UsageError, match="no split"):
        data.pool("trn")


def test_verify_finds_every_planted_fault(download: Path, tmp_path: Path) -> None:
    list(DeepGlobe.prepare(download, tmp_path))
    root = tmp_path / "Deepglobe"
    whole = (root / "1/test/origin/7_sat_01.jpg").read_bytes()
    (root / "1/test/origin/7_sat_01.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("L", (10, 20), 255).save(root / "1/test/groundtruth/7_sat_10.png")
    (root / "2/test/groundtruth/7_sat_01.png").unlink()
    Image.new("L", (20, 20), 0).save(root / "2/test/groundtruth/7_sat_10.png")
    (root / "1/test/groundtruth/9_sat_00.png").write_bytes(b"")
    (root / "1/test/origin/notes.txt").touch()
    report = DeepGlobe(root).verify()
    assert not report.ok
    result = {(f.level, f.path): f.problem for f in report.findings}
    assert "unreadable" in result["error", "1/test/origin/7_sat_01.jpg"]
    assert "the mask is 10x20, but the image is 20x20" in result["error", "1/test/groundtruth/7_sat_10.png"]
    assert result["error", "2/test/groundtruth/7_sat_01.png"] == "mask missing"
    assert "empty" in result["error", "2/test/groundtruth/7_sat_10.png"]
    assert "9_sat_00.png" in result["warning", "1/test/groundtruth"]
    assert "not read" in result["warning", "1/test/origin/notes.txt"]
    assert result["error", "3/test/origin"] == "folder missing"
    assert report.histogram == dict.fromkeys(cutting.CLASSES, 0) | {"agriculture": 1}
    assert all(f.remedy for f in report.findings)


def test_published_side_gives_patches_of_408(tmp_path: Path) -> None:
    mask = np.zeros((2448, 2448, 3), dtype=np.uint8)
    mask[:408, :204] = YELLOW
    mask[:408, 204:408] = CYAN
    tile(tmp_path / "download/train", "100694", mask)
    lines = list(DeepGlobe.prepare(tmp_path / "download", tmp_path / "data"))
    assert lines[0] == "tile 1/1: 100694_sat.jpg: 1 of 36 patches kept, 2 entries"
    data = DeepGlobe(tmp_path / "data/Deepglobe")
    item = "2/test/origin/100694_sat_00.jpg"
    assert data.image(item).size == (408, 408)
    assert data.mask(item, 1).sum() == 408 * 204


def test_copies_that_archivers_leave_are_no_data(download: Path, tmp_path: Path) -> None:
    (download / "._7_sat.jpg").write_bytes(b"resource fork")
    assert len(list(DeepGlobe.prepare(download, tmp_path / "data"))) == 2
    folder = tmp_path / "data/Deepglobe/3/test/origin"
    for number in range(3, 7):
        (tmp_path / f"data/Deepglobe/{number}/test/origin").mkdir(parents=True)
        (tmp_path / f"data/Deepglobe/{number}/test/origin/a.jpg").touch()
    (folder / "._a.jpg").touch()
    items = [e.item for e in DeepGlobe(tmp_path / "data/Deepglobe").pool("test").of_classes((2,))]
    assert items == ["3/test/origin/a.jpg"]


def test_an_unwritable_folder_is_told(download: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write"):
        list(DeepGlobe.prepare(download, tmp_path / "file"))


def test_a_class_without_patches_is_told(download: Path, tmp_path: Path) -> None:
    list(DeepGlobe.prepare(download, tmp_path / "data"))
    with pytest.raises(DataError, match="class rangeland"):
        DeepGlobe(tmp_path / "data/Deepglobe").pool("test")
    with pytest.raises(DataError, match="lists alone"):
        DeepGlobe(None).verify()
