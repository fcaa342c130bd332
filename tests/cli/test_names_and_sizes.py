"""Names and numbers beyond reason, and folders that may not be read: one sentence and the right exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import run_command
from fuzzing import find_faults
from messages import error_names
from rights import permissions_respected

LONG = "x" * 300


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (f"show {LONG}", 2),
        (f"list runs --out {LONG}", 2),
        (f"run -m panet -b {LONG} --data mini", 2),
        (f"run -m panet -b pascal-to-chestxray --data {LONG}", 3),
        (f"run -m pmnet -b pascal-to-chestxray --data mini --checkpoint {LONG}{LONG}", 2),
        (f"run -m panet -b pascal-to-chestxray --data mini --episodes 1 --size 32 --out {LONG}", 3),
        (f"report {LONG}", 2),
        (f"verify {LONG}", 2),
        ("episodes pascal-to-chestxray --data mini -o .", 3),
        ("episodes pascal-to-chestxray --data mini -o /", 3),
        ("episodes pascal-to-chestxray --data mini --shot 1000000 --episodes 1", 2),
        ("episodes pascal-to-chestxray --data mini --seed 4294967296", 2),
        ("run -m panet -b pascal-to-chestxray --data mini --size 1000000", 2),
        ("run -m panet -b pascal-to-chestxray --data mini --workers 1000000", 2),
        ("run -m panet -b pascal-to-chestxray --data mini --cache-gb nan", 2),
        ("power --diff nan", 2),
        ("train -m pmnet -b pascal5i --data mini --lr inf", 2),
    ],
)
def test_a_sentence_and_the_right_exit_code(
    line: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # some lines make a folder before they fail
    result = run_command(*line.split(), folder=tmp_path)
    assert not [*find_faults(result)]
    assert result.exit_code == code, result.output
    assert "rror: " in result.output


def test_more_episodes_than_a_plan_has_are_said_not_to_be_there(tmp_path: Path) -> None:
    drawn = run_command("episodes", "pascal-to-chestxray", "--data", "mini", "--episodes", 1_000_000)
    assert drawn.exit_code == 0
    assert error_names(drawn.output, "600", "1000000")


@pytest.mark.parametrize("harm", ["root", "class", "marker"])
def test_a_folder_that_may_not_be_read_is_named(harm: str, tmp_path: Path) -> None:
    run_command("data", "mini", tmp_path / "data", "--dataset", "fss1000")
    root = tmp_path / "data"
    place = {"root": root, "class": next((root / "FSS-1000").iterdir()), "marker": root / "MINIATURE.json"}[
        harm
    ]
    place.chmod(0)
    line = f"run -m panet -b fss1000 -k 1 --episodes 2 --size 32 -q --data {root} --out {tmp_path / 'runs'}"
    with permissions_respected():
        result = run_command(*line.split(), "--backbone", "efficientnet-lite0")
    place.chmod(0o755)
    assert result.exit_code == 3, result.output
    assert not [*find_faults(result)]
    assert error_names(result.output, place.name)
