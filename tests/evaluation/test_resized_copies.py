"""Resized copies change no pixel of the network's input, and are never read when they are stale or damaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fssbench.datasets.chestxray.reader import ChestXray
from fssbench.methods.copies import CopyMask
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fssbench.api import MethodConfig
from fssbench.cli import main
from fssbench.contracts.episodes import Episode
from fssbench.data.data_files import DataFiles
from fssbench.data.location import open_dataset
from fssbench.data.reader import ImageFacts
from fssbench.data.resized_images import ResizedImages
from fssbench.errors import DataError
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.resized_copies import make_copies

SIZE = 48


@pytest.fixture
def data(mini: Path, tmp_path: Path) -> str:
    """Six radiographs of another size than that of the copies."""
    for part in ("CXR_png", "masks"):
        folder = tmp_path / "data" / "LungSegmentation" / part
        folder.mkdir(parents=True)
        for path in sorted((mini / "LungSegmentation" / part).iterdir())[:6]:
            shutil.copy(path, folder)
    return str(tmp_path / "data")


def read_inputs(data: str) -> tuple[torch.Tensor, tuple[str, ...], int]:
    """Return the pixels of all images as a method gets them, the doubts, and the number of images that were decoded."""
    dataset = open_dataset("chestxray", data=data)
    items = [entry.item for entry in dataset.pool("test").entries]
    decoded = 0

    read = dataset.image

    def count(item: str) -> Image.Image:
        nonlocal decoded
        decoded += 1
        return read(item)

    dataset.image = count  # type: ignore[method-assign]
    inputs = Inputs(dataset, SIZE, torch.device("cpu"), FeatureCache(0), DataFiles(dataset, items, "a test"))
    method = CopyMask(MethodConfig())
    episodes = [Episode(i, 0, item, (items[i - 1],)) for i, item in enumerate(items)]
    inputs.expect([method], episodes)
    pixels = torch.cat([inputs.of(method, episode)[0].clone() for episode in episodes])
    doubts = tuple(doubt for episode in episodes for doubt in inputs.doubts(episode))
    return pixels, doubts, decoded


def test_copies_give_the_same_input_and_no_image_is_decoded(data: str) -> None:
    pixels, doubts, decoded = read_inputs(data)
    assert decoded > 0
    first = make_copies("chestxray", SIZE, data=data)
    assert (first.written, first.there_already, first.removed) == (6, 0, 0)
    assert sum(path.stat().st_size for path in first.folder.iterdir()) == first.bytes
    copied = read_inputs(data)
    assert torch.equal(copied[0], pixels)
    assert copied[1:] == (doubts, 0)
    second = make_copies("chestxray", SIZE, data=data)
    assert (second.written, second.there_already) == (0, 6)


def test_a_copy_of_a_changed_image_is_not_read_and_is_replaced(data: str) -> None:
    make_copies("chestxray", SIZE, data=data)
    path = min(Path(data).glob("*/CXR_png/*"))
    with Image.open(path) as image:
        Image.fromarray(255 - np.array(image)).save(path)
    changed, _, decoded = read_inputs(data)
    assert decoded > 0
    copies = make_copies("chestxray", SIZE, data=data)
    assert (copies.written, copies.there_already, copies.removed) == (1, 5, 1)
    again, _, decoded = read_inputs(data)
    assert decoded == 0
    assert torch.equal(again, changed)


@pytest.mark.parametrize("damage", ["cut", "other pixels", "other size", "no notes", "empty"])
def test_a_damaged_copy_is_not_read_and_is_made_again(data: str, damage: str) -> None:
    whole, _, _ = read_inputs(data)
    copies = make_copies("chestxray", SIZE, data=data)
    path = min(copies.folder.iterdir())
    with Image.open(path) as image:
        pixels, text = np.array(image), image.info["fssbench"]
    if damage in {"cut", "empty"}:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else 900])
    else:
        notes = PngInfo()
        if damage != "no notes":
            notes.add_text("fssbench", text)
        if damage == "other pixels":
            pixels[0, 0, 0] ^= 1
        side = SIZE - 1 if damage == "other size" else SIZE
        Image.fromarray(pixels[:side, :side]).save(path, pnginfo=notes)
    pixels_read, _, decoded = read_inputs(data)
    assert torch.equal(pixels_read, whole)
    assert decoded > 0
    assert make_copies("chestxray", SIZE, data=data).written == 1


def test_a_copy_under_the_name_of_another_is_not_read(data: str) -> None:
    whole, _, _ = read_inputs(data)
    paths = sorted(make_copies("chestxray", SIZE, data=data).folder.iterdir())
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    pixels, _, decoded = read_inputs(data)
    assert torch.equal(pixels, whole)
    assert decoded > 0
    assert make_copies("chestxray", SIZE, data=data).written == len(paths)


def test_a_copy_depends_on_the_modules_that_read_images(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_copies("chestxray", SIZE, data=data).written == 6
    monkeypatch.setattr("fssbench.data.resized_images.hash_core_files", lambda _: "other rules")
    copies = make_copies("chestxray", SIZE, data=data)
    assert (copies.written, copies.removed) == (6, 6)


def test_a_file_that_changes_during_a_run_is_noticed_although_its_copy_is_here(data: str) -> None:
    make_copies("chestxray", SIZE, data=data)
    dataset = open_dataset("chestxray", data=data)
    item = dataset.pool("test").entries[0].item
    images = ResizedImages(dataset, DataFiles(dataset, [item], "a test"))
    assert images.load(item, SIZE) is not None
    path = dataset.files(item)[0]
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match="has changed"):
        images.load(item, SIZE)


def test_an_interrupted_command_goes_on(data: str) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_copies("chestxray", SIZE, data=data, progress=stop)
    assert make_copies("chestxray", SIZE, data=data).there_already == 3


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), side=st.integers(1, 40), doubts=st.sets(st.sampled_from("abc")))
def test_any_pixels_and_facts_come_back(mini: Path, seed: int, side: int, doubts: set[str]) -> None:
    dataset = open_dataset("chestxray", data=str(mini))
    item = dataset.pool("test").entries[0].item
    images = ResizedImages(dataset, DataFiles(dataset, [item], "a test"))
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    facts = ImageFacts((side, 7), frozenset(doubts))
    images.save(item, side, pixels, facts)
    copy = images.load(item, side)
    assert copy is not None
    assert np.array_equal(copy[0], pixels)
    assert copy[1] == facts


def test_the_command_needs_a_source_or_a_size(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["data", "prepare", "chestxray", "--data", data, *arguments])

    assert run().exit_code == run(".", "--size", "48").exit_code == 2
    result = run("--size", "48")
    assert result.exit_code == 0, result.output
    assert "6 copies of 48 px written" in result.stdout
    monkeypatch.setattr(ChestXray, "image", None)
    assert "6 already there" in run("--size", "48").stdout
