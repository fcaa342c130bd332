"""A run command divided into tasks: every measurement once, and no option lost."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from fssbench.api import Episode, Plan
from fssbench.contracts.efficiency import Efficiency, Timing
from fssbench.episodes.plan_file import write_plan
from fssbench.errors import UsageError
from fssbench.evaluation.settings import Settings
from fssbench.evaluation.suite import Request
from fssbench.launching.estimate import START, estimate_cost
from fssbench.launching.slurm import parse_minutes
from fssbench.launching.tasks import list_closing_tasks, list_tasks


def request(**values: object) -> Request:
    return Request(
        **{"methods": ("panet", "pmnet"), "benchmarks": ("pascal5i", "pascal-to-chestxray"), **values}
    )


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_each_measurement_is_in_one_task(shards: int) -> None:
    tasks = list_tasks(request(seeds=(0, 1), shots=(1, 5)), ["--device", "cuda"], shards)
    assert len(tasks) == 2 * (4 + 1) * 2 * shards
    assert len({task.words for task in tasks}) == len(tasks) == len({task.name for task in tasks})
    per_method = {m: sum(t.episodes for t in tasks if t.method == m) for m in ("panet", "pmnet")}
    assert per_method == dict.fromkeys(("panet", "pmnet"), (4 * 1000 + 600) * 2 * 2)
    for task in tasks:
        words = list(task.words)
        assert words[:3] == ["run", "--method", task.method]
        assert words[-2:] == ["--device", "cuda"]
        assert [v for w, v in pairwise(words) if w == "--seed"] == ["0", "1"]
        assert words[words.index("--out") + 1] == ("runs" if shards == 1 else "runs/shards")
        assert ("--shard" in words) == (shards > 1)


def test_folds_shots_and_caps_that_were_asked_for() -> None:
    tasks = list_tasks(request(benchmarks=("pascal5i",), folds=(2,), shots=(3,), episodes=10), [], 4)
    assert {(t.shot, t.size) for t in tasks} == {(3, 400)}
    assert [t.episodes for t in tasks if t.method == "panet"] == [2, 3, 2, 3]


def test_a_stored_plan_is_a_place(tmp_path: Path) -> None:
    rows = tuple(Episode(i, 0, "a", ("b",)) for i in range(5))
    plan = Plan(
        "pascal5i", 1, "pascal", None, "val", 0, 1, "published/1", 0, 400, (0,), ("c",), "l", (), rows
    )
    write_plan(plan, tmp_path / "p.json")
    (task,) = list_tasks(Request(methods=("panet",), plan_files=(tmp_path / "p.json",), episodes=3), [], 1)
    assert task.episodes == 3
    assert task.words[3:5] == ("--plan", str(tmp_path / "p.json"))


def test_a_benchmark_of_a_file_is_named_by_its_file(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from fssbench.cli import main

    text = CliRunner().invoke(main, ["show", "pascal-to-chestxray", "--toml"]).stdout
    text = text.replace('id = "pascal-to-chestxray"', 'id = "mine"').replace(
        "\ntitle = ", '\ntitle = "Mine, from ', 1
    )
    lines = [line if "Mine, from" not in line else 'title = "Mine"' for line in text.splitlines()]
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    (tmp_path / "suite.toml").write_text(
        'format = "fssbench-suite/1"\nid = "both"\nbenchmarks = ["mine.toml", "pascal5i"]\n'
    )
    for asked in (
        {"suite": str(tmp_path / "suite.toml"), "benchmarks": ()},
        {"benchmarks": (str(tmp_path / "mine.toml"), "pascal5i")},
    ):
        tasks = list_tasks(request(methods=("panet",), shots=(1,), folds=(0,), **asked), [], 1)
        assert [t.words[t.words.index("--benchmark") + 1] for t in tasks] == [
            str(tmp_path / "mine.toml"),
            "pascal5i",
        ]


def test_the_merge_reads_where_the_shards_are() -> None:
    tasks = list_tasks(request(settings=Settings(out=Path("all"))), [], 2)
    merge, report = list_closing_tasks(Path("all"), Path("l"), 2, ["--plugin", "p.py"])
    assert tasks[0].words[tasks[0].words.index("--out") + 1] == merge.words[1] == "all/shards"
    assert merge.words[2:] == ("--out", "all")
    assert report.words == ("report", "all", "--out", "l/report", "--plugin", "p.py")
    assert [t.name for t in list_closing_tasks(Path("all"), Path("l"), 1, [])] == ["report"]


def test_unknown_names_are_refused_before_anything_is_submitted() -> None:
    for wrong in ({"methods": ("pannet",)}, {"benchmarks": ("pascal6i",)}, {"benchmarks": ()}):
        with pytest.raises(UsageError):
            list_tasks(request(**wrong), [], 1)


def test_the_estimate_adds_measured_times_and_names_the_rest() -> None:
    def measured(milliseconds: float, created: str) -> Efficiency:
        timing = Timing.model_construct(median=milliseconds, unstable=())
        return Efficiency.model_construct(
            method="panet",
            shot=1,
            size=400,
            backbone="resnet50",
            milliseconds=timing,
            device="cuda",
            processor="H",
            created_utc=created,
        )

    tasks = list_tasks(request(benchmarks=("pascal5i",), shots=(1,), folds=(0,), seeds=(0, 1, 2)), [], 1)
    estimate = estimate_cost(tasks, [measured(36.0, "2026-02"), measured(9999.0, "2026-01")])
    assert estimate.episodes == 6000
    assert estimate.hours == pytest.approx((3000 * 0.036 + 2 * START) / 3600)
    assert estimate.unmeasured == (("pmnet", 1, 400),)
    assert estimate.devices == ("cuda (H)",)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30", 2), ("12:00:00", 720), ("2-0", 2880), ("1-12:30", 2190), ("0-0:00:01", 1)],
)
def test_times_of_slurm(text: str, minutes: int) -> None:
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "0", "-5", "1h", "1:2:3:4", "²", "1-", "00:00"])
def test_texts_that_are_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        parse_minutes(text)
