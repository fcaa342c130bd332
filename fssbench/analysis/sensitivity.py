"""Whether the supports matter: what changes if they are replaced by those of another class.

A run holds such probes if it was made with `fssbench run --sensitivity N` (`fssbench.evaluation.probing`).  From their
exact counts follow two figures, each summed per class and averaged over classes and folds as mIoU is:

- the share of the answer that changes: 1 minus the IoU of both answers;
- mIoU of the probed episodes with their own supports and with the other ones, as a paired difference.

Probes have their own counts.  No score contains them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from fssbench.analysis.matching import restrict_to
from fssbench.analysis.paired import average_samples, compute_paired_differences
from fssbench.analysis.statistics import Difference
from fssbench.contracts.results import Cell, Estimate, Results, RunResult
from fssbench.evaluation.support_effect import UNCHANGED
from fssbench.evidence import distinct_episodes


class Dependence(StrEnum):
    """Whether an answer depends on the supports."""

    DEPENDS = "depends on its supports"
    IGNORES = "ignores its supports"
    UNCLEAR = "unclear"
    TOO_FEW = "too few queries"


@dataclass(frozen=True)
class Sensitivity:
    """Effect of supports of another class on the answers of one method on one benchmark and shot."""

    cell: Cell
    episodes: int
    """Distinct episodes that were asked again."""
    replaced_by: str
    """What replaced the supports: `supports of another class`, `inverted masks` or both."""
    changed: Estimate
    """Share of the object pixels of both answers that only one of them has, in percent."""
    miou: Estimate
    """mIoU of these episodes with their own supports."""
    other_miou: Estimate
    """mIoU of these episodes with the other supports."""
    difference: Difference
    """The first minus the second, paired by query."""

    @property
    def dependence(self) -> Dependence:
        """The verdict: the interval of the changed share lies above 5 %, below, or on both sides."""
        if self.changed.shortage or math.isnan(self.changed.low):
            return Dependence.TOO_FEW
        if self.changed.low > 100 * UNCHANGED:
            return Dependence.DEPENDS
        return Dependence.IGNORES if self.changed.high <= 100 * UNCHANGED else Dependence.UNCLEAR


def compute_sensitivity(results: Results) -> tuple[Sensitivity, ...]:
    """Compute the sensitivity of each cell whose runs hold probes, in the order of the cells.

    A cell of which only some folds hold probes has figures of these folds.
    """
    cells = [cell for cell in results.cells if any(run.probes for run in cell.folds.values())]
    draws = {"resamples": results.resamples, "seed": results.bootstrap_seed}
    triples = [[_split_run(run) for run in _list_probed(cell)] for cell in cells]
    if not cells:
        return ()
    pairs = compute_paired_differences(
        [[(own, other) for own, other, _ in rows] for rows in triples], **draws
    )
    agreements = average_samples([[agreement for _, _, agreement in rows] for rows in triples], **draws)
    return tuple(
        Sensitivity(
            cell=cell,
            episodes=distinct_episodes(own for own, _, _ in rows),
            replaced_by=_describe_replacement(_list_probed(cell)),
            changed=_turn(agreement.estimate),
            miou=a.estimate,
            other_miou=b.estimate,
            difference=difference,
        )
        for cell, rows, (a, b, difference), agreement in zip(cells, triples, pairs, agreements, strict=True)
    )


def _list_probed(cell: Cell) -> list[RunResult]:
    return [run for _, run in sorted(cell.folds.items()) if run.probes]


def _split_run(run: RunResult) -> tuple[RunResult, RunResult, RunResult]:
    """Return the probed episodes with their own counts, with those of the other supports, and with the agreement."""
    row_by_index = {index: row for row, index in enumerate(run.indices.tolist())}
    rows = np.array([row_by_index[probe.index] for probe in run.probes], dtype=np.int64)
    own = replace(restrict_to(run, rows).with_absent_rule("exclude"), whole=False, probes=())
    inter, union = (
        np.array([getattr(p, name) for p in run.probes], dtype=np.int64) for name in ("inter", "union")
    )
    other = replace(own, inter=inter, union=union)
    # two empty answers are equal: one pixel stands for each
    same, either = (
        np.array([max(getattr(p, name), 0 if p.either else 1) for p in run.probes], dtype=np.int64)
        for name in ("same", "either")
    )
    agreement = replace(own, inter=np.stack([same, same], axis=1), union=np.stack([either, either], axis=1))
    return own, other, agreement


def _describe_replacement(runs: Sequence[RunResult]) -> str:
    kinds = {probe.inverted for run in runs for probe in run.probes}
    return " or ".join(
        "inverted masks" if inverted else "supports of another class" for inverted in sorted(kinds)
    )


def _turn(estimate: Estimate) -> Estimate:
    """Return 100 % minus an estimate."""
    return Estimate(100 - estimate.value, 100 - estimate.high, 100 - estimate.low, estimate.shortage)
