"""Figures as a notebook shows them: never without interval, episodes and marks; texts are escaped."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from report_factory import make_cell, make_run

from fssbench.api import Estimate
from fssbench.metrics import score

NAN = math.nan


def test_a_figure_has_its_interval_or_the_reason_why_not() -> None:
    sound = Estimate(57.34, 50.0, 63.0)
    few = Estimate(57.34, NAN, NAN, "too few queries (8; 1 in a class)")
    for shown in (str(sound), sound._repr_html_()):
        assert "57.3" in shown
        assert "50.0 to 63.0" in shown
    for shown in (str(few), few._repr_html_()):
        assert "none: too few queries (8; 1 in a class)" in shown
        assert "nan" not in shown
    assert "none: not resampled" in str(Estimate(1.0, NAN, NAN))


@pytest.mark.parametrize("episodes", [6, 400])
def test_runs_and_means_are_short_and_whole(episodes: int) -> None:
    run = make_run(episodes=episodes, marks=("capped (6 of 600 episodes)", "untrained"))
    cell = replace(make_cell([run]), best=True)
    for shown in (repr(run), run._repr_html_(), repr(cell), cell._repr_html_()):
        assert len(shown) < 2000
        assert f"{run.miou.value:.1f} %" in shown
        assert "capped (6 of 600 episodes)" in shown
        assert "untrained" in shown
        assert f"{episodes}" in shown
        assert ("too few queries" in shown) == (episodes == 6)
    assert ("verdict" in cell._repr_html_()) == (episodes == 400)


def test_names_of_plugins_are_escaped() -> None:
    run = replace(make_run(), label="<script>alert(1)</script>", marks=('"><img onerror=x>',))
    for shown in (run._repr_html_(), make_cell([run])._repr_html_()):
        assert "<script>" not in shown
        assert "<img" not in shown
        assert "&lt;img" in shown


def test_a_score_has_no_verdict_and_says_where_its_interval_is() -> None:
    result = score([0, 1], [[2, 1], [1, 1]], [[3, 2], [2, 3]], classes=[0, 1, 2], whole=False)
    shown = result._repr_html_()
    for part in ("mIoU", "FB-IoU", "<td", "classes (2 of 3 classes met)", "fssbench.results"):
        assert part in shown
    for word in ("best", "verdict", "significant"):
        assert word not in shown
