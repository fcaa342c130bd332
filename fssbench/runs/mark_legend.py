"""Letters beside a number that say what keeps it from being a benchmark number, and their legend.

The report and the table that ends `fssbench run` use the same letters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from fssbench.contracts.marks import Mark, MarkKind, parse_mark
from fssbench.files.clean_text import clean_line

_LETTERS = {
    "miniature": "M",
    "sample": "S",
    "capped": "C",
    "untrained": "U",
    "incomplete": "I",
    "folds": "F",
    "resized": "R",
    "doubtful": "D",
    "as-published": "A",
    "part-trained": "T",
    "other source": "O",
    "other episodes": "E",
    "other lists": "L",
    "other population": "P",
    "query": "Q",
    "selected": "V",
    "trained": "X",
    "joined": "J",
    "local": "W",
    "forced": "K",
    "code": "N",
    "classes": "G",
}
MARK_MEANINGS = {
    "miniature": "procedural miniature data: not benchmark numbers",
    "sample": "a sample of the data set",
    "capped": "fewer episodes than the protocol asks for",
    "untrained": "weights the method needs trained were left at random: says nothing about the method",
    "incomplete": "episodes are missing from the run",
    "shard": "one part of a run, to be joined with the others by `fssbench merge`",
    "classes": "mean over the classes that some episode met, not over all of the fold",
    "folds": "mean over the folds that were run, not over all",
    "random": "backbone or encoder with random weights",
    "local": "weights of a file or of the plugin, which no published id names",
    "forced": "the checkpoint was trained for another method or with other settings",
    "code": "the method is defined in no file: nobody can read what was measured",
    "resized": "the network saw another input size than published",
    "doubtful": "masks whose truth is in doubt, such as masks that are foreground everywhere",
    "as-published": "masks that the release leaves so, or objects that the published size does; counted as published",
    "part-trained": "trained on a part of the source data set: not the published model",
    "other source": "trained on another data set than the benchmark's source",
    "other episodes": "episodes of a plan file, which the protocol does not draw",
    "other lists": "the lists of images are not the reference's: other episodes",
    "other population": "the data set is not of the published size: other episodes",
    "query": "the query itself is among its supports, under another name",
    "selected": "the checkpoint was chosen on the test episodes",
    "trained": "classes or images that are tested here were seen in training",
    "joined": "folds of several commands, put together by date; they may be of two trainings or data versions",
}
"""What a mark means, by its kind."""


@dataclass(frozen=True)
class LegendMark:
    """One kind of mark, and every wording of it that occurs."""

    letter: str
    kind: str
    meaning: str
    wordings: tuple[str, ...]
    """Texts of the runs' marks; empty if they say no more than the kind."""


def missing_folds_marks(ran: Iterable[int], missing: Iterable[int]) -> tuple[Mark, ...]:
    """Return the mark of a mean over some folds only; empty if all were run.

    Example:
        >>> missing_folds_marks([0, 2], [1, 3])
        ('folds (mean over 0, 2; 1, 3 not run)',)
    """
    lacking = ", ".join(map(str, sorted(missing)))
    mean = f"mean over {', '.join(map(str, sorted(ran)))}; {lacking} not run"
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
    """Give each kind of mark a letter; kinds in the order in which they first appear."""
    wordings: dict[str, dict[str, None]] = {}
    for mark in marks:
        wordings.setdefault(mark_kind(mark), {})[clean_line(mark)] = None
    free = iter("abcdefghijklmnopqrstuvwxyz")
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
