"""Compares our figures with the paper's: the difference, and whether both measure the same thing."""

from __future__ import annotations

from dataclasses import dataclass

from fssbench.api import (
    Cell,
    LegendMark,
    RunResult,
    UsageError,
    find_benchmark,
    mark_kind,
    mark_letters,
    row_title,
)

from .published import MEAN, Published, find_published
from .text import clean, format_difference, format_interval, format_percent

SELECTED_ON_TEST = {"hsnet", "vat", "dcama", "pmnet"}
"""Methods whose released training keeps the epoch with the best result on the test episodes."""
_OWN_LISTS = {"pascal5i", "coco20i"}
"""Benchmarks whose test episodes the released training codes use."""


@dataclass(frozen=True)
class Check:
    """One fact that must agree if two figures measure the same thing."""

    name: str
    ours: str
    paper: str
    same: bool | None
    """Whether both agree.  None if it is not known."""


@dataclass(frozen=True)
class Comparison:
    """One of our figures beside the published figure of the same method."""

    label: str
    backbone: str
    shot: int
    fold: str
    """`mean`, or the fold if not all folds were run."""
    ours: str
    marks: str
    """Letters of the legend."""
    interval: str
    printed: str
    paper_backbone: str
    source: str
    difference: str
    same: bool
    """Whether no difference between the two measurements is known."""
    reasons: tuple[str, ...]
    """Differences between the two measurements, and remarks on the paper's figure."""
    checks: tuple[Check, ...] = ()
    runs: tuple[str, ...] = ()
    """First twelve digits of the identities of our runs."""
    note: str = ""
    """Remarks on the paper's figure."""


def make_method_id(run: RunResult) -> str:
    """Return the id of the method in the published figures: its name, then its ablations."""
    return "/".join([run.method.lower(), *sorted(run.ablations)])


def list_differences(run: RunResult, marks: tuple[str, ...], printed: Published) -> tuple[str, ...]:
    """List every known difference between what a run and a printed figure measure."""
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
    same = {"as-published", *(("selected",) if _is_selected_on_test(printed) else ())}
    marks = tuple(m for m in marks if mark_kind(m) not in same)
    return (*differences, *map(clean, marks))


def list_checks(run: RunResult, marks: tuple[str, ...], printed: Published) -> tuple[Check, ...]:
    """List the facts that must agree, each with its value in the run and in the paper."""
    ours, theirs = run.benchmark.partition(":")[2], printed.benchmark.partition(":")[2]
    kinds = {mark_kind(m): clean(m) for m in marks}
    selected, paper_selected = "selected" in kinds, _is_selected_on_test(printed)
    saw_test_classes, paper_saw_test_classes = "trained" in kinds, _saw_test_classes(printed)
    other_marks = [
        text for name, text in kinds.items() if name not in {"as-published", "selected", "trained"}
    ]
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
            kinds["trained"] if saw_test_classes else "none known",
            "not stated" if paper_saw_test_classes is None else "some" if paper_saw_test_classes else "none",
            None if paper_saw_test_classes is None else saw_test_classes == paper_saw_test_classes,
        ),
        Check("data and training", "; ".join(other_marks) or "in full", "in full", not other_marks),
    )


def _is_selected_on_test(printed: Published) -> bool:
    return printed.id.partition("/")[0] in SELECTED_ON_TEST and printed.base in _OWN_LISTS


def _saw_test_classes(printed: Published) -> bool | None:
    """Return whether the published source model saw test classes in training, or None if it is not known."""
    try:
        resolved = find_benchmark(printed.benchmark)
    except UsageError:
        return None
    if resolved.benchmark.variants and ":" not in printed.benchmark:
        return None
    if resolved.seen is not None:
        return any(resolved.seen)
    return False if resolved.benchmark.category == "cross-category" else None


def compare_with_paper(cell: Cell, legend: dict[str, LegendMark]) -> list[Comparison]:
    """Compare a cell with the paper: its mean if all folds were run, else each fold."""
    run = next(iter(cell.folds.values()))
    candidates = [p for p in find_published(cell.benchmark, shot=cell.shot) if p.id == make_method_id(run)]
    printed_numbers = [p for p in candidates if p.backbone == run.backbone] or candidates
    by_fold = {p.fold: p for p in reversed(printed_numbers)}  # the first table that prints a number wins
    complete = not cell.missing
    figures = (
        [(MEAN, cell.miou, tuple(cell.folds.values()), cell.marks)]
        if complete
        else [(str(fold), r.miou, (r,), r.marks) for fold, r in sorted(cell.folds.items())]
    )
    comparisons = []
    for fold, estimate, measured, marks in figures:
        if (printed := by_fold.get(fold)) is None:
            continue
        differences = list_differences(measured[0], marks, printed)
        comparisons.append(
            Comparison(
                label=clean(row_title(cell)),
                backbone=clean(cell.backbone),
                shot=cell.shot,
                fold=fold,
                ours=format_percent(estimate.value),
                marks=mark_letters(marks, legend),
                interval=format_interval(estimate),
                printed=printed.value,
                paper_backbone=printed.backbone,
                source=printed.source,
                difference=format_difference(estimate.value - printed.number),
                same=not differences,
                reasons=(*differences, *([f"paper: {printed.note}"] if printed.note else [])),
                checks=list_checks(measured[0], marks, printed),
                runs=tuple(clean(r.identity)[:12] for r in measured),
                note=printed.note,
            )
        )
    return comparisons
