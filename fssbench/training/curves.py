"""The curves of a training: a CSV file with one line per step, and a plot of it.

The file holds no time, so two equal trainings write equal files.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from fssbench.errors import DataError
from fssbench.files.atomic import replace_file
from fssbench.files.text import decode_text


@dataclass(frozen=True, slots=True)
class Point:
    """One step."""

    step: int
    """Optimiser steps done, this one included."""
    loss: float
    learning_rate: float
    val_miou: float | None = None
    """mIoU of the validation after this step, in percent."""
    val_fb_iou: float | None = None

    def line(self) -> str:
        """Return the point as a line of CSV with all digits."""
        return ",".join("" if v is None else repr(v) for v in astuple(self)) + "\n"


HEADER = ",".join(f.name for f in fields(Point)) + "\n"


def read_curve(path: Path) -> list[Point]:
    """Read the points of a curve in order; an incomplete last line is skipped.

    Raises:
        DataError: if any other line is damaged.
    """
    text = decode_text(path.read_bytes(), path) if path.is_file() else ""
    whole = text[: text.rfind("\n") + 1]
    points = []
    for number, row in enumerate(csv.reader(io.StringIO(whole)), start=1):
        if number == 1 and ",".join(row) + "\n" == HEADER:
            continue
        try:
            step, loss, rate, miou, fb_iou = row
            points.append(
                Point(int(step), float(loss), float(rate), _number_or_none(miou), _number_or_none(fb_iou))
            )
        except ValueError:
            raise DataError(
                f"{path}, line {number} is damaged. Next: delete the file; only the curve is lost"
            ) from None
    return points


def _number_or_none(text: str) -> float | None:
    return float(text) if text else None


class Curve:
    """The CSV file of a training, opened at the step from which it continues.

    Args:
        path: the file; lines after `step` come from a process that died and are computed again.
        step: number of steps that the stored state has completed.

    Raises:
        DataError: if it cannot be read or written.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        points = [p for p in read_curve(path) if p.step <= step]
        try:
            replace_file(path, (HEADER + "".join(p.line() for p in points)).encode())
        except OSError as error:
            raise self._unwritable(error) from None

    def add(self, point: Point) -> None:
        """Append one step."""
        try:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(point.line())
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(
            f"{self.path} cannot be written ({error.strerror or error}). The last state is kept. "
            "Next: free space, then run the same command again"
        )


def draw_curve(points: list[Point], path: Path, title: str) -> None:
    """Draw loss (its running mean beside it) and validation mIoU as a PNG.

    Raises:
        DataError: if the picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5))
    FigureCanvasAgg(figure)
    axes = figure.subplots(gridspec_kw={"bottom": 0.2, "top": 0.92, "left": 0.09, "right": 0.91})
    steps = [p.step for p in points]
    axes.plot(steps, [p.loss for p in points], color="0.8", linewidth=0.8, label="loss")
    axes.plot(steps, _smooth([p.loss for p in points]), color="C0", label="loss, running mean")
    axes.set(xlabel="step", ylabel="loss", title=title.replace("$", r"\$"))
    validated = [(p.step, p.val_miou) for p in points if p.val_miou is not None]
    lines = list(axes.get_lines())
    if validated:
        right = axes.twinx()
        lines += right.plot(*zip(*validated, strict=True), "o-", color="C1", label="validation mIoU")
        right.set(ylabel="mIoU, %", ylim=(0, 100))
    figure.legend(handles=lines, loc="lower center", ncols=len(lines))
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100, metadata={"Software": None})
    try:
        replace_file(path, picture.getvalue())
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}). The training is kept. Next: free space, then run "
            "the same command again"
        ) from None


def _smooth(values: list[float]) -> list[float]:
    """Compute an exponential mean over about a twentieth of the training, without the bias of its start."""
    keep = 1 - 1 / max(2.0, len(values) / 20)
    total, weight, means = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        means.append(total / weight if math.isfinite(total) else float("nan"))
    return means
