"""Tests of the chest radiographs: two populations with one name, real samples, and findings of `verify`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from fssbench.datasets.chestxray.reader import ChestXray
from PIL import Image

from fssbench.api import DataError, UsageError
from fssbench.data.location import MINIATURE_SEED


def digest(folder: Path) -> str:
    text = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        text.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return text.hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Draw seven pairs of Shenzhen and one of Montgomery, without any fault."""
    folder = tmp_path / "LungSegmentation"
    (folder / "CXR_png").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in range(8):
        name = f"CHNCXR_{number:04d}_0" if number < 7 else "MCUCXR_0001_1"
        Image.new("L", (20, 30), 120).save(folder / "CXR_png" / f"{name}.png")
        mask = np.zeros((30, 20), dtype=np.uint8)
        mask[5:20, 3:9] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{name}{'_mask' if number < 7 else ''}.png")
    return folder


def test_the_stream_of_the_reference_is_drawn_from_this_order(shared: Path, tmp_path: Path) -> None:
    for line in (shared / "golden/episodes/crossdomain_tree.txt").read_text().split():
        if line.startswith("Lung"):
            path = tmp_path / line
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    items = [e.item for e in ChestXray(ChestXray.locate(tmp_path)).pool("test").entries]
    draw = np.random.RandomState(0)
    golden = json.loads((shared / "golden/episodes/chestxray_1shot.json").read_text())["episodes"]
    for _, query, supports in golden:
        mine = str(draw.choice(items, 1, replace=False)[0])
        support = mine
        while support == mine:
            support = str(draw.choice(items, 1, replace=False)[0])
        assert (mine, [support]) == (query, supports)


def test_populations(root: Path) -> None:
    small, large = ChestXray(root).pool("test"), ChestXray(root, variant="lung704").pool("test")
    assert [e.item for e in small.entries] == [f"masks/CHNCXR_{n:04d}_0_mask.png" for n in range(7)]
    assert large.entries[:7] == small.entries
    assert large.entries[7].item == "masks/MCUCXR_0001_1.png"
    assert (small.published, large.published) == (566, 704)
    assert small.source != large.source


def test_image_of_a_mask_with_and_without_suffix(root: Path) -> None:
    data = ChestXray(root, variant="lung704")
    for entry in data.pool("test").entries:
        image, mask = data.image(entry.item), data.mask(entry.item, 0)
        assert image.mode == "RGB"
        assert mask.shape == image.size[::-1] == (30, 20)
        assert mask.sum() == 90
        assert [p.parent.name for p in data.files(entry.item) if p.is_file()] == ["CXR_png", "masks"]
    with pytest.raises(UsageError, match="one class"):
        data.mask("masks/MCUCXR_0001_1.png", 1)
    with pytest.raises(UsageError, match="no split"):
        data.pool("trn")
    with pytest.raises(UsageError, match="lung566"):
        ChestXray(root, variant="lung567")


def test_threshold_is_128(root: Path) -> None:
    Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8)).save(
        root / "masks/CHNCXR_0000_0_mask.png"
    )
    data = ChestXray(root)
    assert data.label("masks/CHNCXR_0000_0_mask.png").tolist() == [[0, 127, 128, 255]]
    assert data.mask("masks/CHNCXR_0000_0_mask.png", 0).tolist() == [[0, 0, 1, 1]]


def test_no_shenzhen_mask_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="LungSegmentation"):
        ChestXray.locate(tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match=r"CHNCXR_\*_mask.png"):
        ChestXray(tmp_path).pool("test")


def test_verify_is_silent_on_sound_files_but_for_the_population(root: Path) -> None:
    report = ChestXray(root, variant="lung704").verify()
    assert [f.problem for f in report.findings] == ["8 of 704 published masks of lung704 are there: a sample"]
    assert (report.images, report.masks, report.histogram) == (8, 8, {"lung": 8})
    problems = [f.problem for f in ChestXray(root).verify().findings]
    assert any("Montgomery" in p and "lung566 does not read" in p for p in problems)


def test_verify_finds_every_planted_fault(root: Path) -> None:
    (root / "CXR_png/CHNCXR_0000_0.png").unlink()
    whole = (root / "CXR_png/CHNCXR_0001_0.png").read_bytes()
    (root / "CXR_png/CHNCXR_0001_0.png").write_bytes(whole[:30])
    Image.new("L", (30, 20), 255).save(root / "masks/CHNCXR_0002_0_mask.png")
    Image.new("L", (20, 30)).save(root / "masks/CHNCXR_0003_0_mask.png")
    Image.effect_mandelbrot((20, 30), (-2, -1, 1, 1), 50).save(root / "masks/CHNCXR_0004_0_mask.png")
    padded = np.full((30, 20), 99, dtype=np.uint8)
    padded[:4] = 0
    Image.fromarray(padded).save(root / "CXR_png/CHNCXR_0005_0.png")
    Image.new("L", (20, 30), 120).save(root / "CXR_png/CHNCXR_0900_0.png")
    (root / "masks/CHNCXR_0007_0.png").write_bytes(whole)
    report = ChestXray(root).verify()
    result: dict[str, list[str]] = {}
    for finding in report.findings:
        result.setdefault(finding.path, []).append(finding.problem)
    assert result["CXR_png/CHNCXR_0000_0.png"] == ["image missing"]
    assert "unreadable" in result["CXR_png/CHNCXR_0001_0.png"][0]
    assert any("transposed" in p for p in result["masks/CHNCXR_0002_0_mask.png"])
    assert "empty" in result["masks/CHNCXR_0003_0_mask.png"][0]
    assert "a picture and not a mask" in result["masks/CHNCXR_0004_0_mask.png"][0]
    assert "no variant reads it" in result["masks/CHNCXR_0007_0.png"][0]
    assert any("padded with black" in p and "CHNCXR_0005_0.png" in p for p in result["CXR_png"])
    assert any("no mask" in p and "CHNCXR_0900_0.png" in p for p in result["CXR_png"])
    assert not report.ok


def test_real_samples_show_the_oddities_that_are_listed(shared: Path) -> None:
    report = ChestXray(ChestXray.locate(shared / "data")).verify()
    assert report.ok
    assert (report.images, report.masks, report.histogram) == (159, 159, {"lung": 90})
    problems = [f.problem for f in report.findings]
    assert any(p.startswith("69 files: Montgomery masks") for p in problems)
    assert any(p.startswith("159 files: soft edges") for p in problems)
    assert any(p.startswith("50 files: padded with black") for p in problems)
    assert any(p.startswith("90 of 566 published masks") for p in problems)
    data = ChestXray(ChestXray.locate(shared / "data"), variant="lung704")
    entries = data.pool("test").entries
    assert len(entries) == 159
    for entry in entries[::40]:
        assert data.mask(entry.item, 0).shape == (512, 512)
        assert 0.05 < data.mask(entry.item, 0).mean() < 0.6


def test_miniature_is_a_function_of_its_seed_and_clean(mini: Path, tmp_path: Path) -> None:
    for name, seed in (("same", MINIATURE_SEED), ("other", MINIATURE_SEED + 1)):
        (tmp_path / name).mkdir()
        ChestXray.miniature(tmp_path / name, seed)
    root = ChestXray.locate(tmp_path / "same")
    assert digest(root) == digest(ChestXray.locate(mini)) != digest(ChestXray.locate(tmp_path / "other"))
    report = ChestXray(root, variant="lung704").verify()
    assert [f.problem for f in report.findings] == [
        "30 of 704 published masks of lung704 are there: a sample"
    ]
    assert len(ChestXray(root).pool("test").entries) == 24
    assert sum(p.stat().st_size for p in root.rglob("*") if p.is_file()) < 2e6
