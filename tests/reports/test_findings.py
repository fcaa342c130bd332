"""The sentence at the top claims what the intervals carry, and no more."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from fssbench.reports.content.analysis import Analysis, analyse, counts_as_evidence, describe_protocols
from fssbench.reports.content.marks import collect_marks
from fssbench.reports.sections.findings import state_findings
from fssbench.reports.sections.pairing import make_matrices, make_overview
from report_factory import make_cell, make_run, share_results

from fssbench.api import Cell, Results, build_legend, with_names


def results_of(*cells: Cell) -> Results:
    return Results(tuple(r for c in cells for r in c.folds.values()), cells, 1000, 0)


def two(gap: float, *, marks: tuple[str, ...] = (), other: tuple[str, ...] = ()) -> Results:
    """Two methods on the same episodes; the second hits the given share less."""
    a = make_run("pmnet", marks=marks)
    inter = a.inter.copy()
    inter[:, 1] = (inter[:, 1] * (1 - gap)).astype(int)
    b = replace(
        a, method="hsnet", label="hsnet", identity="b" * 64, slug="b", inter=inter, marks=other or marks
    )
    return results_of(make_cell([a]), make_cell([b]))


def test_a_clear_lead_is_told_with_its_interval() -> None:
    told = state_findings(Analysis(two(0.1)))
    assert told.sentence.startswith("pmnet is significantly better than hsnet in 1 of 1 comparisons")
    assert re.search(r"\+\d+\.\d points \[\+\d+\.\d, \+\d+\.\d\] to hsnet", told.sentence)
    assert "200 episodes" in told.sentence
    assert told.caution == ""


def test_no_difference_is_no_finding() -> None:
    told = state_findings(Analysis(two(0.0)))
    assert "do not show which method is better" in told.sentence
    assert "better than" not in told.sentence


def test_untrained_weights_are_never_compared_in_words() -> None:
    result = Analysis(two(0.3, other=("untrained",)))
    told = state_findings(result)
    assert told.sentence.startswith("Nothing can be said")
    assert "1 comparison with untrained or random weights is not counted" in told.caution
    assert result.tallies == {}
    (matrix,) = make_matrices(result, build_legend(collect_marks(result.results)))
    assert {gap.verdict for row in matrix.rows for gap in row} == {""}
    assert matrix.rows[0][1].marks == "U"


def test_miniature_data_say_nothing_of_methods() -> None:
    told = state_findings(Analysis(two(0.1, marks=("miniature",))))
    assert told.sentence.startswith("On miniature data (not benchmark figures), pmnet is")
    assert "nothing about the methods" in told.caution


def test_a_mark_on_either_side_limits_the_sentence() -> None:
    told = state_findings(Analysis(two(0.1, other=("part-trained (9 steps on 9 images)",))))
    assert told.sentence.startswith("On figures that are not all full measurements (part-trained), pmnet is")


def test_methods_that_share_no_column_are_not_one_method() -> None:
    told = state_findings(Analysis(two(0.1, other=("capped (200 of 1000 episodes)",))))
    assert told.sentence.startswith("Nothing can be said")
    assert "no two methods share" in told.sentence


def test_counts_in_the_sentence_are_those_of_the_pairs() -> None:
    result = analyse(share_results())
    told = state_findings(result)
    leader = told.sentence.split(" is significantly")[0]
    claim = r"better than ([\w ]+) in (\d+) of (\d+) comparisons, worse in (\d+), undecided in (\d+)"
    claims = re.findall(claim, told.sentence)
    assert len(claims) == 2
    for other, won, n, lost, tied in claims:
        pairs = [p for ps in result.pairs.values() for p in ps if {p.a.label, p.b.label} == {leader, other}]
        mine = [
            p.outcome if p.a.label == leader else {"win": "loss", "loss": "win"}.get(p.outcome, "tie")
            for p in pairs
        ]
        assert (int(won), int(lost), int(tied)) == tuple(mine.count(v) for v in ("win", "loss", "tie"))
        assert int(n) == len(mine)
    for pair in (p for ps in result.pairs.values() for p in ps):
        if pair.outcome != "tie":
            assert pair.adjusted <= 0.05
            assert pair.difference.low > 0 or pair.difference.high < 0
        assert counts_as_evidence(pair)


def test_every_method_has_a_number_at_every_place_it_was_run() -> None:
    results = share_results()
    result = analyse(results)
    assert analyse(results) is result
    rows = make_overview(result, {})
    assert len(rows) == 4
    for row, place in zip(rows, result.places, strict=True):
        values = [f"{place.cells[n].miou.value:.1f}" for n in result.methods]
        assert [e.text for e in row.entries] == values
    means = [np.mean([p.cells[n].miou.value for p in result.places]) for n in result.methods]
    assert means == sorted(means, reverse=True)


def test_other_seeds_are_left_to_the_tables() -> None:
    a, b = make_run("pmnet"), make_run("hsnet")
    other = make_run("pmnet", seed=1, identity="c" * 64, slug="c")
    result = Analysis(with_names(results_of(make_cell([a]), make_cell([b]), make_cell([other]))))
    (place,) = result.places
    assert {c.seed for c in place.cells.values()} == {0}
    assert result.cells_not_shown == (result.results.cells[2],)
    assert "pmnet, seed 1" in result.describe_not_shown()
    assert describe_protocols(place.cells.values()) == "published/1, seed 0"
