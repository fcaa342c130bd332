"""Drawings of episodes: what is in them, and names that are no commands."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fssbench.drawing.figure import TINT, EpisodePictures, draw_episodes, tint_object
from fssbench.errors import UsageError


def make_pictures(shot: int = 1, title: str = "episode 0: disc") -> EpisodePictures:
    image, mask = Image.new("RGB", (40, 20), (0, 0, 0)), np.zeros((20, 40), np.uint8)
    mask[5:15, 10:30] = 1
    mask[:, 35:] = 255
    return EpisodePictures(
        title,
        image,
        mask,
        ((image, mask),) * shot,
        predictions={"prediction": mask == 1},
        maps={"similarity": np.linspace(-1, 1, 800, dtype=np.float32).reshape(20, 40)},
    )


def list_texts(figure: object) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]  # type: ignore[attr-defined]


def test_a_row_has_supports_query_truth_and_what_the_method_gives() -> None:
    figure = draw_episodes([make_pictures(2), make_pictures(1)], title="toy", marks=("capped (2 of 9)",))
    texts = list_texts(figure)
    first = [
        "support 1",
        "support 2",
        "query",
        "truth (25 % of the query)",
        "prediction",
        "similarity (-1 to 1)",
    ]
    assert [text for text in texts if text in first] == [*first, *first[2:]]
    assert texts.count("episode 0: disc") == 2
    assert "capped (2 of 9)" in figure.get_suptitle()
    assert sum(bool(axes.images) for axes in figure.axes) == 6 + 5


def test_the_object_is_tinted_and_what_is_not_scored_is_grey() -> None:
    pictures = make_pictures()
    drawn = tint_object(pictures.query, pictures.truth)
    assert drawn.shape == (20, 40, 3)
    assert drawn[10, 20].tolist() == [channel // 2 for channel in TINT]
    assert drawn[0, 39].tolist() == [128, 128, 128]
    assert drawn[0, 0].tolist() == [76, 76, 76]


def test_a_mask_of_another_size_fits() -> None:
    image = Image.new("RGB", (1000, 500))
    assert tint_object(image, np.ones((10, 20), bool)).shape == (160, 320, 3)


def test_names_are_text() -> None:
    figure = draw_episodes([make_pictures(title="$\\frac{1$ \x1b[31m")], title="a$b^$")
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert not any("\x1b" in text for text in list_texts(figure))


def test_pyplot_is_not_needed() -> None:
    before = "matplotlib.pyplot" in sys.modules
    draw_episodes([make_pictures()], title="toy")
    assert ("matplotlib.pyplot" in sys.modules) == before


@pytest.mark.parametrize("number", [0, 21])
def test_a_figure_has_a_limit(number: int) -> None:
    with pytest.raises(UsageError, match=f"1 to 20 episodes, not {number}"):
        draw_episodes([make_pictures()] * number, title="toy")


def test_it_can_be_saved(tmp_path: Path) -> None:
    draw_episodes([make_pictures()], title="toy").savefig(tmp_path / "figure.pdf")
    assert (tmp_path / "figure.pdf").stat().st_size > 1000
