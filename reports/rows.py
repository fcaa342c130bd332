"""The two tables that programs read, as columns of plain values: CSV and Parquet write the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fssbench.api import (
    Cell,
    Estimate,
    Results,
    RunResult,
    evidence_of,
    planned_episodes,
    row_title,
    with_names,
)

from .comparison import compare
from .marks import collect, missing_folds
from .published import MEAN
from .text import clean

RESULTS: dict[str, type] = {
    "row": str,
    "benchmark": str,
    "method": str,
    "label": str,
    "name": str,
    "ablations": str,
    "backbone": str,
    "weights": str,
    "protocol": str,
    "score_size": str,
    "seed": int,
    "shot": int,
    "fold": str,
    "miou": float,
    "miou_low": float,
    "miou_high": float,
    "fb_iou": float,
    "fb_iou_low": float,
    "fb_iou_high": float,
    "episodes": int,
    "planned": int,
    "queries": int,
    "fewest_queries_in_a_class": int,
    "too_few_queries": int,
    "learnable": int,
    "parameters": int,
    "seconds_per_episode": float,
    "best": int,
    "tied": int,
    "marks": str,
    "absent_classes": str,
    "paper_miou": float,
    "same_as_paper": int,
    "identity": str,
    "plan_sha256": str,
    "run": str,
    "resamples": int,
    "bootstrap_seed": int,
}
"""Columns of `results`: one line a mean over folds (`row` is `mean`) and one a run (`run`).

`name` tells rows of one benchmark, backbone and shot apart; a run has the name of its row."""

EPISODES: dict[str, type] = {
    "run": str,
    "benchmark": str,
    "method": str,
    "label": str,
    "backbone": str,
    "fold": int,
    "shot": int,
    "seed": int,
    "index": int,
    "class_id": int,
    "class_name": str,
    "query": str,
    "inter_background": int,
    "inter_foreground": int,
    "union_background": int,
    "union_foreground": int,
    "target": int,
}
"""Columns of `episodes`: one line an episode of a run, pixels as they were counted."""


def result_rows(results: Results) -> list[dict[str, Any]]:
    """Lines of `results`: first the cells, then the runs; None where a line has no such value."""
    results = with_names(results)
    names: dict[str, list[str]] = {}
    for cell in results.cells:
        for run in cell.folds.values():
            names.setdefault(run.identity, []).append(row_title(cell))
    rows = [_of_cell(cell, results) for cell in results.cells]
    rows += [
        _of_run(run, results) | {"name": "; ".join(names.get(run.identity, [run.label]))}
        for run in results.runs
    ]
    return [{name: _value(row.get(name)) for name in RESULTS} for row in rows]


def episode_columns(run: RunResult) -> dict[str, Sequence[Any]]:
    """Columns of `episodes` for one run, (N,) each, in the order of the episode index."""
    names = dict(zip(run.classes, run.class_names, strict=False))
    same = {
        "run": clean(run.slug),
        "benchmark": clean(run.benchmark),
        "method": clean(run.method),
        "label": clean(run.label),
        "backbone": clean(run.backbone),
        "fold": run.fold,
        "shot": run.shot,
        "seed": run.seed,
    }
    ids = run.class_ids.tolist()
    cleaned = {c: clean(names.get(c, f"class {c}")) for c in set(ids)}
    columns: dict[str, Sequence[Any]] = {name: [value] * len(ids) for name, value in same.items()}
    return columns | {
        "index": run.indices.tolist(),
        "class_id": ids,
        "class_name": [cleaned[c] for c in ids],
        "query": [clean(query) for query in run.queries],
        "inter_background": run.inter[:, 0].tolist(),
        "inter_foreground": run.inter[:, 1].tolist(),
        "union_background": run.union[:, 0].tolist(),
        "union_foreground": run.union[:, 1].tolist(),
        "target": run.target.tolist(),
    }


def _value(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return clean(value) if isinstance(value, str) else value


def _figures(miou: Estimate, fb_iou: Estimate) -> dict[str, float]:
    return {
        "miou": miou.value,
        "miou_low": miou.low,
        "miou_high": miou.high,
        "fb_iou": fb_iou.value,
        "fb_iou_low": fb_iou.low,
        "fb_iou_high": fb_iou.high,
    }


def _evidence(runs: Sequence[RunResult]) -> dict[str, int]:
    """Distinct queries behind a figure, and whether they are too few for an interval and a verdict."""
    evidence = evidence_of(runs)
    return {
        "queries": evidence.queries,
        "fewest_queries_in_a_class": evidence.fewest,
        "too_few_queries": int(not evidence.enough),
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
        "fold": str(run.fold),
        "episodes": run.episodes,
        "planned": run.planned,
        **_evidence([run]),
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
        "name": row_title(cell),
        **_figures(cell.miou, cell.fb_iou),
        "fold": MEAN,
        "episodes": cell.episodes,
        "planned": planned_episodes(runs),
        **_evidence(runs),
        "best": int(cell.best),
        "tied": int(cell.tied),
        "marks": "; ".join([*cell.marks, *missing_folds(cell.folds, cell.missing)]),
        "paper_miou": float(beside.printed) if beside else None,
        "same_as_paper": int(beside.same) if beside else None,
        "run": " ".join(run.slug for run in runs),
    }
