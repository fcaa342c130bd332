"""Suites by file: benchmarks by name or by files beside it, with folds and shots."""

from __future__ import annotations

from pathlib import Path

import pytest
from messages import error_names
from own_benchmarks import write_benchmark

from fssbench.api import FssbenchError
from fssbench.benchmarks.catalogue import find_benchmark
from fssbench.benchmarks.suites import Suite, find_suite
from fssbench.evaluation.suite import Request, prepare

pytestmark = pytest.mark.usefixtures("toy")
SUITE = """
format = "fssbench-suite/1"
id = "mine"
shots = [1]
benchmarks = [
    "pascal-to-isic2018:isic3",
    "own/shapes.toml",
    { name = "pascal5i", folds = [2, 3], shots = [5] },
]
"""


def find(tmp_path: Path, *changes: tuple[str, str]) -> Suite:
    (tmp_path / "own").mkdir(exist_ok=True)
    write_benchmark(tmp_path / "own" / "shapes.toml")
    return find_suite(write_benchmark(tmp_path / "suite.toml", *changes, text=SUITE))


def test_members_are_found_relative_to_the_file_with_folds_and_shots(tmp_path: Path) -> None:
    first, second, third = find(tmp_path).members
    assert first.benchmark == find_benchmark("pascal-to-isic2018:isic3")
    assert second.benchmark.id == find_benchmark(tmp_path / "own" / "shapes.toml").id
    assert [(m.folds, m.shots) for m in (first, second, third)] == [((), (1,)), ((), (1,)), ((2, 3), (5,))]


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ('id = "mine"', 'id = "paper"', ("'paper'", "built-in", "my-paper")),
        ('id = "mine"', "", ("id", "missing")),
        ("shots = [1]", "shot = [1]", ("'shot'", "Did you mean shots")),
        ("shots = [1]", "shots = [0]", ("shots.0", "0", "greater than or equal to 1")),
        ("pascal-to-isic2018:isic3", "pascal-to-isic", ("'pascal-to-isic'", "Did you mean pascal-to-isic2018")),
        ("own/shapes.toml", "shapes.toml", ("shapes.toml", "cannot be read")),
        ("folds = [2, 3]", "folds = [2, 4]", ("pascal5i", "no fold 4", "0 to 3")),
        ("folds = [2, 3]", "fold = [2, 3]", ("'fold'", "Did you mean folds")),
        ("/1", "/7", ("fssbench-suite/7", 'format = "fssbench-suite/1"')),
        ('"pascal-to-isic2018:isic3"', "7", ("benchmarks.0", "7")),
    ],
)  # fmt: skip
def test_whatever_is_wrong_is_named(tmp_path: Path, old: str, new: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(FssbenchError) as caught:
        find(tmp_path, (old, new))
    assert error_names(caught.value, "suite.toml", "Next: ", *parts)


def test_a_benchmark_file_is_no_suite_and_a_suite_is_no_benchmark(tmp_path: Path) -> None:
    find(tmp_path)
    with pytest.raises(FssbenchError, match="fssbench-suite/1"):
        find_suite(tmp_path / "own" / "shapes.toml")
    with pytest.raises(FssbenchError, match="fssbench-benchmark/1"):
        find_benchmark(tmp_path / "suite.toml")


def drawn(suite: Path | str, mini: Path, **options: object) -> list[tuple[str, int, int]]:
    checked = prepare(
        Request(methods=("panet",), suite=str(suite), data=str(mini), untrained=True, **options)
    )
    return [(t.plan.benchmark.partition("@")[0], t.plan.fold, t.plan.shot) for t in checked.tasks]


def test_a_request_draws_the_plans_of_a_suite_and_its_options_come_first(
    tmp_path: Path, mini: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a request makes its folder `runs`, to see that it can be written
    text = SUITE.replace('"own/shapes.toml",', '"pascal-to-isic2018:isic3",')
    path = write_benchmark(tmp_path / "suite.toml", text=text)
    assert drawn(path, mini) == [
        ("pascal-to-isic2018:isic3", 0, 1),
        ("pascal5i", 2, 5),
        ("pascal5i", 3, 5),
    ]
    assert drawn(path, mini, shots=(1,), folds=(0,)) == [
        ("pascal-to-isic2018:isic3", 0, 1),
        ("pascal5i", 0, 1),
    ]
