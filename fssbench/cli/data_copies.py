"""`fssbench data prepare NAME --size N`: shows how the resized copies are made."""

from __future__ import annotations

import time

import click

from fssbench.cli.output import escape_text
from fssbench.plural import describe_count


def make_resized_copies(name: str, size: int, data: str | None) -> None:
    """Make the resized copies of a data set, with progress, and print what was done.

    Args:
        name: id of the data set.
        size: side of the copies in pixels.
        data: the data folder.
    """
    from fssbench.data.fetch_places import format_bytes
    from fssbench.evaluation.resized_copies import make_copies
    from fssbench.progress import choose_display

    display = choose_display()
    began = time.monotonic()

    def show(done: int, total: int) -> None:
        display.show(done, total, f"copies of {name}", done / max(time.monotonic() - began, 1e-6))

    display.start(None)
    try:
        copies = make_copies(name, size, data=data, progress=show)
    finally:
        display.stop()
    stale = f", {copies.removed:,} stale ones removed" if copies.removed else ""
    click.echo(
        escape_text(
            f"{name}: {describe_count(copies.written, 'copy', 'copies')} of {size} px written, "
            f"{copies.there_already:,} already there{stale}; "
            f"{format_bytes(copies.bytes)} in {copies.folder}"
        )
    )
