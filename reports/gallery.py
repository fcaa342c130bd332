"""Qualitative examples: the same episode of every method in one line, small and embedded.

Methods share episodes, so support, query and truth are shown once and followed by each method's
prediction.  Which episodes a run stores is fixed by its plan; the first of them are shown, never the
best, and their number and bytes are capped.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

from PIL import Image, ImageChops

from fssbench.api import Cell, Panel, RunResult

from .marks import Mark, letters
from .text import clean, percent

PER_CELL = 6
"""Episodes shown of one benchmark and shot."""
BUDGET = 4_000_000
"""Bytes of all embedded images, encoded."""
_SIDE = 192
_TINT = (255, 64, 32)
_GREY = (128, 128, 128)
_IGNORED = 128
"""Value of pixels in a stored mask that count for nothing; every other value but 0 is foreground."""
_SUPPORTS = 5


@dataclass(frozen=True)
class Picture:
    """One image of an example."""

    caption: str
    uri: str
    """`data:` address of a JPEG."""
    marks: str = ""
    """Letters of the legend, where the caption holds a number."""


@dataclass(frozen=True)
class Example:
    """One episode: supports, query with truth, and what each method found."""

    caption: str
    pictures: tuple[Picture, ...]


@dataclass
class Budget:
    """Bytes still to be given out over a whole page, and what could not be shown."""

    left: int = BUDGET
    unreadable: int = 0
    dropped: int = 0


def gallery(cells: tuple[Cell, ...], legend: dict[str, Mark], budget: Budget) -> tuple[Example, ...]:
    """Examples of one benchmark, within the budget.

    Args:
        cells: the benchmark's cells.
        legend: letters of the report's marks.
        budget: shared over the page; what is spent or lost is noted in it.
    """
    out = []
    for shot in sorted({c.shot for c in cells}):
        for where, found in list(_episodes([c for c in cells if c.shot == shot]).items())[:PER_CELL]:
            example = _example(f"{shot}-shot, fold {where[0]}", found, legend, budget)
            if example is not None:
                out.append(example)
    return tuple(out)


def _episodes(cells: list[Cell]) -> dict[tuple[int, str, int], list[tuple[RunResult, Panel]]]:
    """Panels by (fold, plan, episode), taken in turn from every fold, so that each is seen."""
    by_fold: dict[int, dict[tuple[int, str, int], list[tuple[RunResult, Panel]]]] = {}
    for cell in cells:
        for fold, run in cell.folds.items():
            for panel in sorted(run.panels, key=lambda p: p.index):
                key = (fold, run.plan_sha256, panel.index)
                by_fold.setdefault(fold, {}).setdefault(key, []).append((run, panel))
    turns = zip_longest(*(list(keys) for _, keys in sorted(by_fold.items())))
    order = [key for key in chain.from_iterable(turns) if key is not None]
    return {key: by_fold[key[0]][key] for key in order}


def _example(
    where: str, found: list[tuple[RunResult, Panel]], legend: dict[str, Mark], budget: Budget
) -> Example | None:
    run, panel = found[0]
    wanted: list[tuple[str, RunResult, Path, Path | None]] = [
        (f"support {n}" if len(panel.supports) > 1 else "support", run, image, mask)
        for n, (image, mask) in enumerate(panel.supports[:_SUPPORTS], start=1)
    ]
    wanted += [("query", run, panel.query, None), ("truth", run, panel.query, panel.truth)]
    wanted += [(_found(r, p), r, p.query, p.prediction) for r, p in found]
    pictures, spent = [], 0
    for caption, owner, image, mask in wanted:
        try:
            uri = _uri(owner, image, mask)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            budget.unreadable += 1
            continue
        pictures.append(Picture(caption, uri, letters(owner.marks, legend) if "IoU" in caption else ""))
        spent += len(uri)
    if not pictures:
        return None
    if spent > budget.left:
        budget.dropped += 1
        return None
    budget.left -= spent
    return Example(f"{clean(panel.class_name)} ({where}, episode {panel.index})", tuple(pictures))


def _found(run: RunResult, panel: Panel) -> str:
    iou = "" if math.isnan(panel.iou) else f", IoU {percent(panel.iou)}"
    return f"{clean(run.label)}{iou}"


def _uri(run: RunResult, image: Path, mask: Path | None) -> str:
    picture = _open(run, image).convert("RGB")
    picture.thumbnail((_SIDE, _SIDE))
    if mask is not None:
        picture = _tinted(picture, _open(run, mask))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def _open(run: RunResult, path: Path) -> Image.Image:
    """Open an image of a run's own folder; nothing outside it is ever embedded.

    `path` may start at the run's folder or, like the run's own path, at the working directory.

    Raises:
        OSError: where it is missing, no image, or elsewhere.
    """
    folder = run.path.resolve()
    file = path.resolve()
    if not file.is_relative_to(folder):
        file = (folder / path).resolve()
    if not file.is_relative_to(folder):
        raise OSError(f"{file} lies outside {folder}")
    with Image.open(file, formats=("PNG", "JPEG")) as image:
        image.load()
        return image.copy()


def _tinted(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """Tint the mask's foreground and grey its ignored pixels; a mask in colour is shown as it is."""
    if mask.mode not in {"1", "L", "P", "I", "I;16"}:
        shown = mask.convert("RGB")
        shown.thumbnail((_SIDE, _SIDE))
        return shown
    values = (mask if mask.mode == "P" else mask.convert("L")).resize(picture.size, Image.Resampling.NEAREST)
    on = values.point([0] + [255 * (v != _IGNORED) for v in range(1, 256)], "L")
    ignored = values.point([255 * (v == _IGNORED) for v in range(256)], "L")
    tint = Image.blend(picture, Image.new("RGB", picture.size, _TINT), 0.5)
    # outside the mask the picture is greyed a little, so that small objects stand out
    rest = Image.blend(picture, ImageChops.constant(picture.convert("L"), 40).convert("RGB"), 0.25)
    return Image.composite(Image.new("RGB", picture.size, _GREY), Image.composite(tint, rest, on), ignored)
