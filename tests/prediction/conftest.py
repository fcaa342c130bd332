"""A user's folder: photographs of red boxes, one of them labelled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour_method import ColourMatch
from drawn_data import draw_pair
from PIL import Image


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A folder with `example.png`, `mask.png` and four photographs in `photos/`."""
    image, mask = draw_pair(0)
    Image.fromarray(image).save(tmp_path / "example.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    (tmp_path / "photos").mkdir()
    for number in range(1, 5):
        Image.fromarray(draw_pair(number)[0]).save(tmp_path / f"photos/{number}.png")
    return tmp_path


@pytest.fixture
def predict(user: Path) -> Callable[..., Any]:
    """Call `fssbench.predict` with the labelled example on the photographs, on the CPU."""
    import fssbench

    def call(images: Any = None, *, supports: Any = None, method: Any = ColourMatch, **options: Any) -> Any:
        given = {"out": user / "out", "device": "cpu", "progress": False, **options}
        named = user / "photos" if images is None else images
        pairs = [(user / "example.png", user / "mask.png")] if supports is None else supports
        return fssbench.predict(method, pairs, named, **given)

    return call


def read_mask(path: Path) -> np.ndarray:
    """Read a mask file as bool (H, W)."""
    return np.asarray(Image.open(path)) > 0
