"""Letters beside a figure that show why it is not a benchmark figure, and their legend.

The report and the table that ends `fssbench run` use the same letters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_lowercase

from fssbench.contracts.marks import Mark, MarkKind, parse_mark
from fssbench.files.clean_text import clean_line

_LETTERS = {
    "miniature": "M",
    "own data": "Y",
    "sample": "S",
    "capped": "C",
    "untrained": "U",
    "incomplete": "I",
    "folds": "F",
    "resized": "R",
    "own input size": "Z",
    "more information": "H",
    "doubtful": "D",
    "as-published": "A",
    "part-trained": "T",
    "other source": "O",
    "other episodes": "E",
    "other lists": "L",
    "other population": "P",
    "query": "Q",
    "repeated supports": "r",
    "copied queries": "q",
    "support sets": "B",
    "selected": "V",
    "trained": "X",
    "joined": "J",
    "local": "W",
    "forced": "K",
    "code": "N",
    "classes": "G",
    "bfloat16": "p",
    "batch": "b",
}
MARK_MEANINGS = {
    "miniature": "the data are procedural drawings, so the figures are not benchmark figures",
    "own data": "the images are the user's own, so there is no published figure to compare with",
    "sample": "the data are a sample of the data set",
    "capped": "the run has fewer episodes than the protocol",
    "untrained": "the method needs trained weights but has random ones, so the figures say nothing about it",
    "incomplete": "episodes of the run are missing",
    "shard": "the run is one part of a run; `fssbench merge` joins the parts",
    "classes": "the mean is over the classes with an episode, not over all classes of the fold",
    "folds": "the mean is over the folds that were run, not over all folds",
    "random": "the backbone or encoder has random weights",
    "local": "the weights come from a file or from the plugin and have no published id",
    "forced": "the checkpoint was trained for another method or with other settings",
    "code": "the method is not defined in a file, so its code cannot be read later",
    "resized": "the input size differs from that of the benchmark",
    "own input size": "the method gets images at a size of its own; the score is counted at the size of the protocol",
    "more information": "the method reads more than supports and one query",
    "doubtful": "some masks may be wrong, such as masks that are foreground everywhere",
    "as-published": "masks have faults as released, or objects vanish at the published size; counted as published",
    "part-trained": "the weights were trained on fewer or other images than those of the published model, "
    "so the figures do not show how good that model is",
    "other source": "the checkpoint was trained on another data set than the source of the benchmark",
    "other episodes": "the episodes come from a plan file, and the protocol draws others",
    "other lists": "the lists of images differ from the reference lists, so the episodes differ",
    "other population": "the data set does not have the published size, so the episodes differ",
    "support sets": "each query is asked with several support sets, and the figure is their mean",
    "bfloat16": "products and convolutions were computed in bfloat16 instead of float32, see `--precision`",
    "batch": "several episodes were predicted together, see `--batch`",
    "query": "the query is also among its supports, under another name",
    "repeated supports": "some episodes show a support several times, because `published` draws with replacement; "
    "`--protocol fssbench` draws different images",
    "copied queries": "some queries are copies of another query under another name, so fewer are different than are "
    "counted, and intervals are too narrow",
    "selected": "the checkpoint was chosen on the test episodes",
    "trained": "tested classes or images were seen in training",
    "joined": "folds of several commands were joined by date; they may come from two trainings or data versions",
}
"""Meaning of each kind of mark."""


@dataclass(frozen=True)
class LegendMark:
    """One kind of mark, with all its wordings in the runs."""

    letter: str
    kind: str
    meaning: str
    wordings: tuple[str, ...]
    """Texts of the marks in the runs; empty if they equal the kind."""


def missing_folds_marks(folds_run: Iterable[int], missing: Iterable[int]) -> tuple[Mark, ...]:
    """Return the mark of a mean over some folds only; empty if all were run.

    Example:
        >>> missing_folds_marks([0, 2], [1, 3])
        ('folds (mean over 0, 2; 1, 3 not run)',)
    """
    lacking = ", ".join(map(str, sorted(missing)))
    mean = f"mean over {', '.join(map(str, sorted(folds_run)))}; {lacking} not run"
    return (Mark(MarkKind.FOLDS, mean),) if lacking else ()


@lru_cache(maxsize=1 << 12)
def mark_kind(mark: str) -> str:
    """Return the name under which legends list a mark.  Marks of one name share a letter.

    Example:
        >>> mark_kind("capped (8 of 600 episodes)"), mark_kind("random backbone")
        ('capped', 'random')
    """
    return parse_mark(clean_line(mark).lower()).family or "marked"


def build_legend(marks: Iterable[str]) -> dict[str, LegendMark]:
    """Give each kind of mark a letter, in the order in which the kinds first appear."""
    wordings: dict[str, dict[str, None]] = {}
    for mark in marks:
        wordings.setdefault(mark_kind(mark), {})[clean_line(mark)] = None
    free = (letter for letter in ascii_lowercase if letter not in _LETTERS.values())
    return {
        kind: LegendMark(
            _LETTERS.get(kind) or next(free, "*"),
            kind,
            MARK_MEANINGS.get(kind, ""),
            tuple(text for text in texts if text != kind),
        )
        for kind, texts in wordings.items()
    }


def mark_letters(marks: Iterable[str], legend: dict[str, LegendMark]) -> str:
    """Return the letters of some marks, each once."""
    return "".join(dict.fromkeys(legend[mark_kind(mark)].letter for mark in marks))
