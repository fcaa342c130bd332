"""Builds the table model from run folders: counts, scores, intervals, the best of each comparison.

Reads only what is stored; no data set, plugin or GPU is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from fssbench.analysis.comparisons import Outcome, verdicts
from fssbench.analysis.matching import comparable
from fssbench.analysis.rivals import group_rivals, order_of_rivals
from fssbench.analysis.row_names import name_rows
from fssbench.analysis.rows import join_folds
from fssbench.analysis.statistics import Sample, estimate_of_runs, mean_sample
from fssbench.contracts.resamples import RESAMPLES
from fssbench.contracts.results import Cell, Estimate, Panel, Results, RunResult
from fssbench.contracts.run_manifest import Context
from fssbench.contracts.support_probes import SupportProbe
from fssbench.efficiency.store import read_all
from fssbench.errors import DataError
from fssbench.evidence import distinct_episodes
from fssbench.plural import join_some
from fssbench.runs.copies import drop_copies
from fssbench.runs.mark_legend import missing_folds_marks
from fssbench.runs.marks import make_completeness_marks, make_run_marks
from fssbench.runs.pictures import Places, read_panels
from fssbench.runs.read_ahead import ReadAhead
from fssbench.runs.records import RecordTable
from fssbench.runs.sessions import Session
from fssbench.runs.store import StoredRun, find_run_folders, read_run
from fssbench.runs.summary import describe_change, score_counts
from fssbench.runs.support_probes import SUPPORT_PROBES
from fssbench.runs.support_sizes import read_support_sizes

_Content = TypeVar("_Content")


def collect(
    paths: Sequence[Path], *, resamples: int = RESAMPLES, seed: int = 0, pictures: bool = True
) -> Results:
    """Read runs and build the table model.

    Args:
        paths: run folders, or folders of run folders.
        resamples: bootstrap resamples behind every interval; with 0 figures have none, and nobody is best.
        seed: seed of the bootstrap.
        pictures: whether the stored pictures of the runs are listed; their logs are large.

    Returns:
        Runs and cells; runs that cannot be read or hold no episode are left out and named in `notes`.

    Raises:
        DataError: if there is no readable run at all, or two folders hold one measurement with other counts.
    """
    folders = list(dict.fromkeys(run for path in paths for run in find_run_folders(path)))
    notes: list[str] = []
    stored: list[StoredRun] = []
    places: dict[Path, Places | None] = {}
    with ReadAhead(folders, pictures=pictures) as ahead:
        for path in folders:
            try:
                logs = ahead.take(path)
                run = read_run(path, logs.records)
            except DataError as error:
                notes.append(f"left out: {error}")
                continue
            if change := describe_change(run):
                notes.append(change)
            if not run.records:
                notes.append(f"left out: {path.name} holds no episode")
            elif run.manifest.block.shard:
                notes.append(f"left out: {path.name} is a shard; join the shards with `fssbench merge`")
            else:
                stored.append(run)
                places[run.path] = logs.panels
    stored, copies = drop_copies(stored)
    notes += [*copies, *_find_renamed_classes(stored)]
    if not stored:
        where = ", ".join(map(str, paths))
        raise DataError("; ".join([f"no runs found in {where}. Next: `fssbench run --help`", *notes]))
    plain = [_convert_run(run, notes, places[run.path] if pictures else {}) for run in stored]
    drawn = estimate_of_runs(plain, resamples=resamples, seed=seed)
    samples = {run.identity: pair for run, pair in zip(plain, drawn, strict=True)}
    runs = tuple(
        replace(run, miou=miou.estimate, fb_iou=fb_iou.estimate)
        for run, (miou, fb_iou) in zip(plain, drawn, strict=True)
    )
    folds = {run.identity: run.manifest.context.folds for run in stored}
    rows = join_folds(runs)
    in_rows = {run.identity: run for row in rows for run in row}
    runs = tuple(in_rows[run.identity] for run in runs)
    cells = name_rows(_make_cell(row, folds, samples) for row in rows)
    efficiency, unread = read_all(paths)
    results = Results(runs, cells, resamples, seed, (*notes, *unread), efficiency)
    return replace(results, cells=_mark_best(results))


def _find_renamed_classes(runs: Iterable[StoredRun]) -> list[str]:
    """Explain which classes have other names in some runs of a benchmark, as after an edit of `dataset.toml`."""
    names: dict[tuple[str, int], tuple[str, str]] = {}
    renamed: dict[str, dict[int, str]] = {}
    for run in runs:
        benchmark = run.manifest.block.benchmark
        for class_id, name in zip(run.plan.classes, run.plan.class_names, strict=True):
            first, slug = names.setdefault((benchmark, class_id), (name, run.slug))
            if first != name:
                text = f"class {class_id} is {first!r} in {slug} and {name!r} in {run.slug}"
                renamed.setdefault(benchmark, {}).setdefault(class_id, text)
    return [
        f"classes of {benchmark} were renamed between its runs: {join_some([*texts.values()], 3, '; ')}. "
        "Figures go by the number of the class, so one of the names is wrong"
        for benchmark, texts in renamed.items()
    ]


def _convert_run(run: StoredRun, notes: list[str], places: Places | None) -> RunResult:
    """Convert a stored run into the table model, still without intervals; what is damaged beside its counts is noted.

    Args:
        run: the run.
        notes: list to add to.
        places: of its stored pictures; None if they are not known yet.
    """
    identity, context = run.manifest.block, run.manifest.context
    table = run.table
    sessions = _read_or_note(run.sessions, f"the sessions of {run.slug}", notes) or []
    score = score_counts(run)
    marks = (*make_run_marks(run), *make_completeness_marks(run))
    undrawn = Estimate(float("nan"), float("nan"), float("nan"))
    return RunResult(
        slug=run.slug,
        path=run.path,
        identity=run.identity,
        benchmark=identity.benchmark,
        method=identity.method,
        label=context.label,
        ablations=context.ablations,
        backbone=identity.backbone or "own",
        weights=context.weights or "own",
        fold=identity.fold,
        shot=identity.shot,
        seed=identity.seed,
        protocol=identity.protocol,
        score_size=identity.score_size,
        plan_sha256=identity.episodes_sha256,
        classes=run.plan.classes,
        class_names=run.plan.class_names,
        planned=run.planned,
        learnable=context.learnable,
        parameters=context.parameters,
        seconds=_average_prediction_seconds(sessions),
        marks=marks,
        miou=undrawn,
        fb_iou=undrawn,
        per_class=score.per_class,
        absent=score.absent,
        class_ids=table.class_ids.copy(),
        inter=table.inter.copy(),
        union=table.union.copy(),
        target=table.target.copy(),
        indices=table.indices.copy(),
        queries=run.queries,
        manifest=run.manifest,
        panels=_list_panels(run, places, notes),
        supports=run.supports,
        commands=_list_commands(context, sessions),
        whole=run.whole,
        unmet=score.unmet,
        definition=run.plan.definition,
        probes=_read_probes(run, notes),
        support_pixels=_list_support_pixels(run, table, notes),
    )


def _read_or_note(read: Callable[[], _Content], what: str, notes: list[str]) -> _Content | None:
    """Read what no score depends on; if it is damaged, add a note and return None."""
    try:
        return read()
    except DataError as error:
        notes.append(f"left out: {what}: {error}")
        return None


def _list_panels(run: StoredRun, places: Places | None, notes: list[str]) -> tuple[Panel, ...]:
    """List the stored pictures; none, with a note, if their log cannot be read."""
    return _read_or_note(lambda: tuple(read_panels(run, places)), f"the pictures of {run.slug}", notes) or ()


def _read_probes(run: StoredRun, notes: list[str]) -> tuple[SupportProbe, ...]:
    """Return the probes of the counted episodes by index; damaged ones are left out with a note."""
    probes = (
        _read_or_note(lambda: SUPPORT_PROBES.read(run.path), f"the support probes of {run.slug}", notes) or {}
    )
    if not probes:
        return ()
    return tuple(probes[index] for index in sorted(probes.keys() & run.records.keys()))


def _list_support_pixels(run: StoredRun, table: RecordTable, notes: list[str]) -> tuple[tuple[int, ...], ...]:
    """Return the object pixels of the supports of each episode; none for an episode with an unknown one."""
    what = f"the sizes of supports of {run.slug}"
    sizes = _read_or_note(lambda: read_support_sizes(run.path), what, notes)
    if not sizes:
        return ((),) * len(table)
    rows = zip(table.class_ids.tolist(), table.indices.tolist(), strict=True)
    places = ([(c, item) for item in run.plan[index].supports] for c, index in rows)
    return tuple(tuple(sizes[p] for p in each) if all(p in sizes for p in each) else () for each in places)


def _average_prediction_seconds(sessions: Iterable[Session]) -> float:
    """Return the mean seconds of a prediction; nan if no session has timed them apart from the inputs.

    Runs of earlier versions have one time that contains what methods share: reading images, and the backbone.
    """
    timed = [
        (s.prediction_seconds, s.episodes)
        for s in sessions
        if s.episodes and s.prediction_seconds is not None
    ]
    if not timed:
        return float("nan")
    return float(sum(seconds for seconds, _ in timed) / sum(episodes for _, episodes in timed))


def _list_commands(context: Context, sessions: Iterable[Session]) -> tuple[str, ...]:
    """Ids of the commands that worked on a run, in order; the first one started it."""
    ids = [context.command, *(session.command for session in sessions)]
    return tuple(dict.fromkeys(str(each) for each in ids if each))


def _make_cell(
    members: list[RunResult], folds: dict[str, int], samples: dict[str, tuple[Sample, Sample]]
) -> Cell:
    first = members[0]
    by_fold = {run.fold: run for run in members}
    missing = tuple(f for f in range(folds[first.identity]) if f not in by_fold)
    marks = dict.fromkeys(mark for run in members for mark in run.marks)
    marks |= dict.fromkeys(missing_folds_marks(by_fold, missing))
    return Cell(
        benchmark=first.benchmark,
        label=first.label,
        method=first.method,
        backbone=first.backbone,
        shot=first.shot,
        seed=first.seed,
        protocol=first.protocol,
        folds=by_fold,
        missing=missing,
        miou=mean_sample([samples[r.identity][0] for r in members]).estimate,
        fb_iou=mean_sample([samples[r.identity][1] for r in members]).estimate,
        episodes=distinct_episodes(members),
        marks=tuple(marks),
    )


def _mark_best(results: Results) -> tuple[Cell, ...]:
    """Mark the best of each comparison and all that are not significantly worse; none with too few queries."""
    cells = list(results.cells)
    compared = verdicts(results) if results.resamples else {}
    measured = {i: cell for i, cell in enumerate(cells) if compared and not math.isnan(cell.miou.value)}
    for group in group_rivals(measured):
        for places in comparable([results.cells[i] for i in group]):
            top, *rivals = [group[n] for n in places]
            outcomes = {i: compared[id(results.cells[top]), id(results.cells[i])].outcome for i in rivals}
            cells[top] = replace(
                cells[top], best=any(outcome != Outcome.TOO_FEW_QUERIES for outcome in outcomes.values())
            )
            for i, outcome in outcomes.items():
                cells[i] = replace(cells[i], tied=outcome == Outcome.TIE)
    return tuple(
        sorted(
            cells,
            key=lambda c: (
                *(c.benchmark, c.shot, c.seed, *order_of_rivals(c)),
                *(c.backbone, c.label, c.name, c.variant),
            ),
        )
    )
