"""Regions of COCO JSON against pycocotools, and what happens without it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from fssbench.errors import DataError
from fssbench.images.coco_regions import decode_region, read_runs


@given(counts=st.lists(st.integers(0, 5000), min_size=1, max_size=12))
def test_compressed_run_lengths_are_those_of_pycocotools(counts: list[int]) -> None:
    tools = pytest.importorskip("pycocotools.mask")
    height = sum(counts)
    if height == 0:
        return
    compressed = tools.frPyObjects({"counts": counts, "size": [height, 1]}, height, 1)
    np.testing.assert_array_equal(read_runs(compressed, height, 1), counts)


def test_polygons_without_pycocotools_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    with pytest.raises(DataError, match=r'pip install "fssbench\[coco\]"'):
        decode_region([[0, 0, 4, 0, 4, 4]], 9, 9)
