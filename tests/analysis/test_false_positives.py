"""The README's commands and `compare`, end to end: what they say agrees, and equal methods are rarely told apart.

The false positives are those of the stored runs themselves: the outcomes of two methods are exchanged at
random, query by query, so that neither is better; whatever is then called significant is false.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fssbench.reports.content.analysis import Analysis
from fssbench.reports.sections.findings import state_findings

from fssbench.analysis.collect import collect
from fssbench.analysis.comparisons import compare_pairs, turn_pair
from fssbench.api import Cell, Results, RunResult
from fssbench.cli import main
from fssbench.evaluation.suite import MINI_ENOUGH
from fssbench.evidence import TOO_FEW

DRAWS = 200
RUN = ("run", "--method", "pmnet", "--method", "hsnet", "--method", "panet", "--suite", "cross-domain")


def invoke(*arguments: object) -> str:
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def exchanged(a: Cell, b: Cell, draw: np.random.Generator) -> tuple[Cell, Cell]:
    """Two cells with their outcomes exchanged at random; a query is turned in all folds, or in none."""
    turn: dict[tuple[str, int, str], bool] = {}
    cells: list[dict[int, RunResult]] = [{}, {}]
    for fold, run in a.folds.items():
        other = b.folds[fold]
        asked = [(run.plan_sha256, *key) for key in zip(run.class_ids.tolist(), run.queries, strict=True)]
        for key in asked:
            turn.setdefault(key, bool(draw.random() < 0.5))
        mask = np.array([turn[key] for key in asked])[:, None]
        for cell, mine, its in ((0, run, other), (1, other, run)):
            cells[cell][fold] = replace(
                mine,
                inter=np.where(mask, its.inter, mine.inter),
                union=np.where(mask, its.union, mine.union),
            )
    return replace(a, folds=cells[0]), replace(b, folds=cells[1])


def false_positives(results: Results) -> dict[tuple[str, int], list[float]]:
    """How often exchanged outcomes are called significant, per benchmark and shot, for each two methods.

    Every pair is a family of its own: an adjustment could only make it rarer.
    """
    rates: dict[tuple[str, int], list[float]] = {}
    for number, pair in enumerate(compare_pairs(results)):
        draw = np.random.default_rng(number)
        outcomes = []
        for _ in range(DRAWS):
            cells = exchanged(pair.a, pair.b, draw)
            runs = tuple(run for cell in cells for run in cell.folds.values())
            (alone,) = compare_pairs(replace(results, runs=runs, cells=cells))
            outcomes.append(alone.outcome)
        assert (TOO_FEW in outcomes) == (pair.outcome == TOO_FEW)
        rates.setdefault((pair.benchmark, pair.shot), []).append(
            sum(outcome in ("win", "loss") for outcome in outcomes) / DRAWS
        )
    return rates


def agree(folder: Path, report: Path) -> tuple[Results, list[dict[str, object]]]:
    """Make a report and a comparison of the runs, and hold one against the other."""
    invoke("report", folder, "-o", report, "--format", "markdown,json,csv,html")
    rows = map(json.loads, invoke("compare", "--runs", folder, "--json").splitlines())
    compared = [row for row in rows if row["kind"] == "pair"]
    results = collect([folder])
    said = {(row["benchmark"], row["shot"], *row["methods"]): row for row in compared}
    told = [pair for place in Analysis(results).pairs.values() for pair in place]
    assert len(told) == len(compared)
    for pair in told:
        if (pair.benchmark, pair.shot, *pair.methods) not in said:
            pair = turn_pair(pair)
        row = said[pair.benchmark, pair.shot, *pair.methods]
        assert (row["difference"], row["outcome"]) == (pair.difference.value, pair.outcome)
        assert (row["family"], row["shortage"]) == (pair.family, pair.difference.shortage)
        best = [cell for cell in (pair.a, pair.b) if cell.best]
        tied = [cell for cell in (pair.a, pair.b) if cell.tied]
        if pair.outcome == TOO_FEW:
            assert not best
            assert not tied
            continue
        assert (row["p"], row["holm_p"]) == (pair.difference.p, pair.adjusted)
        if best:
            assert bool(tied) == (pair.outcome == "tie")
    return results, compared


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_readmes_two_commands_decide_nothing_and_say_so(tmp_path: Path) -> None:
    invoke(*RUN, "--data", "mini", "--out", tmp_path / "runs", "-q", "--panels", 0)
    results, compared = agree(tmp_path / "runs", tmp_path / "report")
    assert {row["outcome"] for row in compared} == {TOO_FEW}
    sentence = state_findings(Analysis(results)).sentence
    assert "too few queries" in sentence
    assert "--episodes" in sentence
    assert sentence.replace("'", "&#39;") in (tmp_path / "report" / "report.html").read_text()
    assert "**" not in "".join(
        line
        for line in (tmp_path / "report" / "report.md").read_text().splitlines()
        if line.startswith("| pmnet")
    )
    suim = next(cell for cell in results.cells if "suim" in cell.benchmark)
    assert (len(suim.folds), suim.episodes) == (4, 8), "folds on one plan count their episodes once"
    assert {rate for rates in false_positives(results).values() for rate in rates} == {0.0}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_with_enough_queries_false_positives_are_rare(tmp_path: Path) -> None:
    invoke(*RUN, "--data", "mini", "--out", tmp_path / "runs", "-q", "--panels", 0, "--episodes", MINI_ENOUGH)
    results, compared = agree(tmp_path / "runs", tmp_path / "report")
    assert TOO_FEW not in {row["outcome"] for row in compared}
    rates = false_positives(results)
    print("\n".join(f"{benchmark} {shot}-shot: {each}" for (benchmark, shot), each in rates.items()))
    assert len(rates) == 7
    assert max(np.mean(each) for each in rates.values()) <= 0.07
