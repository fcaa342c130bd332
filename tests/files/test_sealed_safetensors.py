"""Checkpoints and training states have a checksum: no changed bit of tensors or metadata is read."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from messages import error_names
from safetensors.torch import load_file, save_file

from fssbench.errors import DataError
from fssbench.files.state_dicts import SEAL, read_safetensors, write_safetensors

TENSORS = {"head.w": torch.arange(40, dtype=torch.float32).reshape(5, 8), "head.n": torch.tensor(3)}
METADATA = {"fssbench": '{"format": 1, "method": "pmnet"}'}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "checkpoint.safetensors"
    write_safetensors(file, TENSORS, METADATA, sealed=True)
    return file


def test_a_sealed_file_is_read_and_is_still_a_safetensors_file(path: Path) -> None:
    tensors, metadata = read_safetensors(path)
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert metadata.keys() == {*METADATA, SEAL}
    assert load_file(path).keys() == TENSORS.keys()


def test_equal_contents_give_equal_bytes(path: Path) -> None:
    before = path.read_bytes()
    for _ in range(10):
        write_safetensors(path, TENSORS, METADATA, sealed=True)
        assert path.read_bytes() == before


def test_a_changed_bit_is_refused_or_changes_nothing_that_is_read(path: Path) -> None:
    whole = path.read_bytes()
    draw = random.Random(0)
    tensor_bytes = sum(value.numel() * value.element_size() for value in TENSORS.values())
    refused = 0
    for place in [*range(len(whole) - tensor_bytes, len(whole)), *draw.sample(range(len(whole)), 150)]:
        changed = bytearray(whole)
        changed[place] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        try:
            tensors, metadata = read_safetensors(path)
        except DataError as error:
            refused += 1
            assert error_names(error, path, "Next:")
            continue
        assert place < len(whole) - tensor_bytes
        assert tensors.keys() == TENSORS.keys()
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
        assert METADATA.items() <= metadata.items()
    assert refused > tensor_bytes + 100


def test_another_text_in_the_header_is_refused(path: Path) -> None:
    metadata = {**read_safetensors(path)[1], "fssbench": '{"format": 1, "method": "panet"}'}
    save_file(TENSORS, path, metadata)
    with pytest.raises(DataError, match="checksum"):
        read_safetensors(path)


def test_a_file_without_a_seal_is_read(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "old.safetensors", TENSORS, METADATA)
    assert read_safetensors(tmp_path / "old.safetensors")[1] == METADATA
