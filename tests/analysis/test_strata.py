"""Strata of episodes: against sums written out by hand, and what must hold for any counts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fssbench.analysis.strata import (
    RATIOS,
    SIZES,
    THIRDS,
    Split,
    compute_episode_ious,
    compute_object_shares,
    compute_support_shares,
    count_unknown_support_sizes,
    list_strata,
    name_strata,
    split_cells,
)

DRAWS = {"resamples": 40, "seed": 0}


def compute_miou(run: Any, rows: list[int], least: int = 3) -> tuple[float, int]:
    """mIoU of some rows by the definition: per class with enough distinct queries, sum over sum, then the mean."""
    ious = []
    for c in run.classes:
        mine = [i for i in rows if run.class_ids[i] == c]
        if len({run.queries[i] for i in mine}) >= least:
            inter, union = (sum(int(counts[i, 1]) for i in mine) for counts in (run.inter, run.union))
            ious.append(100 * inter / union)
    return (sum(ious) / len(ious) if ious else math.nan), len(ious)


def test_sizes_follow_from_the_counts(table: Any) -> None:
    runs = [table.make_run("a", fold=fold, episodes=200) for fold in (0, 1)]
    (strata,) = split_cells([table.make_cell(*runs)], Split.SIZE, **DRAWS)
    assert [s.name for s in strata] == list(name_strata(Split.SIZE))
    for stratum in strata:
        low, high = SIZES[stratum.key], SIZES[stratum.key + 1]
        by_fold = []
        for run in runs:
            shares = compute_object_shares(run)
            by_fold.append(compute_miou(run, [i for i in range(200) if low <= shares[i] < high]))
        counted = [(miou, classes) for miou, classes in by_fold if classes]
        if counted:
            assert stratum.miou.value == pytest.approx(np.mean([miou for miou, _ in counted]), abs=1e-9)
            assert stratum.classes == sum(classes for _, classes in counted)


def test_every_episode_is_in_one_stratum_of_size(table: Any) -> None:
    run = table.make_run("a", episodes=300, classes=2)
    (strata,) = split_cells([table.make_cell(run)], Split.SIZE, **DRAWS)
    assert sum(s.episodes for s in strata) == 300
    empty = [s for s in strata if not s.episodes]
    assert empty
    assert all(math.isnan(s.miou.value) and s.classes == 0 for s in empty)


def test_few_queries_give_a_figure_without_interval(table: Any) -> None:
    run = table.make_run("a", episodes=60, classes=1, queries=8)
    (strata,) = split_cells([table.make_cell(run)], Split.SIZE, **DRAWS)
    shown = [s for s in strata if s.episodes]
    assert all("too few queries" in s.miou.shortage and math.isnan(s.miou.low) for s in shown)


def test_a_class_with_few_queries_in_a_stratum_is_left_out_and_counted(table: Any) -> None:
    run = table.make_run("a", episodes=120, classes=2)
    ids = np.where(np.arange(120) < 2, 1, 0)  # class 1 has two queries in all
    rows = np.full(120, 20_000)  # one stratum
    run = replace(run, class_ids=ids, target=rows, classes=(0, 1))
    (strata,) = split_cells([table.make_cell(run)], Split.SIZE, **DRAWS)
    (full,) = [s for s in strata if s.episodes]
    assert (full.classes, full.classes_met, full.episodes) == (1, 2, 118)
    assert full.miou.value == pytest.approx(compute_miou(run, list(range(120)))[0])
    assert full.miou.low < full.miou.value < full.miou.high


def test_difficulty_divides_each_class_by_the_mean_of_all_methods(table: Any) -> None:
    runs = [table.make_run(name, episodes=180, classes=3) for name in "abc"]
    cells = [table.make_cell(run) for run in runs]
    strata = split_cells(cells, Split.DIFFICULTY, **DRAWS)
    means = np.mean([compute_episode_ious(run) for run in runs], axis=0)
    for run, row in zip(runs, strata, strict=True):
        assert [s.name for s in row] == list(THIRDS)
        for stratum in row:
            rows = []
            for c in run.classes:
                order = sorted(np.flatnonzero(run.class_ids == c), key=lambda i: -means[i])
                rows += [i for place, i in enumerate(order) if 3 * place // len(order) == stratum.key]
            assert stratum.miou.value == pytest.approx(compute_miou(run, rows)[0], abs=1e-9)
        assert row[0].miou.value > row[1].miou.value > row[2].miou.value


def test_one_method_has_no_difficulty(table: Any) -> None:
    assert split_cells([table.make_cell(table.make_run("a"))], Split.DIFFICULTY, **DRAWS) == [()]


def test_methods_with_other_episodes_do_not_rank_each_other(table: Any) -> None:
    cells = [table.make_cell(table.make_run(name, lists=name)) for name in "ab"]
    assert split_cells(cells, Split.DIFFICULTY, **DRAWS) == [(), ()]


def test_an_unfinished_run_is_ranked_on_shared_episodes(table: Any) -> None:
    whole, part = table.make_run("a", episodes=120), table.make_run("b", episodes=120)
    part = table.keep_episodes(part, np.arange(90))
    strata = split_cells([table.make_cell(whole), table.make_cell(part)], Split.DIFFICULTY, **DRAWS)
    assert [sum(s.episodes for s in row) for row in strata] == [90, 90]


def test_the_order_of_methods_changes_no_stratum(table: Any) -> None:
    cells = [table.make_cell(table.make_run(name)) for name in "abc"]
    for split in Split:
        forth, back = split_cells(cells, split, **DRAWS), split_cells(cells[::-1], split, **DRAWS)
        assert forth == back[::-1]


def test_sizes_of_supports_are_those_that_are_stored(table: Any) -> None:
    run = table.make_run("a", episodes=60, classes=1)
    area = run.manifest.block.size**2
    run = replace(run, supports=(("x", "y"),) * 60, support_pixels=((area // 10, area // 5),) * 60)
    assert compute_support_shares(run) == pytest.approx(np.full(60, 0.15))
    (strata,) = split_cells([table.make_cell(run)], Split.SUPPORT_SIZE, **DRAWS)
    ratios = compute_object_shares(run) / 0.15
    for stratum in strata:
        low, high = RATIOS[stratum.key], RATIOS[stratum.key + 1]
        assert stratum.episodes == int(((low <= ratios) & (ratios < high)).sum())
    assert count_unknown_support_sizes([table.make_cell(run)]) == 0


def test_an_older_run_knows_the_sizes_of_supports_that_are_queries_too(table: Any) -> None:
    run = table.make_run("a", episodes=4, classes=1)
    run = replace(run, queries=("p", "q", "r", "s"), supports=(("q",), ("nowhere",), ("p",), ("s",)))
    shares = compute_object_shares(run)
    known = compute_support_shares(run)
    assert known[[0, 2, 3]] == pytest.approx(shares[[1, 0, 3]])
    assert math.isnan(known[1])
    assert count_unknown_support_sizes([table.make_cell(run)]) == 1


def test_supports_without_a_pixel_have_no_stratum(table: Any) -> None:
    run = table.make_run("a", episodes=30, classes=1)
    run = replace(run, support_pixels=((0,),) * 30)
    (strata,) = split_cells([table.make_cell(run)], Split.SUPPORT_SIZE, **DRAWS)
    assert sum(s.episodes for s in strata) == 0


def test_all_strata_of_results_are_listed_once(table: Any) -> None:
    results = table.make_results(table.make_run("a"), table.make_run("b"), table.make_run("a", shot=5))
    listed = [(id(cell), stratum.split, stratum.key) for cell, stratum in list_strata(results)]
    assert len(listed) == len(set(listed)) == 3 * (6 + 5) + 2 * 3
