"""Makes synthetic results with real counts and intervals, without a run on disk."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from manifests import make_manifest, record_marks
from PIL import Image, ImageDraw

from fssbench.analysis.comparisons import verdicts
from fssbench.analysis.statistics import estimate_of_runs, mean_sample
from fssbench.api import Cell, Panel, Pictures, Results, RunResult
from fssbench.metrics import score
from fssbench.runs.mark_legend import missing_folds_marks

CLASS_NAMES = ("aeroplane", "bicycle", "bird", "boat", "bottle")
MACHINE = {"python": "3.11.7", "packages": {"torch": "2.13.0"}, "threads": 1}
SKILL = {"pmnet": 0.66, "hsnet": 0.63, "panet": 0.44}
LEARNABLE = {"pmnet": 675_362, "hsnet": 2_573_794, "panet": 0}


def make_run(
    method: str = "pmnet",
    benchmark: str = "pascal5i",
    fold: int = 0,
    shot: int = 1,
    *,
    episodes: int = 200,
    folder: Path | None = None,
    **changes: Any,
) -> RunResult:
    """Make a run.  Its episodes depend on the plan, its intersections also on the method."""
    plan = np.random.default_rng([fold, shot, len(benchmark)])
    mine = np.random.default_rng([fold, shot, len(benchmark), *method.encode()])
    classes = tuple(range(5))
    class_ids = plan.integers(0, len(classes), episodes)
    target = plan.integers(2_000, 60_000, episodes)
    difficulty = plan.normal(0, 0.15, episodes)
    skill = np.clip(SKILL.get(method, 0.5) + 0.03 * shot + difficulty + mine.normal(0, 0.05, episodes), 0, 1)
    fg_inter = (target * skill).astype(np.int64)
    fg_union = target + plan.integers(0, 6_000, episodes)
    inter = np.stack([160_000 - fg_union, fg_inter], axis=1)
    union = np.stack([160_000 - fg_inter, fg_union], axis=1)
    plain = score(class_ids, inter, union, classes)
    slug = f"{benchmark}-f{fold}-k{shot}-{method}".replace(":", "-")
    sha = hashlib.sha256(f"{benchmark}{fold}{shot}".encode()).hexdigest()
    run = RunResult(
        slug=slug,
        path=folder or Path("runs") / slug,
        identity=hashlib.sha256(slug.encode()).hexdigest(),
        benchmark=benchmark,
        method=method,
        label=method,
        ablations=(),
        backbone="resnet50",
        weights="resnet50.tv_v1",
        fold=fold,
        shot=shot,
        seed=0,
        protocol="published/1",
        score_size="input",
        plan_sha256=sha,
        classes=classes,
        class_names=CLASS_NAMES,
        planned=episodes,
        learnable=LEARNABLE.get(method, 1_000),
        parameters=23_508_032 + LEARNABLE.get(method, 1_000),
        seconds=0.041,
        marks=(),
        miou=None,  # type: ignore[arg-type]
        fb_iou=None,  # type: ignore[arg-type]
        per_class=plain.per_class,
        absent=plain.absent,
        class_ids=class_ids,
        inter=inter,
        union=union,
        target=target,
        indices=np.arange(episodes),
        queries=tuple(f"q{i % 150:04d}" for i in range(episodes)),
        manifest=make_manifest(context=MACHINE),
    )
    run = record_marks(replace(run, **changes))
    miou, fb_iou = estimate_of_runs([run], resamples=200)[0]
    return replace(run, miou=miou.estimate, fb_iou=fb_iou.estimate)


def make_cell(runs: list[RunResult], *, missing: tuple[int, ...] = ()) -> Cell:
    """Make the cell of one method's runs."""
    samples = [estimate_of_runs([run], resamples=200)[0] for run in runs]
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
        miou=mean_sample([s[0] for s in samples]).estimate,
        fb_iou=mean_sample([s[1] for s in samples]).estimate,
        episodes=sum(run.episodes for run in runs),
        marks=(
            *dict.fromkeys(m for run in runs for m in run.marks),
            *missing_folds_marks([run.fold for run in runs], missing),
        ),
    )


def flag_best(cells: list[Cell]) -> list[Cell]:
    """Mark the best cell and those not significantly worse, within one benchmark and shot."""
    top = max(cells, key=lambda c: c.miou.value)
    runs = tuple(run for cell in cells for run in cell.folds.values())
    compared = verdicts(Results(runs, tuple(cells), resamples=200, bootstrap_seed=0))
    outcomes = [compared[id(top), id(cell)].outcome if cell is not top else "" for cell in cells]
    decided = any(outcome in ("win", "tie") for outcome in outcomes)
    return [
        replace(cell, best=cell is top and decided, tied=outcome == "tie")
        for cell, outcome in zip(cells, outcomes, strict=True)
    ]


def make_results(*, folder: Path | None = None, marks: tuple[str, ...] = (), **changes: Any) -> Results:
    """Make results of three methods on PASCAL-5i (four folds) and ISIC (one fold), 1- and 5-shot."""
    cells: list[Cell] = []
    for benchmark, folds in (("pascal5i", range(4)), ("pascal-to-isic2018:isic1", range(1))):
        for shot in (1, 5):
            group = []
            for method in SKILL:
                own = (*marks, "untrained") if method == "hsnet" and marks else marks
                runs = [make_run(method, benchmark, f, shot, marks=own, **changes) for f in folds]
                if folder is not None:
                    runs = [add_panels(run, folder) for run in runs]
                group.append(make_cell(runs))
            cells += flag_best(group)
    runs = tuple(run for cell in cells for run in cell.folds.values())
    return Results(runs, tuple(cells), resamples=200, bootstrap_seed=0)


@cache
def share_results(marks: tuple[str, ...] = ()) -> Results:
    """Make the results of `make_results` once per process, for tests that only read them."""
    return make_results(marks=marks)


def make_small_results(folder: Path) -> Results:
    """Make results with pictures of two methods on ISIC, which have a figure of each kind but no radar."""
    runs = [add_panels(make_run(method, "pascal-to-isic2018:isic1"), folder) for method in ("pmnet", "hsnet")]
    cells = flag_best([make_cell([run]) for run in runs])
    return Results(tuple(runs), tuple(cells), resamples=200, bootstrap_seed=0)


def add_panels(run: RunResult, folder: Path, count: int = 3, **changes: Any) -> RunResult:
    """Add pictures to the first episodes of a run.  Queries depend on the plan, predictions on the method."""
    return replace(run, path=folder / run.slug, panels=tuple(_panel(run, i, changes) for i in range(count)))


def _panel(run: RunResult, index: int, changes: dict[str, Any]) -> Panel:
    plan = np.random.default_rng([index, run.fold, run.shot])
    mine = np.random.default_rng([index, run.fold, run.shot, *run.method.encode()])

    def draw_pair(draw: np.random.Generator) -> tuple[Image.Image, np.ndarray]:
        image = Image.new("RGB", (96, 96), tuple(int(v) for v in draw.integers(60, 200, 3)))
        mask = Image.new("L", (96, 96), 0)
        x, y, r = (int(v) for v in draw.integers((20, 20, 10), (70, 70, 25)))
        box = (x - r, y - r, x + r, y + r)
        ImageDraw.Draw(image).ellipse(box, fill=tuple(int(v) for v in draw.integers(0, 255, 3)))
        ImageDraw.Draw(mask).ellipse(box, fill=1)
        return image, np.asarray(mask) == 1

    query, truth = draw_pair(plan)
    prediction = np.roll(truth, int(mine.integers(-15, 15)), axis=1)
    parts = {
        "query": query,
        "truth": truth.astype(np.uint8),
        "prediction": prediction,
        "supports": tuple(draw_pair(plan) for _ in range(run.shot)),
        **changes,
    }
    iou = 100 * np.count_nonzero(truth & prediction) / np.count_nonzero(truth | prediction)
    return Panel(index, run.class_names[index % 5], iou, lambda: Pictures(**parts))
