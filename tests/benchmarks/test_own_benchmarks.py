"""A benchmark that a user defined in a file: its id, and how its definition travels with plans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from own_benchmarks import write_benchmark

from fssbench import plan
from fssbench.api import DataError, UsageError
from fssbench.benchmarks.catalogue import find_benchmark, find_plan_benchmark
from fssbench.contracts.benchmarks import Resolved
from fssbench.episodes.plan_file import read_plan, write_plan


@pytest.fixture
def own_file(tmp_path: Path, toy: object) -> Path:
    return write_benchmark(tmp_path / "shapes.toml")


def change(path: Path, old: str, new: str) -> Resolved:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return find_benchmark(path)


def test_every_change_of_content_makes_another_id_and_no_change_of_layout_does(own_file: Path) -> None:
    first = find_benchmark(own_file)
    assert first.id.startswith("my-shapes@")
    assert change(own_file, "episodes = 6", "# a remark\nepisodes   =   6").id == first.id
    assert change(own_file, '["disc", "square"]', '["square", "disc"]').id == first.id
    ids = {first.id}
    for old, new in [
        ("episodes   =   6", "episodes = 7"),
        ('title = "Shapes"', 'title = "Shape"'),
        ("shots = [1]", "shots = [1, 5]"),
        ('"square", "disc"', '"square"'),
        ('folds = "all"', "folds = [[0], [1]]"),
    ]:
        ids.add(change(own_file, old, new).id)
    assert len(ids) == 6


def test_a_plan_carries_the_definition_when_the_file_is_gone(own_file: Path, tmp_path: Path) -> None:
    resolved = find_benchmark(own_file)
    drawn = plan(own_file, fold=0, data="mini")
    write_plan(drawn, tmp_path / "plan.json")
    own_file.unlink()
    stored = read_plan(tmp_path / "plan.json")
    assert stored == drawn
    again = find_plan_benchmark(stored)
    assert (again.id, again.folds, again.benchmark) == (resolved.id, resolved.folds, resolved.benchmark)
    assert again.definition == resolved.benchmark
    with pytest.raises(UsageError, match="defined in a file"):
        find_benchmark(stored.benchmark)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("episodes",), 60),
        (("absent",), "zero"),
        (("target", "folds"), [[2, 5], [5]]),
        (("title",), "PASCAL-5i"),
        (("category",), "cross-domain"),
        (("paper",), ["table1"]),
        (("meter",), "mean"),
        (("episodes",), "6"),
        (("version",), True),
        (("target",), None),
        (("source",), []),
        (("variants",), None),
        (("id",), "pascal5i"),
    ],
)
def test_a_plan_whose_definition_was_edited_is_refused(
    own_file: Path, tmp_path: Path, place: tuple[str, ...], value: object
) -> None:
    path = tmp_path / "plan.json"
    write_plan(plan(own_file, data="mini"), path)
    content = json.loads(path.read_text())
    *parents, key = "definition", *place
    table = content
    for parent in parents:
        table = table[parent]
    table[key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="definition") as caught:
        read_plan(path)
    assert "plan.json" in str(caught.value)


def test_a_plan_whose_definition_was_taken_away_cannot_be_drawn_again(own_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(plan(own_file, data="mini"), path)
    content = json.loads(path.read_text())
    del content["definition"]
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="defined in a file"):
        find_plan_benchmark(read_plan(path))


def test_plans_of_built_in_benchmarks_carry_no_definition(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(plan("pascal-to-chestxray", data="mini", episodes=2), path)
    assert "definition" not in json.loads(path.read_text())
