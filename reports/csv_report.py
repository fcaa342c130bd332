"""CSV at full precision: one line a run and one a mean over folds, for other programs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from fssbench.api import Cell, Estimate, Reporter, Results, RunResult

from .comparison import compare
from .marks import collect, missing_folds
from .published import MEAN
from .text import clean

COLUMNS = (
    "row",
    "benchmark",
    "method",
    "label",
    "ablations",
    "backbone",
    "weights",
    "protocol",
    "score_size",
    "seed",
    "shot",
    "fold",
    "miou",
    "miou_low",
    "miou_high",
    "fb_iou",
    "fb_iou_low",
    "fb_iou_high",
    "episodes",
    "planned",
    "learnable",
    "parameters",
    "seconds_per_episode",
    "best",
    "tied",
    "marks",
    "absent_classes",
    "paper_miou",
    "same_as_paper",
    "identity",
    "plan_sha256",
    "run",
    "resamples",
    "bootstrap_seed",
)


class CsvReporter(Reporter):
    """`results.csv`: numbers unrounded; `row` is `run` or `mean`."""

    name = "csv"
    title = "CSV, one line a run and a mean, full precision"

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `results.csv`."""
        target = folder / "results.csv"
        with target.open("w", encoding="utf-8", newline="") as file:
            lines = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
            lines.writeheader()
            for cell in results.cells:
                lines.writerow(_written(_of_cell(cell, results)))
            for run in results.runs:
                lines.writerow(_written(_of_run(run, results)))
        return [target]


def guard(text: object) -> str:
    """Text that no spreadsheet takes for a formula.

    Example:
        >>> guard("=cmd()"), guard("pmnet")
        ("'=cmd()", 'pmnet')
    """
    plain = clean(text)
    return f"'{plain}" if plain.lstrip()[:1] in {"=", "+", "-", "@", "＝", "＋", "－", "＠"} else plain


def _written(row: dict[str, Any]) -> dict[str, Any]:
    """Guard text, leave numbers alone; nan is left empty."""
    return {
        key: guard(value) if isinstance(value, str) else "" if value != value else value
        for key, value in row.items()
    }


def _figures(miou: Estimate, fb_iou: Estimate) -> dict[str, float]:
    return {
        "miou": miou.value,
        "miou_low": miou.low,
        "miou_high": miou.high,
        "fb_iou": fb_iou.value,
        "fb_iou_low": fb_iou.low,
        "fb_iou_high": fb_iou.high,
    }


def _common(run: RunResult, results: Results) -> dict[str, Any]:
    return {
        "benchmark": run.benchmark,
        "method": run.method,
        "label": run.label,
        "ablations": " ".join(run.ablations),
        "backbone": run.backbone,
        "weights": run.weights,
        "protocol": run.protocol,
        "score_size": run.score_size,
        "seed": run.seed,
        "shot": run.shot,
        "learnable": run.learnable,
        "parameters": run.parameters,
        "resamples": results.resamples,
        "bootstrap_seed": results.bootstrap_seed,
    }


def _of_run(run: RunResult, results: Results) -> dict[str, Any]:
    names = dict(zip(run.classes, run.class_names, strict=False))
    return {
        "row": "run",
        **_common(run, results),
        **_figures(run.miou, run.fb_iou),
        "fold": run.fold,
        "episodes": run.episodes,
        "planned": run.planned,
        "seconds_per_episode": run.seconds,
        "marks": "; ".join(run.marks),
        "absent_classes": "; ".join(names.get(c, str(c)) for c in run.absent),
        "identity": run.identity,
        "plan_sha256": run.plan_sha256,
        "run": run.slug,
    }


def _of_cell(cell: Cell, results: Results) -> dict[str, Any]:
    runs = list(cell.folds.values())
    legend = collect([*cell.marks, *(mark for run in runs for mark in run.marks)])
    beside = next((c for c in compare(cell, legend) if c.fold == MEAN), None)
    return {
        "row": MEAN,
        **_common(runs[0], results),
        **_figures(cell.miou, cell.fb_iou),
        "fold": MEAN,
        "episodes": cell.episodes,
        "planned": sum(run.planned for run in runs),
        "best": int(cell.best),
        "tied": int(cell.tied),
        "marks": "; ".join([*cell.marks, *missing_folds(cell.folds, cell.missing)]),
        "paper_miou": float(beside.printed) if beside else "",
        "same_as_paper": int(beside.same) if beside else "",
        "run": " ".join(run.slug for run in runs),
    }
