"""Features on disk: half precision, verified, bounded, never in the way."""

from __future__ import annotations

import shutil

import pytest
import torch

from fssbench.errors import DataError
from fssbench.training.feature_cache_on_disk import StoredFeatures


@pytest.fixture
def store(tmp_path):
    def make(budget=0, limit=1 << 20, content=lambda item: "content"):
        return StoredFeatures(budget, tmp_path / "features", limit, content)

    return make


class Computed:
    """Counts how often features are computed."""

    def __init__(self, value=1 / 3, shape=(1, 4, 8, 8)):
        self.maps = {"a": torch.full(shape, value), "b": torch.arange(3.0)}
        self.count = 0

    def __call__(self):
        self.count += 1
        return {k: v.clone() for k, v in self.maps.items()}


def files(tmp_path):
    return sorted((tmp_path / "features").glob("*/*.safetensors"))


def test_read_back_is_what_was_given_out_first(store, tmp_path):
    compute, first = Computed(), store()
    given = first.get(("k", "item"), compute)
    again = store().get(("k", "item"), compute)
    assert compute.count == 1
    assert first.files.written == 1
    for name, value in given.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, again[name])
        assert torch.equal(value, compute.maps[name].half().float())


def test_keys_items_and_contents_are_told_apart(store, tmp_path):
    compute = Computed()
    for key in (("k", "item"), ("other", "item"), ("k", "other")):
        store().get(key, compute)
    store(content=lambda item: "changed").get(("k", "item"), compute)
    assert compute.count == 4
    assert len(files(tmp_path)) == 4


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "garbage"])
def test_a_damaged_file_is_computed_again_with_a_warning(store, tmp_path, damage):
    compute = Computed()
    good = store().get(("k", "item"), compute)
    (path,) = files(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[-9] ^= 1
    kinds = {"truncate": bytes(raw[:-20]), "flip": bytes(raw), "empty": b"", "garbage": b"x" * 500}
    path.write_bytes(kinds[damage])
    with pytest.warns(UserWarning, match="'item' are computed again"):
        again = store().get(("k", "item"), compute)
    assert compute.count == 2
    assert all(torch.equal(again[k], good[k]) for k in good)
    store().get(("k", "item"), compute)
    assert compute.count == 2, "the damaged file was replaced"


def test_nothing_is_written_beyond_the_limit(store, tmp_path):
    compute, small = Computed(), store(limit=1800)
    for item in "abcd":
        small.get(("k", item), compute)
    assert small.files.written == len(files(tmp_path)) == 2
    assert store(limit=1800).get(("k", "d"), compute)
    assert len(files(tmp_path)) == 2


def test_beyond_half_precision_is_kept_exact_and_not_stored(store, tmp_path):
    compute = Computed(1e6)
    assert torch.equal(store().get(("k", "item"), compute)["a"], compute.maps["a"])
    assert files(tmp_path) == []


def test_memory_comes_before_disk(store):
    compute, both = Computed(), store(budget=1 << 20)
    both.plan([("k", "item")] * 3)
    for _ in range(3):
        both.get(("k", "item"), compute)
    assert (both.hits, both.misses, both.files.read, both.files.written, compute.count) == (2, 1, 0, 1, 1)


def test_a_full_disk_ends_the_writing_not_the_training(store, tmp_path, monkeypatch):
    compute, full = Computed(), store()
    shutil.rmtree(tmp_path / "features")
    (tmp_path / "features").write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="takes no more"):
        full.get(("k", "a"), compute)
    full.get(("k", "b"), compute)  # without another warning
    assert compute.count == 2


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="another --feature-cache"):
        StoredFeatures(0, tmp_path / "file" / "x", 1, str)
