"""SUIM: colour codes, both layouts, the scan and its cache, real samples, and what verify finds."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from fssbench.datasets.suim import scan as scanning
from fssbench.datasets.suim.reader import SUIM
from hypothesis import given, strategies as st
from messages import error_names
from PIL import Image

from fssbench.api import DataError, UsageError
from fssbench.data.location import MINIATURE_SEED
from fssbench.images.mask_values import compute_codes

RGB = {
    "BW": (0, 0, 0),
    "HD": (0, 0, 255),
    "PF": (0, 255, 0),
    "WR": (0, 255, 255),
    "RO": (255, 0, 0),
    "RI": (255, 0, 255),
    "FV": (255, 255, 0),
    "SR": (255, 255, 255),
}
"""As the owner's table has it; written out apart from the code under test."""


def digest(folder: Path) -> str:
    text = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        text.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return text.hexdigest()


def put(root: Path, name: str, *classes: str, part: str = "") -> None:
    """An 8x6 pair whose columns are the classes in turn."""
    for folder in ("images", "masks"):
        (root / part / folder).mkdir(parents=True, exist_ok=True)
    colours = np.zeros((6, 8, 3), dtype=np.uint8)
    for column in range(8):
        colours[:, column] = RGB[classes[column % len(classes)]]
    Image.new("RGB", (8, 6), (20, 90, 140)).save(root / part / "images" / f"{name}.jpg")
    Image.fromarray(colours).save(root / part / "masks" / f"{name}.bmp")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "SUIM"
    put(folder, "b", "FV", "BW", part="train_val")
    put(folder, "a", "FV", "WR", part="TEST")
    put(folder, "c", "BW", part="TEST")
    return folder


def test_codes_are_those_of_the_owner() -> None:
    for name, colour in RGB.items():
        assert compute_codes(np.array([[colour]], dtype=np.uint8)).item() == scanning.CODES[name]
    assert [*SUIM(None).classes()] == [*range(7)]
    assert SUIM(None, variant="suim8").classes()[7] == "open water"


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_each_channel_is_thresholded_alone(colour: tuple[int, int, int]) -> None:
    code = compute_codes(np.array([[colour]], dtype=np.uint8)).item()
    assert [bool(code & bit) for bit in (4, 2, 1)] == [v >= 128 for v in colour]


def test_entries_are_by_class_then_file_name_with_the_parts_merged(root: Path) -> None:
    entries = SUIM(root).pool("test").entries
    assert [(e.class_id, e.item) for e in entries] == [
        (0, "TEST/images/a.jpg"),
        (0, "train_val/images/b.jpg"),
        (6, "TEST/images/a.jpg"),
    ]
    water = [e.item for e in SUIM(root, variant="suim8").pool("test").entries if e.class_id == 7]
    assert water == ["train_val/images/b.jpg", "TEST/images/c.jpg"]


def test_prepared_layout_gives_the_same_entries_and_masks(root: Path, tmp_path: Path) -> None:
    lines = list(SUIM.prepare(root, tmp_path / "out"))
    assert lines == ["image 3/3", f"3 images in {tmp_path / 'out/SUIM'}"]
    raw, ready = SUIM(root, variant="suim8"), SUIM(tmp_path / "out/SUIM", variant="suim8")
    ones, twos = raw.pool("test").entries, ready.pool("test").entries
    assert [(e.class_id, Path(e.item).name) for e in ones] == [(e.class_id, Path(e.item).name) for e in twos]
    for one, two in zip(ones, twos, strict=True):
        assert (raw.mask(one.item, one.class_id) == ready.mask(two.item, two.class_id)).all()
    assert ready.verify().ok
    assert [str(p.relative_to(root)) for p in raw.files("TEST/images/a.jpg")] == [
        "TEST/images/a.jpg",
        "TEST/masks/a.bmp",
    ]
    assert [p.parent.name for p in ready.files("images/a.jpg")] == ["images", "FV", "WR"]
    with pytest.raises(DataError, match="no label map"):
        ready.label("images/a.jpg")
    with pytest.raises(DataError, match="no mask file in masks/HD"):
        ready.mask("images/a.jpg", 1)
    with pytest.raises(DataError, match="no colour-coded mask"):
        list(SUIM.prepare(tmp_path / "out/SUIM", tmp_path / "again"))


def test_empty_binary_masks_are_no_entry_and_no_fault(root: Path, tmp_path: Path) -> None:
    list(SUIM.prepare(root, tmp_path / "out"))
    ready = tmp_path / "out/SUIM"
    Image.new("L", (8, 6)).save(ready / "masks/HD/a.png")
    assert [e.class_id for e in SUIM(ready).pool("test").entries] == [0, 0, 6]
    report = SUIM(ready).verify()
    assert report.ok
    assert report.histogram["human diver"] == 0


def test_masks(root: Path) -> None:
    data = SUIM(root)
    assert data.label("TEST/images/a.jpg")[0].tolist() == [6, 3] * 4
    assert data.mask("TEST/images/a.jpg", 6)[0].tolist() == [0, 1] * 4
    assert data.image("TEST/images/a.jpg").size == (8, 6)
    with pytest.raises(UsageError, match=r"0\.\.6"):
        data.mask("TEST/images/a.jpg", 7)
    with pytest.raises(DataError, match="not an image with a mask"):
        data.label("images/zzz.jpg")
    with pytest.raises(UsageError, match="no split"):
        data.pool("trn")


def test_scan_is_kept_and_forgotten_when_a_file_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SUIM(root).pool("test")
    calls: list[str] = []
    decode = scanning.find_classes

    def counted(folder: Path, source: scanning.Source) -> list[str]:
        calls.append(source.item)
        return decode(folder, source)

    monkeypatch.setattr(scanning, "find_classes", counted)
    assert SUIM(root).pool("test") == first
    assert calls == []
    put(root, "c", "RO", part="TEST")
    os.utime(root / "TEST/masks/c.bmp", ns=(1, 1))
    assert [e.class_id for e in SUIM(root).pool("test").entries] == [0, 0, 4, 6]
    assert len(calls) == 3


def test_a_damaged_or_unwritable_cache_is_only_slower(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "kept"
    monkeypatch.setenv("FSSBENCH_CACHE", str(cache))
    first = SUIM(root).pool("test")
    (kept,) = (cache / "scans").glob("*.json")
    for text in ("", "{}", "[1]", json.dumps({"x": ["FV"]}), '{"TEST/images/a.jpg": 3}'):
        kept.write_text(text)
        assert SUIM(root).pool("test") == first
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("FSSBENCH_CACHE", str(blocked))
    assert SUIM(root).pool("test") == first


def test_faults_of_the_whole(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no mask found"):
        SUIM(tmp_path / "nowhere").pool("test")
    put(root, "b", "HD", part="TEST")
    with pytest.raises(DataError, match="one name twice"):
        SUIM(root).pool("test")
    assert any("same name" in f.problem for f in SUIM(root).verify().findings)


def test_verify_finds_every_planted_fault(tmp_path: Path) -> None:
    for name in "abcdefg":
        put(tmp_path, name, "FV", "SR")
    (tmp_path / "masks/a.bmp").write_bytes((tmp_path / "masks/a.bmp").read_bytes()[:100])
    Image.new("RGB", (9, 6), RGB["FV"]).save(tmp_path / "masks/b.bmp")
    Image.new("L", (8, 6), 255).save(tmp_path / "masks/c.bmp")
    Image.new("RGB", (8, 6), (90, 120, 200)).save(tmp_path / "masks/d.bmp")
    (tmp_path / "images/e.jpg").unlink()
    soft = np.zeros((6, 8, 3), dtype=np.uint8)
    soft[0, :2] = 150
    Image.fromarray(soft).save(tmp_path / "masks/f.bmp")
    Image.new("RGB", (8, 6)).save(tmp_path / "images/orphan.jpg")
    (tmp_path / "masks/FV").mkdir()
    report = SUIM(tmp_path).verify()
    result: dict[str, list[str]] = {}
    for finding in report.findings:
        result.setdefault(finding.path, []).append(finding.problem)
    assert "unreadable" in result["masks/a.bmp"][0]
    assert error_names(result["masks/b.bmp"][0], "9x6", "8x6")
    assert "mode L" in result["masks/c.bmp"][0]
    assert error_names(result["masks/d.bmp"][0], "100.0 %", "not a class code")
    assert result["images/e.jpg"] == ["image missing"]
    assert result["masks/f.bmp"] == ["2 pixels have soft colours; the threshold 128 on each channel decides"]
    assert any("orphan" in p for p in result["images"])
    assert any("side by side" in p for p in result["masks"])
    assert any("'fish and vertebrates' has 2 usable" in p for p in result["masks"])
    assert not report.ok
    assert report.histogram["open water"] == 1
    with pytest.raises(DataError, match=r"a\.bmp"):
        SUIM(tmp_path).pool("test")


def test_real_samples_read_and_verify(shared: Path) -> None:
    data = SUIM(SUIM.locate(shared / "data"))
    report = data.verify()
    assert report.ok
    assert (report.images, report.masks) == (8, 8)
    assert report.histogram["human diver"] == 6
    assert any(f.problem.startswith("21 of 3,859 published") for f in report.findings)
    pool = data.pool("test")
    assert len(pool.entries) == 21
    for entry in pool.entries:
        mask = data.mask(entry.item, entry.class_id)
        assert mask.any()
        assert mask.shape == data.image(entry.item).size[::-1]


def test_miniature_is_a_function_of_its_seed_and_clean(mini: Path, tmp_path: Path) -> None:
    for name, seed in (("same", MINIATURE_SEED), ("other", MINIATURE_SEED + 1)):
        (tmp_path / name).mkdir()
        SUIM.miniature(tmp_path / name, seed)
    root = SUIM.locate(tmp_path / "same")
    assert digest(root) == digest(SUIM.locate(mini)) != digest(SUIM.locate(tmp_path / "other"))
    report = SUIM(root).verify()
    assert len(report.findings) == 1
    assert "published (image, class) entries are there: a sample" in report.findings[0].problem
    assert min(report.histogram.values()) >= 8
    (result,) = SUIM(root, variant="suim8").verify().findings
    assert "of 1,635 published images are there: a sample" in result.problem
    assert sum(p.stat().st_size for p in root.rglob("*") if p.is_file()) < 5e6


def test_two_images_of_one_stem_are_refused(root: Path) -> None:
    image = sorted(p for p in root.rglob("*.jpg") if p.parent.name == "images")[0]
    Image.open(image).save(image.with_suffix(".png"))
    assert any(image.name in f.path for f in SUIM(root).verify().findings if f.level == "error")
    with pytest.raises(DataError, match=image.stem):
        SUIM(root).pool("test")
