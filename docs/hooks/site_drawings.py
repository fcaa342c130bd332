"""Draws the small pictures of the reference as SVG inside the page; their colours follow the page's theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

CELL = 12
"""Side of a cell, in pixels."""
LABEL = 56
"""Width of the labels on the left, in pixels."""
TEXT = 'font-size="11" fill="currentColor"'


def _open_svg(width: int, height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" style="max-width: 100%" role="img" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>'
    )


def draw_folds(
    tested: Sequence[Sequence[int]], trained: Mapping[int, Sequence[int]] | None, title: str
) -> str:
    """Draw which classes each fold tests and, on the same data set, trains on.

    Args:
        tested: class ids by fold.
        trained: class ids of the training by fold; None if another data set is trained on.
        title: text for screen readers.

    Returns:
        One line of SVG: a row per fold, a column per class.
    """
    count = (
        max((*(c for fold in tested for c in fold), *(c for f in (trained or {}).values() for c in f))) + 1
    )
    columns = min(count, 40)
    lines_per_fold = -(-count // columns)
    row = CELL * lines_per_fold + 8
    parts = [_open_svg(LABEL + columns * CELL + 4, row * len(tested) + 22, title)]
    for fold, classes in enumerate(tested):
        top = fold * row
        parts.append(f'<text x="0" y="{top + 10}" {TEXT}>fold {fold}</text>')
        for number in range(count):
            x, y = LABEL + number % columns * CELL, top + number // columns * CELL
            fill, opacity = "currentColor", 0.08
            if number in classes:
                fill, opacity = "#d9480f", 1.0
            elif trained is not None and number in trained.get(fold, ()):
                fill, opacity = "#1c7ed6", 0.75
            parts.append(
                f'<rect x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" rx="2" '
                f'fill="{fill}" fill-opacity="{opacity}"><title>class {number}</title></rect>'
            )
    legend = [("#d9480f", "tested"), *([("#1c7ed6", "trained on")] if trained else [])]
    for place, (colour, text) in enumerate(legend):
        x, y = LABEL + place * 90, row * len(tested) + 6
        parts.append(f'<rect x="{x}" y="{y}" width="10" height="10" rx="2" fill="{colour}"/>')
        parts.append(f'<text x="{x + 15}" y="{y + 9}" {TEXT}>{text}</text>')
    return "".join(parts) + "</svg>\n"


def draw_taps(groups: Sequence[tuple[int, int, int]], title: str) -> str:
    """Draw the feature maps of a backbone as squares of their size, as wide as they have channels.

    Args:
        groups: channels, stride and number of taps, from the input to the deepest.
        title: text for screen readers.
    """
    parts, x, height = [], 0, 150
    for channels, stride, number in groups:
        side = max(10, round(110 * (4 / stride) ** 0.6)) if stride >= 4 else 120
        width = max(14, round(channels**0.5 * 2))
        y = 10 + (120 - side) // 2
        parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{side}" rx="2" fill="#1c7ed6" fill-opacity="0.6"/>'
            f'<text x="{x}" y="{height}" {TEXT}>{channels} ch, 1/{stride}</text>'
            f'<text x="{x}" y="{height + 14}" {TEXT}>{number} taps</text>'
        )
        x += max(width, 92) + 14
    return _open_svg(x, height + 22, title) + "".join(parts) + "</svg>\n"
