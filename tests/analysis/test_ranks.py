"""Ranks against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import chi2, friedmanchisquare, rankdata, studentized_range

from fssbench.analysis.ranks import (
    average_ranks,
    compute_chi_square_tail,
    compute_critical_difference,
    group_ranks,
    run_friedman_test,
)

TABLES = st.integers(3, 6).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 6), min_size=k, max_size=k), min_size=2, max_size=12)
)


@settings(max_examples=60, deadline=None)
@given(TABLES)
def test_ranks_are_those_of_scipy(table: list[list[int]]) -> None:
    theirs = np.mean([rankdata([-v for v in row]) for row in table], axis=0)
    assert average_ranks(table) == pytest.approx(theirs)
    assert average_ranks(table).sum() == pytest.approx(len(theirs) * (len(theirs) + 1) / 2)


@settings(max_examples=60, deadline=None)
@given(TABLES)
def test_friedman_is_scipys(table: list[list[int]]) -> None:
    if all(len(set(row)) == 1 for row in table):
        assert run_friedman_test(table) == 1.0
        return
    theirs = friedmanchisquare(*np.array(table).T)
    assert run_friedman_test(table) == pytest.approx(theirs.pvalue, abs=1e-10)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 12, 19])
@pytest.mark.parametrize("x", [0.0, 0.3, 2.0, 9.5, 40.0])
def test_tail_of_chi_square(x: float, df: int) -> None:
    assert compute_chi_square_tail(x, df) == pytest.approx(chi2.sf(x, df), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("methods", [2, 3, 5, 10, 20, 40])
def test_critical_difference_is_made_of_scipys_studentised_range(methods: int) -> None:
    q = studentized_range.ppf(0.95, methods, np.inf) / np.sqrt(2)
    theirs = q * np.sqrt(methods * (methods + 1) / (6 * 14))
    assert compute_critical_difference(methods, 14) == pytest.approx(theirs, rel=1e-4)


def test_critical_values_of_demsars_table_5a() -> None:
    printed = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
    for k, q in printed.items():
        # he truncates
        assert compute_critical_difference(k, 1) / np.sqrt(k * (k + 1) / 6) == pytest.approx(q, abs=1e-3)


def test_groups_by_hand() -> None:
    assert group_ranks([1.0, 1.4, 3.0], 0.5) == [(0, 1)]
    assert group_ranks([1.0, 2.0, 3.0], 5.0) == [(0, 1, 2)]
    assert group_ranks([1.0, 2.0, 3.0], 0.5) == []
    assert group_ranks([3.0, 1.0, 2.0, 2.5], 1.0) == [(1, 2), (2, 3, 0)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(10, 60), min_size=2, max_size=8), st.integers(1, 30))
def test_groups_hold_just_the_pairs_that_are_close(tenths: list[int], critical: int) -> None:
    close = {(i, j) for i in range(len(tenths)) for j in range(i) if abs(tenths[i] - tenths[j]) <= critical}
    result = group_ranks(tenths, critical)
    together = {(max(a, b), min(a, b)) for group in result for a in group for b in group if a != b}
    assert together == close
    assert not any(set(a) < set(b) for a in result for b in result)
