"""The card of a method, which describes it; this module does not need torch."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from fssbench.contracts.notes import Note
from fssbench.contracts.records import Record

NO_REFERENCE = "no reference; built from the paper"
"""What a card gives as its reference if the authors have published no code."""


BOUND = "bound"
"""Kind of a lower bound."""


class Information(StrEnum):
    """What a method reads at test time."""

    SUPPORTS = "supports"
    """The K support images with their masks."""
    QUERY = "query"
    """The query image, and no other query."""
    CLASS_NAME = "class name"
    """The name of the episode's class, as a text prompt."""
    OTHER_QUERIES = "other queries"
    """Further images of the test set, without labels."""
    DOMAIN = "images of the domain"
    """Images of the tested domain, without labels, before the test."""


USUAL_INFORMATION = (Information.SUPPORTS, Information.QUERY)
"""What every method of the setting reads.  A method that reads more is marked, and stands apart in reports."""


class MethodCard(Record):
    """What a method is: for `show`, `list` and reports."""

    name: str
    """Id used on the command line."""
    title: str
    """Name as papers print it."""
    paper: str
    """Authors, title, venue."""
    year: int
    kind: Literal["prototype", "pixelwise", "adaptation", "other", "bound"]
    """How support and query are compared; `bound` for a lower bound, which is measured and never the best."""
    backbone: str
    """Backbone of the published figures."""
    size: int
    """Side of the square input in the reference code, in pixels."""
    input_size: int | None = Field(None, ge=1)
    """Side of the square input that the method always gets, in pixels, such as 1024 for SAM; the score is still counted
    at the size of the protocol.  None for the size of the protocol."""
    pixels: Literal["normalised", "raw"] = "normalised"
    """Values that an image method gets: normalised with ImageNet's mean and deviation, or raw from 0 to 1."""
    reads: tuple[Information, ...] = USUAL_INFORMATION
    """What it reads at test time.  A method that reads the class name is given it as `class_names`."""
    answer: Literal["scores", "mask"] = "scores"
    """What its logits say: a score per pixel, or a mask alone, with logits of two values.  Curves over thresholds say
    nothing about a mask."""
    trained: bool
    """Whether its own weights must be trained; False for training-free methods."""
    reference: str
    """Repository and commit of the reference code; `NO_REFERENCE` if none is public."""
    licence: str
    """Licence of the reference code ("none" if it has no licence file, or if there is no code)."""
    pretraining: str = ""
    """Data that an encoder was trained on which the method brings itself, such as `WIT-400M`."""
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

    @property
    def further_information(self) -> tuple[Information, ...]:
        """What it reads besides its supports and one query."""
        return tuple(each for each in self.reads if each not in USUAL_INFORMATION)
