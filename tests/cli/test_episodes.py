"""`fssbench episodes` as a user types it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fssbench.cli import main
from fssbench.episodes.sampling import plan, read_plan


def run(*arguments: str | Path, check: int = 0) -> Result:
    result = CliRunner().invoke(main, ["episodes", *map(str, arguments)])
    assert result.exit_code == check, result.output + result.stderr
    return result


@pytest.fixture
def real(tmp_path: Path, toy: Any) -> Path:
    toy.miniature(tmp_path / "real", 0)
    return tmp_path / "real"


def test_show(real: Path) -> None:
    shown = run("toy", "--data", real, "--shot", "5", "--rows", "3").stdout
    drawn = plan("toy", data=real, shot=5)
    assert drawn.sha256 in shown
    assert "files on disk by name" in shown
    assert "published/1" in shown
    for count in ("2 disc: 200", "5 square: 200", "9 wedge: 200"):
        assert count in shown
    rows = shown.rstrip().splitlines()[-3:]
    assert rows[0] == f"0\t2\t{drawn[0].query}\t{' '.join(drawn[0].supports)}"
    assert rows[2].startswith("2\t9\t")


def test_show_as_json(real: Path) -> None:
    arguments = ("toy:two", "--data", real, "--protocol", "fssbench", "--seed", "7", "--json")
    row = json.loads(run(*arguments).stdout)
    drawn = plan("toy:two", data=real, protocol="fssbench", seed=7)
    assert row["sha256"] == drawn.sha256
    assert (row["benchmark"], row["protocol"], row["seed"]) == ("toy:two", "fssbench/1", 7)
    assert row["per class"] == {"2 disc": 300, "5 square": 300}
    assert row["repeated supports"] == 0
    assert len(row["rows"]) == 5


def test_a_miniature_and_a_cap_are_marked(toy: Any) -> None:
    shown = run("toy", "--data", "mini", "--episodes", "9").stdout
    assert "miniature, capped (9 of 600 episodes)" in shown


def test_a_written_plan_of_a_miniature_has_the_size_of_its_benchmark(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    run("pascal-to-chestxray", "--data", "mini", "--episodes", "2", "-o", file)
    assert read_plan(file).size == 400


def test_write_and_replay(real: Path, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    assert f"written to {file}" in run("toy", "--data", real, "-o", file).stderr
    assert read_plan(file) == plan("toy", data=real)
    row = json.loads(run("--replay", file, "--data", real, "--json").stdout)
    assert row["now"] == "equal"
    assert row["sha256"] == plan("toy", data=real).sha256


def test_replay_of_a_cap_compares_what_it_holds(real: Path, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    run("toy", "--data", real, "--episodes", "9", "-o", file)
    assert json.loads(run("--replay", file, "--data", real, "--json").stdout)["now"] == "equal"


def test_replay_on_other_files_differs_and_says_from_where(real: Path, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    run("toy", "--data", real, "-o", file)
    (real / "toy" / "square" / "8.png").unlink()
    told = json.loads(run("--replay", file, "--data", real, "--json", check=3).stdout)["now"]
    assert re.match(r"differs from index [1-9]\d* on: .*other files or lists", told)


def test_replay_without_data_still_shows(real: Path, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    run("toy", "--data", real, "-o", file)
    assert "not compared: the folder of data set 'toy' is not known" in run("--replay", file).stdout


def test_replay_of_another_protocol_version_is_not_compared(real: Path, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    run("toy", "--data", real, "-o", file)
    file.write_text(file.read_text().replace("published/1", "published/9"))
    assert "not compared: protocol published/9" in run("--replay", file, "--data", real).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 2, "give either a BENCHMARK or --replay"),
        (["toy", "--replay", "x"], 2, "give either a BENCHMARK or --replay"),
        (["toi", "--data", "mini"], 2, "Did you mean toy"),
        (["toy", "--data", "mini", "--fold", "1"], 2, "no fold 1"),
        (["toy", "--data", "mini", "--shot", "8", "--protocol", "fssbench"], 3, "fewer than the 9 images"),
        (["toy", "--data", "mini", "-o", "nowhere/p.json"], 3, "plan nowhere/p.json cannot be written"),
        (["toy"], 3, "give --data DIR"),
        (["--replay", "nowhere.json"], 3, "cannot be read"),
        (["toy", "--episodes", "many"], 2, "many"),
    ],
)
def test_mistakes(arguments: list[str], code: int, told: str, toy: Any) -> None:
    result = run(*arguments, check=code)
    assert told in result.stderr
    assert "Traceback" not in result.output + result.stderr


def test_a_changed_plan_is_refused(real: Path, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    run("toy", "--data", real, "-o", file)
    file.write_text(file.read_text().replace('"disc/1.png"', '"disc/2.png"'))
    assert "was changed" in run("--replay", file, check=3).stderr


def test_classes_seen_in_training_are_shown(shared: Path) -> None:
    splits = shared / "golden" / "splits"
    row = json.loads(run("coco20i-to-pascal5i:naive5i", "--fold", "1", "--splits", splits, "--json").stdout)
    assert row["seen in training"] == ["car", "cat", "chair", "cow"]
