"""Features on disk: exact, verified, bounded, shared by methods, shots and processes, and never in the way."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_backbone import register_small_backbone

import fssbench
from fssbench.api import Method
from fssbench.data.reader import ImageFacts, Reader
from fssbench.errors import DataError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.extraction import Extractor
from fssbench.evaluation.feature_names import name_features
from fssbench.evaluation.feature_store import FeatureStore
from fssbench.evaluation.settings import Settings

CPU = torch.device("cpu")
MAPS = {"a": torch.tensor([[1 / 3, float("nan"), -0.0]]), "b": torch.arange(5).to(torch.bfloat16)}
SIZE = 4000
"""Bytes of the maps of `large`, of which a file is a little larger."""


def names(count: int) -> list[str]:
    return [name_features(number, CPU) for number in range(count)]


def large(value: float) -> dict[str, torch.Tensor]:
    return {"a": torch.full((SIZE // 4,), float(value))}


def files(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*/*.safetensors")}


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.view(torch.uint8), other.view(torch.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "features"


@pytest.fixture
def open_store(folder: Path) -> Callable[..., FeatureStore]:
    """Open the folder as another process would."""
    return lambda limit=1 << 20: FeatureStore(folder, limit)


def test_maps_come_back_to_the_bit_with_their_notes(open_store) -> None:
    (name,) = names(1)
    open_store().save(name, "item", MAPS, {"size": "5 7"})
    maps, notes = open_store().load(name, "item")
    assert maps.keys() == MAPS.keys()
    assert all(same_bits(maps[tap], MAPS[tap]) for tap in MAPS)
    assert notes == {"size": "5 7"}


def test_a_file_serves_every_method_whose_taps_it_holds(open_store) -> None:
    (name,) = names(1)
    store = open_store()
    store.save(name, "item", {"a": MAPS["a"]})
    assert list(store.load(name, "item", ["a"])[0]) == ["a"]
    assert store.load(name, "item", ["a", "b"]) is None
    store.save(name, "item", {"b": MAPS["b"]})
    assert set(store.load(name, "item", ["a", "b"])[0]) == {"a", "b"}
    assert list(open_store().load(name, "item", ["b"])[0]) == ["b"]


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "garbage"])
def test_damaged_file_is_not_used(open_store, folder: Path, damage: str) -> None:
    (name,) = names(1)
    store = open_store()
    store.save(name, "item", MAPS)
    path = folder / name[:2] / f"{name}.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    cases = {"truncated": raw[:-9], "one bit": raw, "empty": b"", "garbage": b"x" * 600}
    path.write_bytes(bytes(cases[damage]))
    with pytest.warns(UserWarning, match="'item' are computed again"):
        assert store.load(name, "item") is None
    with pytest.warns(UserWarning, match="'item' are computed again"):
        store.save(name, "item", MAPS)
    assert same_bits(store.load(name, "item")[0]["a"], MAPS["a"]), "it was replaced"


def test_a_file_under_the_name_of_another_is_not_used(open_store, folder: Path) -> None:
    own, other = names(2)
    store = open_store()
    store.save(own, "item", MAPS)
    store.save(other, "another", {tap: features.flip(-1) for tap, features in MAPS.items()})
    paths = {path.stem: path for path in folder.glob("*/*.safetensors")}
    shutil.copy(paths[other], paths[own])
    with pytest.warns(UserWarning, match="computed again"):
        assert store.load(own, "item") is None


def test_files_of_other_runs_go_first_those_used_longest_ago(open_store, folder: Path) -> None:
    limit = 5 * SIZE
    first = open_store(limit)
    old = names(4)
    for age, name in enumerate(old):
        first.save(name, "item", large(age))
        os.utime(folder / name[:2] / f"{name}.safetensors", times=(1000 + age, 1000 + age))
    assert open_store(limit).load(old[0], "item") is not None, "used again, so it is the youngest now"
    second = open_store(limit)
    new = name_features("new", CPU)
    second.save(new, "item", large(9))
    assert new in files(folder)
    assert old[0] in files(folder)
    assert old[1] not in files(folder)
    assert sum(path.stat().st_size for path in folder.glob("*/*.safetensors")) <= limit


@pytest.mark.parametrize("how", ["written", "read", "announced"])
def test_a_run_larger_than_the_limit_keeps_what_it_has(open_store, folder: Path, how: str) -> None:
    """Dropping the oldest of its own files would leave no file for the next run of the same plan."""
    limit, held = 3 * SIZE, names(2)
    store = open_store(limit)
    for name in held:
        store.save(name, "item", large(1))
    if how != "written":
        store = open_store(limit)
        if how == "announced":
            store.announce(held)
        for name in held if how == "read" else ():
            assert store.load(name, "item")
    for name in names(6)[2:]:
        store.save(name, "item", large(2))
    assert files(folder) == set(held)


def test_nothing_is_written_beyond_the_limit_of_one_file(open_store, folder: Path) -> None:
    open_store(SIZE - 1).save(names(1)[0], "item", large(1))
    assert files(folder) == set()


def test_what_a_killed_process_left_is_removed_after_an_hour(open_store, folder: Path) -> None:
    (name,) = names(1)
    open_store().save(name, "item", MAPS)
    old, fresh = folder / name[:2] / ".x.1-1.partial", folder / name[:2] / ".y.1-1.partial"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, times=(time.time() - 4000,) * 2)
    open_store()
    assert not old.exists()
    assert fresh.exists()
    assert files(folder) == {name}


def test_full_disk_ends_the_writing_with_one_warning(open_store, folder: Path) -> None:
    store = open_store()
    shutil.rmtree(folder)
    folder.write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="takes no more"):
        store.save(names(1)[0], "item", MAPS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.save(names(1)[0], "item", MAPS)
    assert store.written == 0


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="another --feature-cache"):
        FeatureStore(tmp_path / "file" / "x", 1)


def test_processes_share_a_folder_that_is_too_small(null, folder: Path) -> None:
    """Each writes, reads and drops files of the other; whatever is read is right."""
    asked = names(12)

    def work(shift: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for number in range(72):
                store, own = FeatureStore(folder, 6 * SIZE), (number + shift) % 12
                stored = store.load(asked[own], "item")
                assert stored is None or torch.equal(stored[0]["a"], large(own)["a"])
                store.save(asked[own], "item", large(own))

    children = [null.fork(lambda shift=shift: work(shift)) for shift in (0, 5)]
    for child in children:
        assert child.wait() == 0, child.message
    assert not list(folder.glob("*/.*.partial"))


class Counted:
    """Counts the images that are read and extracted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.extracted: list[str] = []
        self.read: list[str] = []
        extract, read = Extractor.extract, Reader.image

        def count_extraction(extractor, pixels, taps, item):
            self.extracted.append(item)
            return extract(extractor, pixels, taps, item)

        def count_reading(reader, item):
            self.read.append(item)
            return read(reader, item)

        monkeypatch.setattr(Extractor, "extract", count_extraction)
        monkeypatch.setattr(Reader, "image", count_reading)

    def forget(self) -> None:
        self.extracted.clear()
        self.read.clear()


class World:
    """Runs on the miniature with one store of features; a run has a new process's memory."""

    def __init__(self, mini: Path, tmp_path: Path) -> None:
        self.data, self.tmp_path, self._runs = mini, tmp_path, 0
        self.methods: dict[str, Method] = {}

    def load(self, name: str) -> Method:
        if name not in self.methods:
            backbone = register_small_backbone()
            self.methods[name] = fssbench.load_method(name, backbone=backbone, weights="random")
        return self.methods[name]

    def run(
        self, *methods: str, store: str | None = "features", shot: int = 1, seed: int = 0, size: int = 64
    ):
        plan = fssbench.plan("pascal5i", shot=shot, seed=seed, data=self.data, episodes=6, size=size)
        self._runs += 1
        folder = None if store is None else self.tmp_path / store
        out = Settings(out=self.tmp_path / f"runs{self._runs}", panels=0, feature_cache=folder)
        done, failed = evaluate_all([self.load(name) for name in methods], plan, out)
        assert failed == []
        return [(each.path / "episodes.jsonl").read_bytes() for each in done]


@pytest.fixture
def world(mini: Path, tmp_path: Path) -> World:
    return World(mini, tmp_path)


def test_second_run_reads_and_extracts_nothing_and_counts_the_same(world, monkeypatch) -> None:
    counted = Counted(monkeypatch)
    plain = world.run("panet", store=None)
    images = sorted(counted.extracted)
    counted.forget()
    assert world.run("panet") == plain
    assert sorted(counted.extracted) == images
    counted.forget()
    assert world.run("panet") == plain
    assert counted.extracted == counted.read == []


def test_other_methods_shots_and_seeds_use_what_is_there(world, monkeypatch) -> None:
    counted = Counted(monkeypatch)
    world.run("panet", "pmnet", shot=5)
    first = set(counted.extracted)
    counted.forget()
    plain = world.run("pmnet", store=None, seed=1)
    images = set(counted.extracted)
    counted.forget()
    assert world.run("pmnet", seed=1) == plain
    assert set(counted.extracted) == images - first


def test_taps_of_another_method_are_added_to_the_file(world, monkeypatch) -> None:
    counted = Counted(monkeypatch)
    world.run("panet")
    world.run("pmnet")
    counted.forget()
    assert world.run("panet", "pmnet") == world.run("panet", "pmnet", store=None)
    assert len(counted.extracted) == len(set(counted.extracted)), "by the run without a store alone"
    before = len(list((world.tmp_path / "features").glob("*/*.safetensors")))
    assert before == len(set(counted.extracted)), "one file per image"


def test_size_weights_and_image_are_part_of_the_name(world, mini, monkeypatch, tmp_path) -> None:
    counted = Counted(monkeypatch)
    world.run("panet")
    count = len(counted.extracted)
    counted.forget()
    world.run("panet", size=96)
    assert len(counted.extracted) == count
    counted.forget()
    backbone = world.load("panet").backbone
    backbone.randomise(7)
    assert world.run("panet") == world.run("panet", store=None)
    assert len(counted.extracted) == 2 * count
    counted.forget()
    world.data = tmp_path / "data"
    shutil.copytree(mini / "VOC2012", world.data / "VOC2012")
    world.run("panet")
    assert counted.extracted == [], "the folder of the data is not part of it"
    for image in (world.data / "VOC2012" / "JPEGImages").iterdir():
        image.write_bytes(image.read_bytes() + b"\0")
    world.run("panet")
    assert len(counted.extracted) == count


def test_damaged_files_change_no_count(world) -> None:
    plain = world.run("panet")
    for path in (world.tmp_path / "features").glob("*/*.safetensors"):
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 16
        path.write_bytes(raw)
    with pytest.warns(UserWarning, match="computed again"):
        assert world.run("panet") == plain
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert world.run("panet") == plain


def test_what_reading_an_image_told_comes_back() -> None:
    for facts in (
        ImageFacts((500, 375), frozenset()),
        ImageFacts((1, 2), frozenset({"full", "orientation"})),
    ):
        assert ImageFacts.parse(facts.as_notes()) == facts
