"""Stored runs as pandas tables: one of runs, one of means over folds, one of episodes.

Every row that has a figure also has its doubt: interval or the reason why there is none, episodes counted and
planned, protocol, marks and status.  pandas is imported when the first table is made.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fssbench.analysis.columns import (
    EPISODE_COLUMNS,
    MEAN_COLUMNS,
    RUN_COLUMNS,
    SENSITIVITY_COLUMNS,
    STRATUM_COLUMNS,
    SUPPORT_CHOICE_COLUMNS,
    Column,
    Kind,
    column_names,
)
from fssbench.analysis.figure_table import FIGURE_COLUMNS, explain_figures, list_figures
from fssbench.analysis.rivals import describe_pretraining
from fssbench.analysis.row_names import row_title, with_names
from fssbench.analysis.sensitivity import compute_sensitivity
from fssbench.analysis.strata import list_strata
from fssbench.analysis.support_choice import compute_support_choices
from fssbench.contracts.arguments import check_arguments
from fssbench.contracts.resamples import RESAMPLES
from fssbench.contracts.results import Cell, Estimate, Results, RunResult
from fssbench.errors import UsageError
from fssbench.evidence import collect_evidence, planned_episodes
from fssbench.markup import make_table
from fssbench.plural import describe_count

if TYPE_CHECKING:
    from pandas import DataFrame

_TYPES: dict[Kind, str] = {"text": "str", "integer": "int64", "number": "float64", "flag": "bool"}
"""pandas type of each kind of column."""


@dataclass(frozen=True, eq=False, repr=False)
class Frames:
    """Results as tables; `fssbench.analysis.columns` describes every column.

    Attributes:
        results: the table model that the tables are made from.
    """

    results: Results

    @cached_property
    def runs(self) -> DataFrame:
        """One row per run."""
        return make_run_table(self.results)

    @cached_property
    def means(self) -> DataFrame:
        """One row per mean over the folds of a measurement, as reports print it."""
        return make_mean_table(self.results)

    @cached_property
    def episodes(self) -> DataFrame:
        """One row per episode of a run."""
        import pandas

        names = name_runs(self.results)
        tables = [make_episode_table(run, names[run.identity]) for run in self.results.runs]
        return pandas.concat(tables or [_make_table(EPISODE_COLUMNS, {})], ignore_index=True)

    @cached_property
    def strata(self) -> DataFrame:
        """One row per stratum of a mean: by object size, difficulty, and object size beside the support's."""
        return make_stratum_table(self.results)

    @cached_property
    def sensitivity(self) -> DataFrame:
        """One row per mean whose episodes were asked again with other supports (`fssbench run --sensitivity`)."""
        return make_sensitivity_table(self.results)

    @cached_property
    def support_choice(self) -> DataFrame:
        """One row per mean with several support sets per query (`fssbench run --supports`)."""
        return make_support_choice_table(self.results)

    @property
    def notes(self) -> tuple[str, ...]:
        """Parts that were left out, such as a damaged run, with the reason."""
        return self.results.notes

    def __repr__(self) -> str:
        episodes = sum(run.episodes for run in self.results.runs)
        counts = ", ".join(
            describe_count(number, noun)
            for number, noun in (
                (len(self.results.runs), "run"),
                (len(self.results.cells), "mean"),
                (episodes, "episode"),
            )
        )
        return f"<Frames: {counts}; tables: .runs, .means, .episodes, .strata, .sensitivity, .support_choice>"

    def _repr_html_(self) -> str:
        """Show the means in a notebook, as `fssbench report` prints them."""
        named = with_names(self.results)
        return make_table(FIGURE_COLUMNS, list_figures(named), [*explain_figures(named), *self.notes])


@check_arguments
def results(*folders: str | os.PathLike[str], resamples: int = RESAMPLES, seed: int = 0) -> Frames:
    """Read stored runs as pandas tables.

    Whatever is left out, such as a damaged run, is a warning and stays in `notes`.

    Args:
        folders: run folders, or folders of run folders; `runs` if none is given.
        resamples: resamples of the bootstrap behind every interval; 0 for no intervals.
        seed: seed of the bootstrap.

    Returns:
        Tables with one row per run, per mean over folds and per episode.

    Raises:
        DataError: if there is no readable run, or two folders hold one measurement with different counts.
        UsageError: for a folder that is no path, or a negative number of resamples or seed.

    Example:
        >>> import fssbench
        >>> drawn = fssbench.plan("pascal-to-chestxray", data="mini", episodes=2, size=96)
        >>> evaluation = fssbench.evaluate(fssbench.load_method("panet", plan=drawn), drawn, out="runs")
        >>> table = fssbench.results("runs").runs
        >>> table[["name", "episodes", "no_interval"]].values.tolist()
        [['panet', 2, 'too few queries (2)']]
    """
    from fssbench.analysis.collect import collect

    if resamples < 0 or seed < 0:
        raise UsageError(f"resamples and seed must be 0 or more; got {resamples} and {seed}")
    collected = collect([Path(folder) for folder in folders or ("runs",)], resamples=resamples, seed=seed)
    for note in collected.notes:
        warnings.warn(note, stacklevel=3)  # the line of the caller, behind the check of arguments
    return Frames(collected)


def name_runs(results: Results) -> dict[str, str]:
    """Name each run, by identity: the names of the rows it is in, joined by `; `."""
    names: dict[str, list[str]] = {}
    for cell in with_names(results).cells:
        for run in cell.folds.values():
            names.setdefault(run.identity, []).append(row_title(cell))
    return {run.identity: "; ".join(names.get(run.identity, [run.label])) for run in results.runs}


def make_run_table(results: Results) -> DataFrame:
    """Make the table of runs, columns as in `RUN_COLUMNS`."""
    names = name_runs(results)
    return _make_table_of_rows(
        RUN_COLUMNS, [_make_run_row(run, names[run.identity], results) for run in results.runs]
    )


def make_mean_table(results: Results) -> DataFrame:
    """Make the table of means over folds, columns as in `MEAN_COLUMNS`."""
    cells = with_names(results).cells
    return _make_table_of_rows(MEAN_COLUMNS, [_make_mean_row(cell, results) for cell in cells])


def make_episode_table(run: RunResult, name: str, edit_text: Callable[[str], str] = str) -> DataFrame:
    """Make the table of one run's episodes in the order of the plan, columns as in `EPISODE_COLUMNS`.

    Args:
        run: the run.
        name: the name of its row, see `name_runs`.
        edit_text: what is done with every text, such as guarding it for a spreadsheet.
    """
    return _make_table(EPISODE_COLUMNS, list_episode_columns(run, name, edit_text))


def list_episode_columns(
    run: RunResult, name: str, edit_text: Callable[[str], str] = str
) -> dict[str, str | int | list[str] | NDArray[Any]]:
    """List the columns of `make_episode_table`, without pandas: one value for all rows, or one per row.

    Args:
        run: the run.
        name: the name of its row, see `name_runs`.
        edit_text: what is done with every text.
    """
    classes = dict(zip(run.classes, run.class_names, strict=False))
    class_names = {c: edit_text(classes.get(c, f"class {c}")) for c in set(run.class_ids.tolist())}
    union = run.union[:, 1]
    return {
        "run": edit_text(run.slug),
        "benchmark": edit_text(run.benchmark),
        "method": edit_text(run.method),
        "label": edit_text(run.label),
        "backbone": edit_text(run.backbone),
        "fold": run.fold,
        "shot": run.shot,
        "seed": run.seed,
        "index": run.indices,
        "class_id": run.class_ids,
        "class_name": [class_names[c] for c in run.class_ids.tolist()],
        "query": [edit_text(query) for query in run.queries],
        "inter_background": run.inter[:, 0],
        "inter_foreground": run.inter[:, 1],
        "union_background": run.union[:, 0],
        "union_foreground": union,
        "target": run.target,
        "name": edit_text(name),
        "iou": np.where(union > 0, 100 * run.inter[:, 1] / np.maximum(union, 1), np.nan),
        "marks": edit_text(_join_texts(run.marks)),
    }


def make_stratum_table(results: Results) -> DataFrame:
    """Make the table of strata, columns as in `STRATUM_COLUMNS`."""
    named = {id(cell): same for cell, same in zip(results.cells, with_names(results).cells, strict=True)}
    rows = [
        {
            **_describe_cell(named[id(cell)]),
            "split": stratum.split.value,
            "stratum": stratum.name,
            "stratum_number": stratum.key,
            "miou": stratum.miou.value,
            "miou_low": stratum.miou.low,
            "miou_high": stratum.miou.high,
            "episodes": stratum.episodes,
            "classes": stratum.classes,
            "classes_met": stratum.classes_met,
            "no_interval": _explain_lack(stratum.miou),
        }
        for cell, stratum in list_strata(results)
    ]
    return _make_table_of_rows(STRATUM_COLUMNS, rows)


def make_sensitivity_table(results: Results) -> DataFrame:
    """Make the table of sensitivity, columns as in `SENSITIVITY_COLUMNS`."""
    named = {id(cell): same for cell, same in zip(results.cells, with_names(results).cells, strict=True)}
    rows = [
        {
            **_describe_cell(named[id(each.cell)]),
            "replaced_by": each.replaced_by,
            "changed": each.changed.value,
            "changed_low": each.changed.low,
            "changed_high": each.changed.high,
            "miou": each.miou.value,
            "other_miou": each.other_miou.value,
            "difference": each.difference.value,
            "difference_low": each.difference.low,
            "difference_high": each.difference.high,
            "episodes": each.episodes,
            "dependence": each.dependence.value,
            "no_interval": _explain_lack(each.changed),
        }
        for each in compute_sensitivity(results)
    ]
    return _make_table_of_rows(SENSITIVITY_COLUMNS, rows)


def make_support_choice_table(results: Results) -> DataFrame:
    """Make the table of support choice, columns as in `SUPPORT_CHOICE_COLUMNS`."""
    named = {id(cell): same for cell, same in zip(results.cells, with_names(results).cells, strict=True)}
    rows = [
        {
            **_describe_cell(named[id(each.cell)]),
            "support_sets": each.sets,
            "miou": each.cell.miou.value,
            "query_error": each.query_error,
            "support_error": each.support_error,
            "support_share": each.support_share,
            "half_width": each.half_width.value,
            "half_width_low": each.half_width.low,
            "half_width_high": each.half_width.high,
            "queries": each.queries,
            "episodes": each.episodes,
            "no_interval": _explain_lack(each.half_width),
        }
        for each in compute_support_choices(results)
    ]
    return _make_table_of_rows(SUPPORT_CHOICE_COLUMNS, rows)


def _describe_cell(cell: Cell) -> dict[str, Any]:
    """Return the values of the columns that say which mean a row is about."""
    return {
        "benchmark": cell.benchmark,
        "method": cell.method,
        "label": cell.label,
        "name": row_title(cell),
        "backbone": cell.backbone,
        "seed": cell.seed,
        "shot": cell.shot,
        "marks": _join_texts(cell.marks),
    }


def _make_run_row(run: RunResult, name: str, results: Results) -> dict[str, Any]:
    names = dict(zip(run.classes, run.class_names, strict=False))
    return {
        **_list_shared_values([run], run.miou, run.fb_iou, results),
        "name": name,
        "fold": run.fold,
        "episodes": run.episodes,
        "seconds_per_episode": run.seconds,
        "marks": _join_texts(run.marks),
        "absent_classes": _join_texts(names.get(c, str(c)) for c in run.absent),
        "identity": run.identity,
        "plan_sha256": run.plan_sha256,
        "run": run.slug,
    }


def _make_mean_row(cell: Cell, results: Results) -> dict[str, Any]:
    runs = list(cell.folds.values())
    return {
        **_list_shared_values(runs, cell.miou, cell.fb_iou, results),
        "name": row_title(cell),
        "episodes": cell.episodes,
        "best": cell.best,
        "tied": cell.tied,
        "marks": _join_texts(cell.marks),
        "run": " ".join(run.slug for run in runs),
        "folds": " ".join(map(str, cell.folds)),
        "missing_folds": " ".join(map(str, cell.missing)),
    }


def _list_shared_values(
    runs: Sequence[RunResult], miou: Estimate, fb_iou: Estimate, results: Results
) -> dict[str, Any]:
    """Return the values of the columns that the tables of runs and of means have in common."""
    first, evidence = runs[0], collect_evidence(runs)
    return {
        "benchmark": first.benchmark,
        "method": first.method,
        "label": first.label,
        "ablations": " ".join(first.ablations),
        "backbone": first.backbone,
        "weights": first.weights,
        "protocol": first.protocol,
        "score_size": first.score_size,
        "seed": first.seed,
        "shot": first.shot,
        "miou": miou.value,
        "miou_low": miou.low,
        "miou_high": miou.high,
        "fb_iou": fb_iou.value,
        "fb_iou_low": fb_iou.low,
        "fb_iou_high": fb_iou.high,
        "planned": planned_episodes(runs),
        "queries": evidence.queries,
        "fewest_queries_in_a_class": evidence.fewest,
        "too_few_queries": not evidence.enough,
        "learnable": first.learnable,
        "parameters": first.parameters,
        "resamples": results.resamples,
        "bootstrap_seed": results.bootstrap_seed,
        "status": "complete" if all(run.episodes == run.planned for run in runs) else "incomplete",
        "absent_rule": first.absent_rule,
        "no_interval": _explain_lack(miou),
        "pretraining": "; ".join(dict.fromkeys(describe_pretraining(run) for run in runs)),
    }


def _explain_lack(figure: Estimate) -> str:
    """Say why a figure has no interval; empty if it has one."""
    if math.isfinite(figure.low) and math.isfinite(figure.high):
        return ""
    return figure.shortage or ("no figure" if math.isnan(figure.value) else "not resampled")


def _join_texts(texts: Iterable[str]) -> str:
    return "; ".join(texts)


def _make_table_of_rows(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> DataFrame:
    if not rows:
        # most reports have no row about supports, and a type per empty column takes longer than all else
        empty = {kind: _make_empty_column(kind) for kind in _TYPES}
        return _make_table(columns, {column.name: empty[column.kind] for column in columns})
    return _make_table(columns, {name: [row[name] for row in rows] for name in column_names(columns)})


def _make_empty_column(kind: Kind) -> Any:
    from pandas import Series

    return Series([], dtype=_TYPES[kind]).array


def _make_table(columns: Sequence[Column], values: Mapping[str, Any]) -> DataFrame:
    """Make a table with exactly these columns and their types; a single value is one for all rows."""
    from pandas import DataFrame

    table = DataFrame(dict(values), columns=column_names(columns))
    types = {column.name: _TYPES[column.kind] for column in columns}
    other = {name: types[name] for name, given in table.dtypes.items() if str(given) != types[name]}
    return table.astype(other) if other else table  # without a change it would copy every column
