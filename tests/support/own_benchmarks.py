"""A benchmark file over the toy data set, with single keys replaced or added."""

from __future__ import annotations

from pathlib import Path

SHAPES = """
format = "fssbench-benchmark/1"
id = "my-shapes"
title = "Shapes"
shots = [1]
episodes = 6

[source]
dataset = "pascal"
folds = "all"

[target]
dataset = "toy"
split = "test"
folds = [["disc", "square"], ["wedge"]]
"""


def write_benchmark(path: Path, *changes: tuple[str, str], text: str = SHAPES) -> Path:
    """Write a benchmark file.

    Args:
        path: the file.
        changes: pairs of a text in the file and what replaces it.
        text: the file before the changes.
    """
    for old, new in changes:
        assert text.count(old) == 1, (old, text)
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path
