"""The table of a prediction: `predictions.csv`, one row per image."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from fssbench.files.clean_text import guard_formula
from fssbench.prediction.layout import list_output_files
from fssbench.prediction.records import ImageRecord

COLUMNS = (
    "file",
    "status",
    "foreground",
    "confidence",
    "object_confidence",
    "seconds",
    "width",
    "height",
    "mask",
    "overlay",
    "is_example",
    "notes",
)


def make_row(record: ImageRecord) -> dict[str, Any]:
    """Make the row of a finished image; numbers are unrounded."""
    mask, overlay, _ = list_output_files(record.name)
    notes = [f"differs from the examples: {text}" for text in record.differences.values()]
    if record.is_example:
        notes.insert(0, "is one of the examples")
    return {
        "file": record.file,
        "status": "done",
        "foreground": record.foreground,
        "confidence": record.confidence,
        "object_confidence": record.object_confidence,
        "seconds": record.seconds,
        "width": record.width,
        "height": record.height,
        "mask": mask,
        "overlay": overlay,
        "is_example": record.is_example,
        "notes": "; ".join(notes),
    }


def make_failed_row(file: str, problem: str) -> dict[str, Any]:
    """Make the row of an image that could not be read."""
    return {**dict.fromkeys(COLUMNS), "file": file, "status": "failed", "notes": problem}


def write_csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Write rows as CSV in UTF-8; shares, confidences and seconds with four decimals.

    No name is a formula to a spreadsheet or a command to a terminal; `predictions.jsonl` holds it unchanged.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_format(row[column]) for column in COLUMNS])
    return out.getvalue().encode("utf-8", "backslashreplace")


def _format(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    return guard_formula(value)
