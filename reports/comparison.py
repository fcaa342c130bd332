"""Ours beside the paper's: the difference, and whether the two measure the same thing."""

from __future__ import annotations

from dataclasses import dataclass

from fssbench.api import Cell, RunResult

from .marks import Mark, letters
from .published import MEAN, Published, lookup
from .text import clean, interval, percent, signed


@dataclass(frozen=True)
class Comparison:
    """One of our figures and the published one of the same method."""

    label: str
    backbone: str
    shot: int
    fold: str
    """`mean`, or the fold where a mean over all folds cannot be had."""
    ours: str
    marks: str
    """Letters of the legend."""
    interval: str
    printed: str
    paper_backbone: str
    source: str
    difference: str
    same: bool
    """Whether nothing is known that makes the two different measurements."""
    reasons: tuple[str, ...]
    """What makes them differ, and what the paper's number is known for."""


def method_id(run: RunResult) -> str:
    """Id under which the published figures hold this method: name, then its ablations."""
    return "/".join([run.method.lower(), *sorted(run.ablations)])


def reasons(run: RunResult, marks: tuple[str, ...], printed: Published) -> tuple[str, ...]:
    """Every known difference between what a run and a printed number measure."""
    found = []
    if run.backbone != printed.backbone:
        found.append(f"backbone {clean(run.backbone)}, the paper's is {printed.backbone}")
    ours, theirs = run.benchmark.partition(":")[2], printed.benchmark.partition(":")[2]
    if ours != theirs:
        found.append(f"variant {clean(ours) or 'none'}, the paper's is {theirs or 'not stated'}")
    if not run.protocol.startswith("published"):
        found.append(f"protocol {clean(run.protocol)}, the paper's is the published one")
    if run.score_size != "input":
        found.append(f"scored at {clean(run.score_size)} size, the paper's at network input size")
    return (*found, *map(clean, marks))


def compare(cell: Cell, legend: dict[str, Mark]) -> list[Comparison]:
    """Put a cell beside the paper: its mean where all folds were run, else fold by fold."""
    run = next(iter(cell.folds.values()))
    candidates = [p for p in lookup(cell.benchmark, shot=cell.shot) if p.id == method_id(run)]
    chosen = [p for p in candidates if p.backbone == run.backbone] or candidates
    by_fold = {p.fold: p for p in reversed(chosen)}  # the first table that prints a number wins
    whole = not cell.missing
    figures = (
        [(MEAN, cell.miou, run, cell.marks)]
        if whole
        else [(str(fold), r.miou, r, r.marks) for fold, r in sorted(cell.folds.items())]
    )
    out = []
    for fold, estimate, measured, marks in figures:
        if (printed := by_fold.get(fold)) is None:
            continue
        why = reasons(measured, marks, printed)
        out.append(
            Comparison(
                label=clean(cell.label),
                backbone=clean(cell.backbone),
                shot=cell.shot,
                fold=fold,
                ours=percent(estimate.value),
                marks=letters(marks, legend),
                interval=interval(estimate),
                printed=printed.value,
                paper_backbone=printed.backbone,
                source=printed.source,
                difference=signed(estimate.value - printed.number),
                same=not why,
                reasons=(*why, *([f"paper: {printed.note}"] if printed.note else [])),
            )
        )
    return out
