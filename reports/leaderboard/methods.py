"""The page of a method: its figures, its card, and every form in which it was run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from fssbench.api import (
    Cell,
    LegendMark,
    PluginError,
    Results,
    RunResult,
    UsageError,
    first_run,
    read_method_card,
    row_title,
)

from ..content.model import Entry, build_mean_entry, find_title
from ..content.provenance import RunLine, describe_run
from ..content.text import NOTHING, clean, format_count, format_interval, format_percent
from .names import name_page

_CARD = {
    "title": "Name",
    "paper": "Paper",
    "year": "Year",
    "kind": "Kind",
    "backbone": "Backbone of the published figures",
    "size": "Input of the reference code (px)",
    "trained": "Has weights to train",
    "training": "Training of the reference",
    "reference": "Reference code",
    "licence": "Licence of the reference",
}


@dataclass(frozen=True)
class MethodFigure:
    """One cell of the method."""

    benchmark: str
    title: str
    page: str
    label: str
    backbone: str
    shot: int
    miou: Entry
    fb_iou: Entry
    episodes: str
    detail: str
    standing: str


@dataclass(frozen=True)
class Variant:
    """One form in which the method was run."""

    label: str
    backbone: str
    weights: str
    checkpoint: str
    learnable: str
    settings: str
    marks: tuple[str, ...]


@dataclass(frozen=True)
class MethodPage:
    """Everything on a method's page."""

    name: str
    title: str
    card: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    missing: str
    """Reason why there is no card.  Empty if there is one."""
    figures: tuple[MethodFigure, ...]
    variants: tuple[Variant, ...]
    runs: tuple[RunLine, ...]


def make_method_page(name: str, results: Results, legend: dict[str, LegendMark]) -> MethodPage:
    """Make the page of a method that occurs in the results."""
    cells = [cell for cell in results.cells if cell.method == name]
    runs = [run for cell in cells for run in cell.folds.values()]
    card, notes, missing = _read_card(name)
    recorded = next((title for run in runs if (title := run.manifest.context.title)), name)
    return MethodPage(
        name=clean(name),
        title=dict(card).get("Name") or clean(recorded),
        card=card,
        notes=notes,
        missing=missing,
        figures=tuple(_make_figure(cell, legend) for cell in cells),
        variants=tuple(dict.fromkeys(map(_make_variant, runs))),
        runs=tuple(describe_run(run, legend) for run in runs),
    )


def read_card_kind(name: str) -> str:
    """Return the kind on the card of an installed method, or nothing if the method is not installed."""
    return dict(_read_card(name)[0]).get(_CARD["kind"], "")


@cache
def _read_card(name: str) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...], str]:
    """Read the card of the installed method: facts, notes, and the reason why there is none."""
    try:
        card = read_method_card(name)
    except (UsageError, PluginError):
        return (
            (),
            (),
            "The card is not shown, because this method was not installed where the site was built.",
        )
    facts = [(title, getattr(card, key)) for key, title in _CARD.items()]
    plain = [(k, {True: "yes", False: "no"}.get(v, v) if isinstance(v, bool) else v) for k, v in facts]
    return (
        tuple((k, clean(v)) for k, v in plain if v != ""),
        tuple(clean(str(note)) for note in card.notes),
        "",
    )


def _make_figure(cell: Cell, legend: dict[str, LegendMark]) -> MethodFigure:
    run = first_run(cell)
    miou = build_mean_entry(cell, legend)
    return MethodFigure(
        benchmark=clean(cell.benchmark),
        title=find_title(cell),
        page=name_page("benchmark", cell.benchmark),
        label=clean(row_title(cell)),
        backbone=clean(cell.backbone),
        shot=cell.shot,
        miou=miou,
        fb_iou=Entry(format_percent(cell.fb_iou.value), format_interval(cell.fb_iou), miou.marks),
        episodes=format_count(cell.episodes),
        detail=f"{clean(cell.protocol)}, seed {cell.seed}, scored at {clean(run.score_size)} size",
        standing=_describe_standing(cell),
    )


def _describe_standing(cell: Cell) -> str:
    if cell.best:
        return "best"
    return "not significantly worse than the best" if cell.tied else cell.miou.shortage or NOTHING


def _make_variant(run: RunResult) -> Variant:
    context, settings = run.manifest.context, run.manifest.block.config
    checkpoint, digest = context.checkpoint, (context.checkpoint_sha256 or "")[:12]
    return Variant(
        label=clean(run.label),
        backbone=clean(run.backbone),
        weights=clean(run.weights),
        checkpoint=clean(f"{checkpoint} ({digest})") if checkpoint else "none",
        learnable=f"{run.learnable / 1e6:.2f}",
        settings=clean(", ".join(f"{key}={value}" for key, value in sorted(settings.items()))) or "none",
        marks=tuple(map(clean, run.marks)),
    )
