"""What changed between two reports: every kind of change, made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifests import make_manifest
from report_factory import make_cell, make_run

from fssbench.analysis.changes import add_changes, read_other
from fssbench.analysis.comparisons import compute_differences
from fssbench.analysis.results_file import write_results
from fssbench.analysis.statistics import estimate_of_runs
from fssbench.api import Cell, Change, Results, RunResult
from fssbench.errors import DataError

BLOCK = {
    "head_sha256": "a" * 64,
    "episodes_sha256": "e" * 64,
    "data_sha256": "d" * 64,
    "config": {"width": 64},
}
CONTEXT = {"packages": {"torch": "2.13.0"}, "python": "3.11.7", "host": "here"}


def measured(
    method: str = "pmnet", *, fold: int = 0, benchmark: str = "pascal5i", **changes: Any
) -> RunResult:
    block = BLOCK | changes.pop("block", {})
    context = CONTEXT | changes.pop("context", {})
    manifest = make_manifest(**block, context=context)
    identity = changes.pop("identity", f"{method}{benchmark}{fold}{sorted(map(str, block.items()))}")
    return make_run(method, benchmark, fold, manifest=manifest, identity=identity, **changes)


def redone(run: RunResult, *, better: float = 1.0, **changes: Any) -> RunResult:
    """The run with other intersections, figures drawn again."""
    inter = run.inter.copy()
    inter[:, 1] = (inter[:, 1] * better).astype(np.int64)
    run = replace(run, inter=np.minimum(inter, run.union), **changes)
    miou, fb_iou = estimate_of_runs([run], resamples=200)[0]
    return replace(run, miou=miou.estimate, fb_iou=fb_iou.estimate)


def results(*groups: list[RunResult]) -> Results:
    cells = tuple(make_cell(group) for group in groups)
    return Results(tuple(run for group in groups for run in group), cells, 200, 0)


def changed(after: Results, before: Results) -> list[Change]:
    result = add_changes(after, before, against="before").changes
    assert result is not None
    assert result.against == "before"
    assert result.unchanged + sum(c.kind != "removed" for c in result.changes) == len(after.cells)
    return list(result.changes)


def names(departed: Change) -> dict[str, tuple[str, str]]:
    return {d.name: (d.before, d.after) for d in departed.departures}


def test_equal_reports_have_no_change() -> None:
    one = results([measured(fold=f) for f in range(2)], [measured("hsnet", fold=f) for f in range(2)])
    assert changed(one, one) == []


def test_added_and_removed() -> None:
    shared, gone, new = (measured(m) for m in ("pmnet", "hsnet", "panet"))
    result = changed(results([shared], [new]), results([shared], [gone]))
    assert [(c.kind, c.before and c.before.method, c.after and c.after.method) for c in result] == [
        ("added", None, "panet"),
        ("removed", "hsnet", None),
    ]


def test_another_checkpoint_on_the_same_episodes_is_paired() -> None:
    before = [measured(fold=f) for f in range(2)]
    after = [redone(measured(fold=f, block={"head_sha256": "b" * 64}), better=1.05) for f in range(2)]
    (change,) = changed(results(after), results(before))
    assert names(change) == {"head_sha256": ("a" * 64, "b" * 64)}
    assert [d.folds for d in change.departures] == [(0, 1)]
    (gap,) = compute_differences([(make_cell(after), make_cell(before))], resamples=10_000)
    assert change.paired is not None
    assert change.significant is True
    assert (change.paired.value, change.paired.low, change.paired.high) == (gap.value, gap.low, gap.high)
    assert change.paired.low > 0
    assert (change.episodes, change.unpaired) == (400, "")
    unpaired = [c.miou.high - c.miou.low for c in (make_cell(after), make_cell(before))]
    assert change.paired.high - change.paired.low < min(unpaired) / 2


def test_other_episodes_have_a_difference_without_an_interval() -> None:
    after = measured(plan_sha256="f" * 64, block={"episodes_sha256": "f" * 64})
    (change,) = changed(results([after]), results([measured()]))
    assert change.paired is None
    assert change.episodes == 0
    assert "plans of fold 0 differ" in change.unpaired
    assert set(names(change)) == {"episodes_sha256"}


def test_other_data_under_one_plan_are_not_paired() -> None:
    after = measured(block={"data_sha256": "c" * 64})
    (change,) = changed(results([after]), results([measured()]))
    assert "data_sha256 of fold 0 differs" in change.unpaired
    assert change.paired is None


def test_capped_runs_are_another_measurement() -> None:
    after = measured(marks=("capped (200 of 600 episodes)",), block={"size": 1})
    (change,) = changed(results([after]), results([measured()]))
    assert change.unpaired
    assert change.paired is None


def test_one_identity_and_other_counts_points_at_the_machine() -> None:
    before = measured()
    after = redone(measured(context={"packages": {"torch": "2.14.0"}, "host": "there"}), better=0.99)
    (change,) = changed(results([after]), results([before]))
    assert names(change) == {"context.packages.torch": ("2.13.0", "2.14.0")}
    assert change.paired is not None
    assert change.paired.value < 0


def test_a_run_that_was_completed_since_is_compared_on_what_both_have() -> None:
    whole = measured()
    part = slice(0, 120)
    early = replace(
        whole,
        class_ids=whole.class_ids[part],
        inter=whole.inter[part],
        union=whole.union[part],
        target=whole.target[part],
        indices=whole.indices[part],
        queries=whole.queries[part],
        marks=("incomplete (120 of 200 episodes)",),
    )
    (change,) = changed(results([whole]), results([redone(early)]))
    assert change.episodes == 120
    assert change.paired is not None
    assert (change.paired.value, change.paired.low, change.paired.high) == (0, 0, 0)
    assert change.before is not None
    assert change.before.episodes == 120


def test_a_mark_alone_is_a_change() -> None:
    (change,) = changed(results([measured(marks=("untrained",))]), results([measured()]))
    assert change.kind == "changed"
    assert change.after is not None
    assert change.after.marks == ("untrained",)


def test_another_fold_is_a_change_and_names_the_folds() -> None:
    (change,) = changed(results([measured(fold=f) for f in range(2)]), results([measured()]))
    assert "folds 0, 1 against 0" in change.unpaired


def test_of_several_alike_those_of_one_identity_belong_together() -> None:
    one, two = measured(), measured(block={"head_sha256": "b" * 64})
    assert changed(results([two], [one]), results([one], [two])) == []
    (change,) = changed(results([two], [one]), results([one]))
    assert (change.kind, change.after and change.after.folds[0].identity) == ("added", two.identity)


@pytest.mark.parametrize("place", ["folder", "file"])
def test_an_earlier_report_serves_as_well_as_its_runs(place: str, tmp_path: Path) -> None:
    before, after = (
        results([measured()]),
        results([redone(measured(block={"head_sha256": "b" * 64}), better=0.9)]),
    )
    write_results(before, tmp_path / "results.json")
    path = tmp_path if place == "folder" else tmp_path / "results.json"
    other = read_other(path, resamples=10, seed=0)

    def figures(change: Change) -> tuple[object, ...]:
        def plain(cell: Cell | None) -> object:
            return cell and cell.miou

        return (
            change.kind,
            change.departures,
            change.paired,
            change.episodes,
            *map(plain, (change.before, change.after)),
        )

    assert list(map(figures, changed(after, other))) == list(map(figures, changed(after, before)))
    assert changed(before, other) == []


def test_nothing_to_compare_with_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing to compare with in .*no results\.json, and no runs found"):
        read_other(tmp_path, resamples=10, seed=0)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(DataError, match="not a file of fssbench"):
        read_other(tmp_path, resamples=10, seed=0)
