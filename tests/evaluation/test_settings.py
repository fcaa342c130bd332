"""An evaluation as a notebook shows it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from run_folders import make_plan, write_run

from fssbench.errors import UsageError
from fssbench.evaluation.settings import Evaluation, make_settings
from fssbench.runs.store import read_run
from fssbench.runs.summary import score_run


def make_evaluation(folder: Path, episodes: int) -> Evaluation:
    path = write_run(folder, make_plan("pascal-to-isic2018", 0, 1, episodes), "pmnet", marks=("miniature",))
    run = read_run(path)
    return Evaluation(path, run.identity, score_run(run), run.planned, episodes)


def test_it_has_figures_intervals_episodes_and_marks(tmp_path: Path) -> None:
    shown = make_evaluation(tmp_path, 200)._repr_html_()
    for part in ("mIoU", "FB-IoU", " to ", "200 of 200 planned", "miniature", "identity"):
        assert part in shown
    assert "none" not in shown


def test_with_too_few_queries_there_is_no_interval(tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path, 8)
    shown = evaluation._repr_html_()
    assert shown.count("none: too few queries (") == 2
    assert " to " not in shown


def test_a_folder_that_changed_or_is_gone_gives_no_interval(tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path, 200)
    log = evaluation.path / "episodes.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:150]))
    assert "holds 150 episodes now, and this result is of 200" in evaluation._repr_html_()
    shutil.rmtree(evaluation.path)
    assert f"{evaluation.score.miou:.1f} % (95 % interval none: no runs" in evaluation._repr_html_()


@pytest.mark.parametrize("shard", [(0, 2), (3, 2)])
def test_a_part_that_does_not_exist_is_refused(shard: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="1 <= i <= n"):
        make_settings(shard=shard)
