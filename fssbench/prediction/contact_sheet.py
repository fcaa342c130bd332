"""The contact sheet: pages on which a person looks through all masks, examples first."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from fssbench.files.clean_text import clean_line
from fssbench.prediction.examples import Example
from fssbench.prediction.layout import list_output_files, name_page
from fssbench.prediction.pictures import THUMBNAIL_SIDE, draw_overlay, encode_jpeg
from fssbench.prediction.records import ImageRecord

PER_PAGE = 500
"""Images on one page."""
_FAILURES = 200
"""Images without a mask that the first page names; the table names all."""


@dataclass(frozen=True)
class SheetFacts:
    """Text in the head of the sheet."""

    title: str
    """Name of the method."""
    facts: dict[str, str]
    """Facts of the prediction, by name."""
    marks: tuple[str, ...]
    """Marks of the weights."""
    warnings: tuple[str, ...]


def write_sheet(
    head: SheetFacts,
    examples: Sequence[Example],
    records: Sequence[ImageRecord],
    failures: Sequence[tuple[str, str]],
) -> Iterator[tuple[str, bytes]]:
    """Write the pages of the contact sheet.

    Args:
        head: the head of each page.
        examples: the labelled examples, as they were read.
        records: the finished images.
        failures: images that could not be read, each with the problem.

    Yields:
        Name and content of each page.
    """
    environment = Environment(
        loader=PackageLoader("fssbench.prediction"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("contact_sheet.html.j2")
    shown = [_describe_example(example) for example in examples]
    parts = [records[start : start + PER_PAGE] for start in range(0, len(records), PER_PAGE)] or [[]]
    names = [name_page(number) for number in range(1, len(parts) + 1)]
    for number, part in enumerate(parts, start=1):
        text = template.render(
            head=head,
            examples=shown,
            images=[_describe_image(record) for record in part],
            failures=[(clean_line(file), clean_line(problem)) for file, problem in failures[:_FAILURES]],
            failed=len(failures),
            total=len(records),
            first=(number - 1) * PER_PAGE + 1,
            pages=[(n, name) for n, name in enumerate(names, start=1)] if len(names) > 1 else [],
            page=number,
        )
        yield names[number - 1], text.encode("utf-8", "backslashreplace")


def _describe_example(example: Example) -> dict[str, Any]:
    picture = draw_overlay(example.image, example.mask == 1, THUMBNAIL_SIDE)
    return {
        "name": clean_line(example.name),
        "source": f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(picture)).decode()}",
        "width": picture.width,
        "height": picture.height,
        "share": float((example.mask == 1).mean()),
        "doubts": [clean_line(doubt) for doubt in example.doubts],
    }


def _describe_image(record: ImageRecord) -> dict[str, Any]:
    mask, overlay, thumbnail = map(_make_link, list_output_files(record.name))
    scale = min(1.0, THUMBNAIL_SIDE / max(record.width, record.height))
    return {
        "name": clean_line(record.file),
        "mask": mask,
        "overlay": overlay,
        "thumbnail": thumbnail,
        "width": max(1, round(scale * record.width)),
        "height": max(1, round(scale * record.height)),
        "share": record.foreground,
        "confidence": record.confidence,
        "is_example": record.is_example,
        "differences": [clean_line(text) for text in record.differences.values()],
    }


def _make_link(path: str) -> str:
    """Make the link to a file beside the page, whatever its name holds."""
    return quote(os.fsencode(path))
