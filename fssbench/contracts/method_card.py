"""The card of a method, which describes it; this module does not need torch."""

from __future__ import annotations

from typing import Literal

from fssbench.contracts.notes import Note
from fssbench.contracts.records import Record

NO_REFERENCE = "no reference; built from the paper"
"""What a card gives as its reference if the authors have published no code."""


class MethodCard(Record):
    """What a method is: for `show`, `list` and reports."""

    name: str
    """Id used on the command line."""
    title: str
    """Name as papers print it."""
    paper: str
    """Authors, title, venue."""
    year: int
    kind: Literal["prototype", "pixelwise", "adaptation", "other"]
    """How support and query are compared."""
    backbone: str
    """Backbone of the published figures."""
    size: int
    """Side of the square input in the reference code, in pixels."""
    trained: bool
    """Whether its own weights must be trained; False for training-free methods."""
    reference: str
    """Repository and commit of the reference code; `NO_REFERENCE` if none is public."""
    licence: str
    """Licence of the reference code ("none" if it has no licence file, or if there is no code)."""
    learnable: int | None = None
    """Number of learnable parameters with default settings on the backbone of the card.  A method without a reference
    states it, because nobody else can."""
    training: str = ""
    """Loss, optimiser and schedule of the reference, in one or two lines."""
    notes: tuple[Note, ...] = ()
    """Known faults of the reference and choices, each of a kind."""
    parity: tuple[str, ...] = ()
    """Files of reference outputs that the method reproduces, `STEM: what, to which tolerance`."""
    published: tuple[str, ...] = ()
    """Its ids in published tables, if they differ from its name."""
