"""Every command and the Python block of `docs/predict.md` run as they are written."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command import run_command
from drawn_data import draw_pair, save_label
from PIL import Image

TEXT = (Path(__file__).parents[2] / "docs/predict.md").read_text()
COMMANDS = [line.strip() for line in TEXT.splitlines() if line.startswith("    fssbench")]
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page names."""
    folder = tmp_path_factory.mktemp("documented")
    for number, names in enumerate(("example.jpg mask.png", "a.jpg a.png", "b.jpg b.png")):
        image, mask = draw_pair(number)
        for name, pixels in zip(names.split(), (image, mask), strict=True):
            Image.fromarray(pixels).save(folder / name)
    save_label(np.where(draw_pair(1)[1] > 0, 15, 0).astype(np.uint8), folder / "index.png")
    (folder / "photos").mkdir()
    Image.fromarray(draw_pair(5)[0]).save(folder / "photos/one.jpg")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, place: Path) -> None:
    done = run_command(*shlex.split(command)[1:], "--device", "cpu", folder=place)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("block", BLOCKS)
def test_python(block: str, place: Path) -> None:
    with contextlib.chdir(place):
        exec(compile(block, "predict.md", "exec"), {})


def test_page_has_commands_and_a_block() -> None:
    assert len(COMMANDS) == 3
    assert len(BLOCKS) == 1
