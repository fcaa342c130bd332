"""`fssbench data` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fssbench.api import Finding, Verification
from fssbench.cli import main
from fssbench.cli.data import command


def run(*arguments: str | Path, check: int = 0) -> Result:
    result = CliRunner().invoke(main, ["data", *map(str, arguments)])
    assert result.exit_code == check, result.output + result.stderr
    return result


@pytest.fixture
def real(tmp_path: Path, toy: Any) -> Path:
    toy.miniature(tmp_path / "real", 0)
    return tmp_path / "real"


def test_verify_a_sound_data_set(real: Path) -> None:
    result = run("verify", "toy", "--data", real)
    assert f"toy: 24 images, 24 masks at {real / 'toy'}" in result.stdout
    assert "      8  disc" in result.stdout
    assert "0 errors, 0 warnings: sound" in result.stdout
    assert "checking toy" in result.stderr


def test_verify_groups_counts_and_ends_with_3(real: Path) -> None:
    for number in range(1, 8):
        (real / "toy" / "disc" / f"{number}_mask.png").unlink()
    result = run("verify", "toy", "--data", real, check=3)
    assert "  error: 7 files\n" in result.stdout
    assert "disc/1.png: no mask for image 1" in result.stdout
    assert "disc/6.png" not in result.stdout
    assert "... and 2 more (--all shows them)" in result.stdout
    assert result.stdout.count("remedy: draw it again") == 1
    assert "7 errors, 0 warnings: not usable in this state" in result.stdout
    assert "disc/7.png" in run("verify", "toy", "--data", real, "--all", check=3).stdout


def test_verify_a_variant_and_a_warning_is_no_failure(real: Path) -> None:
    result = run("verify", "toy:two", "--data", real)
    assert "warning: not a class of this variant" in result.stdout
    assert "0 errors, 1 warning: sound" in result.stdout


def test_verify_prints_a_problem_of_many_files_once_and_with_its_numbers(drawn: Any, tmp_path: Path) -> None:
    root = drawn.draw_fss(tmp_path)
    for number in range(1, 4):
        Image.fromarray(drawn.draw_pair(number)[1] // 255).save(root / f"class_000/{number}.png")
    result = run("verify", "fss1000", "--data", tmp_path, check=3)
    problem = "the highest value is 1, so the threshold 128 gives no foreground"
    assert f"error: {problem} (3 files)\n    class_000/1.png\n" in result.stdout
    assert result.stdout.count(problem) == 1
    assert "Next, once the errors are mended: `fssbench data verify fss1000 --record" in result.stderr


def test_verify_as_json(real: Path) -> None:
    (real / "toy" / "wedge" / "3_mask.png").unlink()
    (row,) = map(json.loads, run("verify", "toy", "--data", real, "--json", check=3).stdout.splitlines())
    assert (row["dataset"], row["ok"], row["images"], row["masks"]) == ("toy", False, 24, 23)
    assert row["histogram"] == {"disc": 8, "square": 8, "wedge": 7}
    assert row["findings"] == [
        {
            "level": "error",
            "path": "wedge/3.png",
            "problem": "no mask for image 3",
            "remedy": "draw it again",
        }
    ]


def test_verify_without_a_name_looks_at_what_is_there(real: Path) -> None:
    result = run("verify", "--data", real)
    assert "toy: 24 images" in result.stdout
    assert "skipped: data set 'pascal' not found" in result.stderr or "skipped: plugin" in result.stderr


def test_verify_mini(toy: Any) -> None:
    assert "24 images" in run("verify", "toy", "--data", "mini").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["verify", "toi", "--data", "."], 2, "Did you mean toy"),
        (["verify", "toy:tree", "--data", "mini"], 2, "three"),
        (["verify", "toy"], 3, "give --data DIR"),
        (["verify"], 3, "give --data DIR"),
        (["verify", "--data", "nowhere"], 3, "does not exist"),
        (["verify", "toy", "--data", "EMPTY"], 3, "looked for"),
        (["verify", "--data", "EMPTY"], 3, "holds no data set"),
        (["prepare", "toy", "EMPTY"], 2, "give --data DIR"),
        (["prepare", "toy", "EMPTY", "--data", "mini"], 2, "give --data DIR"),
        (["prepare", "toy", "nowhere", "--data", "EMPTY"], 3, "download nowhere does not exist"),
        (["prepare", "toy", "EMPTY", "--data", "EMPTY"], 3, "holds no raw.txt"),
        (["mini", "--dataset", "toi"], 2, "Did you mean toy"),
        (["splits", "EMPTY"], 3, "holds no reference list"),
    ],
)
def test_mistakes(arguments: list[str], code: int, told: str, toy: Any, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    result = run(*[str(empty) if a == "EMPTY" else a for a in arguments], check=code)
    assert told in result.stderr
    assert "Traceback" not in result.output + result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("answer", [RuntimeError("boom"), "fine"])
def test_a_verify_that_breaks_is_the_plugins_fault(
    answer: object, real: Path, toy: Any, monkeypatch: Any
) -> None:
    def verify(self: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(toy, "verify", verify)
    assert "data set 'toy'" in run("verify", "toy", "--data", real, check=4).stderr


def test_findings_cannot_command_the_terminal(real: Path, toy: Any, monkeypatch: Any) -> None:
    def verify(self: Any) -> Verification:
        return Verification(
            "toy",
            self.root,
            images=24,
            masks=24,
            findings=[Finding("warning", "a\x1b[31m", "odd\x1b[0m", "go\x07")],
        )

    monkeypatch.setattr(toy, "verify", verify)
    assert "\x1b" not in run("verify", "toy", "--data", real).output


def test_prepare(tmp_path: Path, toy: Any) -> None:
    source, target = tmp_path / "download", tmp_path / "data"
    source.mkdir()
    (source / "raw.txt").touch()
    result = run("prepare", "toy", source, "--data", target)
    assert result.stdout.strip() == str(target / "toy")
    assert result.stderr.splitlines()[:2] == ["unpacking", "done"]
    assert (target / "toy" / "disc" / "1.png").is_file()


def test_prepare_uses_the_environment(tmp_path: Path, toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw.txt").touch()
    monkeypatch.setenv("FSSBENCH_DATA", str(tmp_path / "data"))
    assert str(tmp_path / "data" / "toy") in run("prepare", "toy", tmp_path).stdout


def test_mini_into_a_folder_and_into_the_cache(tmp_path: Path, toy: Any) -> None:
    folder = tmp_path / "m"
    assert run("mini", folder, "--dataset", "toy").stdout.splitlines() == ["dataset\toutcome", "toy\twritten"]
    (row,) = map(json.loads, run("mini", folder, "--dataset", "toy", "--json").stdout.splitlines())
    assert row == {"dataset": "toy", "outcome": "already there"}
    assert (folder / "toy" / "disc" / "1_mask.png").is_file()
    cached = run("mini", "--dataset", "toy").stdout
    assert f"toy\tat {tmp_path / 'cache' / 'mini-1-0' / 'toy-'}" in cached
    other = run("mini", "--dataset", "toy", "--seed", "5").stdout
    assert f"{tmp_path / 'cache' / 'mini-1-5' / 'toy-'}" in other


def test_mini_tells_of_a_plugin_that_cannot_draw(tmp_path: Path, toy: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(toy, "miniature", lambda folder, seed: 1 / 0)
    result = run("mini", tmp_path / "m", "--dataset", "toy", check=4)
    assert "ZeroDivisionError" in result.stdout


def test_splits_from_the_reference_lists(shared: Path, tmp_path: Path) -> None:
    result = run("splits", shared / "golden" / "splits", "--into", tmp_path / "kept")
    assert "pascal/val/fold0.txt: 346 entries" in result.stdout
    assert "fss/test.txt: 240 entries" in result.stdout
    assert (tmp_path / "kept" / "coco" / "val" / "fold3.json").is_file()
    assert f"The lists are in {tmp_path / 'kept'}" in result.stderr


def test_splits_go_into_the_cache_by_default(shared: Path, tmp_path: Path) -> None:
    run("splits", shared / "golden" / "splits")
    assert (tmp_path / "cache" / "splits" / "fss" / "test.txt").is_file()


def test_the_group_is_what_the_program_finds() -> None:
    assert sorted(command.commands) == [
        "adopt",
        "fetch",
        "forget",
        "mini",
        "prepare",
        "splits",
        "status",
        "verify",
    ]
