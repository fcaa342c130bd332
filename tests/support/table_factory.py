"""Makes synthetic cells for tests of comparisons: counts are drawn from a seed, without a run on disk.

Tests use the fixture `table` (tests/conftest.py).  Episodes depend on benchmark, fold, shot and seed alone,
intersections also on the method.  So methods share a plan, as in real runs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from manifests import make_manifest, record_marks

from fssbench.analysis.matching import restrict_to
from fssbench.api import Cell, Estimate, Results, RunResult
from fssbench.metrics import score

UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"))


def make_sha(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def make_run(
    method: str = "a",
    benchmark: str = "bench",
    *,
    fold: int = 0,
    shot: int = 1,
    seed: int = 0,
    skill: float = 0.6,
    noise: float = 0.05,
    episodes: int = 120,
    classes: int = 5,
    queries: int | None = None,
    head: str = "head",
    lists: str = "",
    block: dict[str, Any] | None = None,
    **changes: Any,
) -> RunResult:
    """Make a run; `lists` draws other episodes with the same settings, `queries` is the number of distinct queries."""
    place = [*f"{benchmark}{lists}".encode(), fold, shot, seed]
    plan = np.random.default_rng(place)
    own = np.random.default_rng([*place, *f"{method}{head}".encode()])
    rows = np.arange(episodes) % (queries or episodes)
    ids = plan.integers(0, classes, episodes)[rows]
    target = plan.integers(500, 40_000, episodes)[rows]
    outside = plan.integers(0, 5_000, episodes)[rows]
    hard = plan.normal(0, 0.2, episodes)[rows]
    share = np.clip(skill + hard + own.normal(0, noise, episodes), 0, 1)
    inter = (target * share).astype(np.int64)
    union = target + outside
    counts = np.stack([100_000 - union, inter], axis=1), np.stack([100_000 - inter, union], axis=1)
    plain = score(ids, *counts, range(classes))
    blocks = {
        "fold": fold,
        "seed": seed,
        "head_sha256": make_sha(method, head),
        "data_sha256": make_sha(benchmark, lists, fold, shot, seed),
        "absent": "zero",
        "size": 400,
        "dataset_variant": None,
        "config": {},
        **(block or {}),
    }
    identity = make_sha(method, benchmark, fold, shot, seed, head, lists, episodes, blocks, changes)
    run = RunResult(
        slug=f"{benchmark}-f{fold}-k{shot}-{method}-{identity[:8]}",
        path=Path("runs") / identity[:8],
        identity=identity,
        benchmark=benchmark,
        method=method,
        label=method,
        ablations=(),
        backbone="resnet50",
        weights="resnet50.tv_v1",
        fold=fold,
        shot=shot,
        seed=seed,
        protocol="published/1",
        score_size="input",
        plan_sha256=make_sha(benchmark, fold, shot, seed, lists, episodes),
        classes=tuple(range(classes)),
        class_names=tuple(f"class {c}" for c in range(classes)),
        planned=episodes,
        learnable=0,
        parameters=0,
        seconds=0.1,
        marks=(),
        miou=replace(UNKNOWN, value=plain.miou),
        fb_iou=replace(UNKNOWN, value=plain.fb_iou),
        per_class=plain.per_class,
        absent=plain.absent,
        class_ids=ids,
        inter=counts[0],
        union=counts[1],
        target=target,
        indices=np.arange(episodes),
        queries=tuple(f"{benchmark}{lists}-{i}" for i in rows),
        manifest=make_manifest(**blocks),
        supports=tuple((f"s{i}",) for i in range(episodes)),
    )
    return record_marks(replace(run, **changes))


def keep_episodes(run: RunResult, rows: Any) -> RunResult:
    """Return the run with only these episodes counted."""
    kept = restrict_to(run, np.asarray(rows))
    plain = score(kept.class_ids, kept.inter, kept.union, kept.classes)
    return replace(kept, miou=replace(UNKNOWN, value=plain.miou))


def make_cell(*runs: RunResult, missing: tuple[int, ...] = ()) -> Cell:
    """Make the cell of one method's folds."""
    first = runs[0]
    return Cell(
        benchmark=first.benchmark,
        label=first.label,
        method=first.method,
        backbone=first.backbone,
        shot=first.shot,
        seed=first.seed,
        protocol=first.protocol,
        folds={run.fold: run for run in runs},
        missing=missing,
        miou=replace(UNKNOWN, value=float(np.mean([run.miou.value for run in runs]))),
        fb_iou=replace(UNKNOWN, value=float(np.mean([run.fb_iou.value for run in runs]))),
        episodes=sum(run.episodes for run in runs),
        marks=(),
    )


def make_results(*cells: Cell | RunResult, resamples: int = 200) -> Results:
    """Make results of these cells; a run alone becomes a cell of one fold."""
    table = tuple(make_cell(c) if isinstance(c, RunResult) else c for c in cells)
    runs = tuple(run for cell in table for run in cell.folds.values())
    return Results(runs, table, resamples=resamples, bootstrap_seed=0)
