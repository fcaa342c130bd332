"""Ours beside the paper's: the difference, and whether the two measure the same thing."""

from __future__ import annotations

from dataclasses import dataclass

from fssbench.api import Cell, RunResult, UsageError, find_benchmark, row_title

from .marks import Mark, kind, letters
from .published import MEAN, Published, lookup
from .text import clean, interval, percent, signed

SELECTED_ON_TEST = {"hsnet", "vat", "dcama", "pmnet"}
"""Methods whose released training keeps the epoch that is best on the very episodes of the test."""
_OWN_LISTS = {"pascal5i", "coco20i"}
"""Benchmarks whose test episodes that training code meets."""


@dataclass(frozen=True)
class Check:
    """One thing that two figures must share to measure the same."""

    name: str
    ours: str
    paper: str
    same: bool | None
    """None if it is not known."""


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
    checks: tuple[Check, ...] = ()
    runs: tuple[str, ...] = ()
    """First twelve digits of the identities of our runs."""
    note: str = ""
    """What the paper's number is known for."""


def method_id(run: RunResult) -> str:
    """Id under which the published figures hold this method: name, then its ablations."""
    return "/".join([run.method.lower(), *sorted(run.ablations)])


def reasons(run: RunResult, marks: tuple[str, ...], printed: Published) -> tuple[str, ...]:
    """Every known difference between what a run and a printed number measure."""
    differences = []
    if run.backbone != printed.backbone:
        differences.append(f"backbone {clean(run.backbone)}, the paper's is {printed.backbone}")
    ours, theirs = run.benchmark.partition(":")[2], printed.benchmark.partition(":")[2]
    if ours != theirs:
        differences.append(f"variant {clean(ours) or 'none'}, the paper's is {theirs or 'not stated'}")
    if not run.protocol.startswith("published"):
        differences.append(f"protocol {clean(run.protocol)}, the paper's is the published one")
    if run.score_size != "input":
        differences.append(f"scored at {clean(run.score_size)} size, the paper's at network input size")
    same = {"as-published", *(("selected",) if _selected(printed) else ())}
    marks = tuple(m for m in marks if kind(m) not in same)
    return (*differences, *map(clean, marks))


def checks(run: RunResult, marks: tuple[str, ...], printed: Published) -> tuple[Check, ...]:
    """What a reader asks before putting a run beside a printed number, one by one."""
    ours, theirs = run.benchmark.partition(":")[2], printed.benchmark.partition(":")[2]
    kinds = {kind(m): clean(m) for m in marks}
    selected, paper_selected = "selected" in kinds, _selected(printed)
    seen, paper_seen = "trained" in kinds, _seen(printed)
    rest = [text for name, text in kinds.items() if name not in {"as-published", "selected", "trained"}]
    published = run.protocol.startswith("published")
    return (
        Check("backbone", clean(run.backbone), printed.backbone, run.backbone == printed.backbone),
        Check(
            "variant",
            clean(ours) or "only one",
            theirs or ("not stated" if ours else "only one"),
            ours == theirs,
        ),
        Check("protocol", clean(run.protocol), "published", published),
        Check("scored at", f"{clean(run.score_size)} size", "input size", run.score_size == "input"),
        Check(
            "selected on test",
            "yes" if selected else "not known",
            "yes" if paper_selected else "not stated",
            True if selected and paper_selected else False if selected else None,
        ),
        Check(
            "test classes seen in training",
            kinds["trained"] if seen else "none known",
            "not stated" if paper_seen is None else "some" if paper_seen else "none",
            None if paper_seen is None else seen == paper_seen,
        ),
        Check("data and training", "; ".join(rest) or "in full", "in full", not rest),
    )


def _selected(printed: Published) -> bool:
    return printed.id.partition("/")[0] in SELECTED_ON_TEST and printed.base in _OWN_LISTS


def _seen(printed: Published) -> bool | None:
    """Whether the published source model met tested classes in training; None if it is not known."""
    try:
        resolved = find_benchmark(printed.benchmark)
    except UsageError:
        return None
    if resolved.benchmark.variants and ":" not in printed.benchmark:
        return None
    if resolved.seen is not None:
        return any(resolved.seen)
    return False if resolved.benchmark.category == "cross-category" else None


def compare(cell: Cell, legend: dict[str, Mark]) -> list[Comparison]:
    """Put a cell beside the paper: its mean if all folds were run, else fold by fold."""
    run = next(iter(cell.folds.values()))
    candidates = [p for p in lookup(cell.benchmark, shot=cell.shot) if p.id == method_id(run)]
    chosen = [p for p in candidates if p.backbone == run.backbone] or candidates
    by_fold = {p.fold: p for p in reversed(chosen)}  # the first table that prints a number wins
    whole = not cell.missing
    figures = (
        [(MEAN, cell.miou, tuple(cell.folds.values()), cell.marks)]
        if whole
        else [(str(fold), r.miou, (r,), r.marks) for fold, r in sorted(cell.folds.items())]
    )
    out = []
    for fold, estimate, measured, marks in figures:
        if (printed := by_fold.get(fold)) is None:
            continue
        why = reasons(measured[0], marks, printed)
        out.append(
            Comparison(
                label=clean(row_title(cell)),
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
                checks=checks(measured[0], marks, printed),
                runs=tuple(clean(r.identity)[:12] for r in measured),
                note=printed.note,
            )
        )
    return out
