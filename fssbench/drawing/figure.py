"""Draws episodes as one matplotlib figure, below each other: supports, query, truth, then what a method gives.

The object is tinted and outlined, and what is not scored is grey.  The figure does not use pyplot, so it changes no
state of a user's session and needs no screen.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.contracts.datasets import IGNORE
from fssbench.errors import UsageError
from fssbench.files.clean_text import clean_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TINT = (230, 159, 0)
"""Colour of the object, from the palette of Okabe and Ito."""
_OUTLINE = (90, 30, 0)
_GREY = (128, 128, 128)
_SIDE = 320
"""Longest side of a drawn picture, pixels."""
_INCHES = 2.0
"""Width of one picture in the figure."""
_CHARACTERS = 33
"""Characters of a line of a caption."""
_COLUMNS = 9
"""Most pictures beside each other; more of one episode continue below."""
_MOST = 20
"""Most episodes in one figure."""


@dataclass(frozen=True)
class EpisodePictures:
    """The pictures of one episode, and its title."""

    title: str
    """Such as `episode 3: nucleus`."""
    query: Image.Image
    """RGB."""
    truth: NDArray[np.uint8]
    """(H, W) of any size: 0 background, 1 the class, 255 not scored."""
    supports: tuple[tuple[Image.Image, NDArray[np.uint8]], ...]
    """RGB image and mask (H, W) of each support."""
    predictions: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Mask (H, W) by caption, drawn over the query."""
    maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Other values (H, W) by caption, such as a probability; drawn as a heat map with its range."""


def draw_episodes(episodes: Sequence[EpisodePictures], *, title: str, marks: Sequence[str] = ()) -> Figure:
    """Draw episodes below each other.

    Args:
        episodes: one to 20 episodes.
        title: what they belong to.
        marks: what keeps figures of these episodes from being benchmark figures.

    Returns:
        A matplotlib figure.  A notebook shows it, and `savefig` writes it to a file.

    Raises:
        UsageError: for no episode or too many.
    """
    if not 1 <= len(episodes) <= _MOST:
        raise UsageError(f"a figure shows 1 to {_MOST} episodes, not {len(episodes)}")
    lines = [
        (episode.title if not start else "", pictures[start : start + _COLUMNS])
        for episode in episodes
        for pictures in [_list_pictures(episode)]
        for start in range(0, len(pictures), _COLUMNS)
    ]
    columns = max(len(pictures) for _, pictures in lines)
    width = max(columns * _INCHES, 4.0)
    shown = f"{title}\n{'; '.join(marks) or 'no marks'}"
    head = [line for part in shown.split("\n") for line in textwrap.wrap(clean_line(part), int(width * 13))]
    above = 0.3 + 0.17 * len(head)
    height = above + len(lines) * (_INCHES + 0.45)
    figure = _make_figure(width, height)
    figure.suptitle("\n".join(head), fontsize=8, y=1 - 0.05 / height, va="top", parse_math=False)
    grid = figure.subplots(len(lines), columns, squeeze=False)
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - above / height, wspace=0.04, hspace=0.25)
    for axes, (heading, pictures) in zip(grid, lines, strict=True):
        for place in axes:
            place.set_axis_off()
        captions = [textwrap.fill(clean_line(caption), _CHARACTERS) for caption, _ in pictures]
        for place, caption, (_, pixels) in zip(axes, captions, pictures, strict=False):
            _draw_picture(place, caption, pixels)
        _write(
            axes[0],
            clean_line(heading),
            y=1.05 + 0.1 * max(c.count("\n") + 1 for c in captions),
            weight="bold",
        )
    return figure


def _make_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    class Drawing(Figure):
        """A figure that a notebook shows also if pyplot was never imported."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png", dpi=110)
            return file.getvalue()

    return Drawing(figsize=(width, height))


def _list_pictures(episode: EpisodePictures) -> list[tuple[str, NDArray[Any]]]:
    """List the captions and pixels of a row; a heat map has pixels (H, W), a picture (H, W, 3)."""
    several = len(episode.supports) > 1
    pictures: list[tuple[str, NDArray[Any]]] = [
        (f"support {n}" if several else "support", tint_object(image, mask))
        for n, (image, mask) in enumerate(episode.supports, start=1)
    ]
    share = 100 * float(np.mean(episode.truth == 1))
    pictures += [
        ("query", np.asarray(_shrink(episode.query))),
        (f"truth ({share:.0f} % of the query)", tint_object(episode.query, episode.truth)),
    ]
    pictures += [(name, tint_object(episode.query, mask)) for name, mask in episode.predictions.items()]
    for name, values in episode.maps.items():
        low, high = find_range(values)
        pictures.append((f"{name} ({low:.2g} to {high:.2g})", _fit_values(values, episode.query)))
    return pictures


def tint_object(image: Image.Image, mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a small picture (h, w, 3) in which the object is tinted and outlined, and the rest is paler.

    Args:
        image: RGB.
        mask: (H, W) of any size: 1 or true for the object, 255 for what is not scored.
    """
    small = _shrink(image)
    fitted = Image.fromarray(np.asarray(mask, np.uint8)).resize(small.size, Image.Resampling.NEAREST)
    kinds = np.asarray(fitted)
    inside, ignored = kinds == 1, kinds == IGNORE
    wash = np.where(inside[..., None], TINT, (255, 255, 255))
    share = np.where(inside[..., None], 0.5, 0.3)
    pixels = np.asarray(small, np.float32) * (1 - share) + wash * share
    padded = np.pad(inside, 1)
    whole = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    pixels[inside & ~whole] = _OUTLINE
    pixels[ignored] = _GREY
    return pixels.astype(np.uint8)


def _fit_values(values: NDArray[np.float32], image: Image.Image) -> NDArray[np.float32]:
    """Resize values (H, W) of any size to those of a drawn picture by nearest neighbour."""
    fitted = Image.fromarray(np.asarray(values, np.float32)).resize(
        _shrink(image).size, Image.Resampling.NEAREST
    )
    return np.asarray(fitted)


def find_range(values: NDArray[np.float32]) -> tuple[float, float]:
    """Find the lowest and highest finite value; both are nan if there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (float("nan"), float("nan"))


def _shrink(image: Image.Image) -> Image.Image:
    scale = min(1.0, _SIDE / max(image.size))
    size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _draw_picture(axes: Axes, caption: str, pixels: NDArray[Any]) -> None:
    axes.imshow(pixels, cmap="viridis" if pixels.ndim == 2 else None, aspect="equal")
    axes.set_anchor("NW")
    _write(axes, caption, y=1.03)


def _write(axes: Axes, text: str, *, y: float, weight: str = "normal") -> None:
    """Write above a picture; a `$` in a name begins no formula."""
    axes.text(0, y, text, transform=axes.transAxes, va="bottom", fontsize=7, weight=weight, parse_math=False)
