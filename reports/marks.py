"""What keeps a number from being a benchmark number, as letters beside it and a legend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fssbench.api import Results

from .text import clean

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
EXPLAINED = {
    "miniature": "procedural miniature data: not benchmark numbers",
    "sample": "a sample of the data set",
    "capped": "fewer episodes than the protocol asks for",
    "untrained": "weights the method needs trained were left at random: says nothing about the method",
    "incomplete": "episodes are missing from the run",
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
class Mark:
    """One kind of mark, and every wording of it that occurs."""

    letter: str
    kind: str
    meaning: str
    wordings: tuple[str, ...]
    """As the runs have it; empty where they say no more than the kind."""


def kind(mark: str) -> str:
    """The first word of a mark, by which marks of different wording share a letter.

    "Other" says too little, so it is kept with the next word.
    """
    words = clean(mark).replace("(", " ").lower().split()
    count = 2 if words[:1] == ["other"] else 1
    return " ".join(words[:count]) or "marked"


def collect(marks: Iterable[str]) -> dict[str, Mark]:
    """Letters for all marks of a report, by kind, in order of first appearance."""
    wordings: dict[str, list[str]] = {}
    for mark in marks:
        seen = wordings.setdefault(kind(mark), [])
        if clean(mark) not in seen:
            seen.append(clean(mark))
    free = iter("abcdefghijklmnopqrstuvwxyz")
    return {
        name: Mark(
            _LETTERS.get(name) or next(free, "*"),
            name,
            EXPLAINED.get(name, ""),
            tuple(text for text in texts if text != name),
        )
        for name, texts in wordings.items()
    }


def letters(marks: Iterable[str], legend: dict[str, Mark]) -> str:
    """The letters of some marks, each once."""
    return "".join(dict.fromkeys(legend[kind(m)].letter for m in marks))


def missing_folds(ran: Iterable[int], missing: Iterable[int]) -> tuple[str, ...]:
    """The mark of a mean over some folds only; empty where all were run."""
    left = list(missing)
    if not left:
        return ()
    return (f"folds (mean over {', '.join(map(str, sorted(ran)))}; {', '.join(map(str, left))} not run)",)


def all_marks(results: Results) -> list[str]:
    """Every mark that occurs in a report."""
    found = [m for run in results.runs for m in run.marks]
    before = [c.before for c in results.changes.changes] if results.changes else []
    for cell in (*results.cells, *filter(None, before)):
        found += [*cell.marks, *missing_folds(cell.folds, cell.missing)]
    return found
