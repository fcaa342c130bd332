"""A flipped bit in a data file is found by `data verify --against`, or the file is read; nothing else can happen."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from command import run_command
from fuzzing import find_faults

from fssbench.errors import FssbenchError
from fssbench.images.reading import read_rgb


@pytest.fixture
def hashed(tmp_path: Path) -> Path:
    """A data folder whose hashes were recorded."""
    run_command("data", "mini", tmp_path / "data", "--dataset", "chestxray")
    line = (
        "data",
        "verify",
        "chestxray",
        "--data",
        tmp_path / "data",
        "--record",
        tmp_path / "hashes.sha256",
    )
    assert run_command(*line).exit_code == 0
    return tmp_path


def flip_bits(folder: Path, files: int, flips: int) -> None:
    """Flip one bit at a time, read the picture, and let the hashes find the flip in every fourth case."""
    draw = random.Random(20)
    paths = draw.sample(sorted(p for p in (folder / "data").rglob("*.png")), files)
    for number in range(flips):
        path = paths[number % files]
        content = path.read_bytes()
        place = draw.randrange(len(content))
        path.write_bytes(
            content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
        )
        try:
            read_rgb(path)
        except FssbenchError as error:
            assert path.name in str(error)
        if number % 4 == 0:
            checked = run_command(
                *(
                    "data",
                    "verify",
                    "chestxray",
                    "--data",
                    folder / "data",
                    "--against",
                    folder / "hashes.sha256",
                )
            )
            assert checked.exit_code == 3, (path, place)
            assert not [*find_faults(checked)]
            assert path.name in checked.output
        path.write_bytes(content)


def test_a_few_flipped_bits(hashed: Path) -> None:
    flip_bits(hashed, files=2, flips=12)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_five_hundred_flipped_bits(hashed: Path) -> None:
    flip_bits(hashed, files=5, flips=500)
