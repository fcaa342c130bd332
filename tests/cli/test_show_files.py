from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from run_folders import make_plan, write_run
from safetensors.torch import save_file

from fssbench.cli import main
from fssbench.episodes.plan_file import read_plan
from fssbench.files.hashing import hash_weights_file
from fssbench.loading.bundled import list_bundled
from fssbench.plugins.registry import METHODS
from fssbench.runs.store import read_run

TOY_RUN = Path(__file__).parents[1] / "runs" / "toy_run"


def show(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["show", *map(str, arguments)])


def facts(*arguments: object) -> dict[str, Any]:
    answer = show(*arguments, "--json")
    assert answer.exit_code == 0, answer.output
    shown: dict[str, Any] = json.loads(answer.stdout)
    return shown


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(
        tmp_path_factory.mktemp("runs"),
        make_plan("pascal-to-chestxray", 0, 1, 120),
        "pmnet",
        marks=("untrained",),
    )


def test_a_run_shows_method_figures_with_interval_marks_and_hashes(run: Path) -> None:
    shown, stored = facts(run), read_run(run)
    assert (shown["kind"], shown["method"], shown["status"]) == ("run", "pmnet", "complete")
    for name in ("mIoU", "FB-IoU"):
        value, _, interval = shown[name].partition(" (95 % interval ")
        low, high = map(float, interval.removesuffix(")").split(" to "))
        assert low < float(value) < high
    assert "untrained" in shown["marks"]
    assert shown["hashes"]["identity"] == stored.identity
    assert shown["hashes"]["plan"] == stored.plan.sha256
    assert "resnet50" in shown["backbone"]


def test_a_file_of_a_run_stands_for_the_run(run: Path) -> None:
    assert facts(run / "episodes.jsonl") == facts(run)
    assert facts(run / "manifest.json", "--kind", "run") == facts(run)


def test_a_shard_and_a_run_with_few_queries_have_no_interval(tmp_path: Path) -> None:
    assert "merge" in facts(TOY_RUN)["mIoU"]
    short = write_run(tmp_path, make_plan("pascal-to-chestxray", 0, 1, 4), "panet")
    assert "no interval: too few queries" in facts(short)["mIoU"]


def test_a_plan_shows_its_episodes_by_class_and_its_hash(run: Path) -> None:
    shown, plan = facts(run / "plan.json"), read_plan(run / "plan.json")
    assert (shown["kind"], shown["sha256"], shown["episodes"]) == ("plan", plan.sha256, 120)
    assert sum(int(text.split()[0]) for text in shown["classes"].values()) == 120
    assert shown["queries"] == len({episode.query for episode in plan})


def test_a_changed_plan_is_refused(run: Path, tmp_path: Path) -> None:
    changed = tmp_path / "plan.json"
    changed.write_text((run / "plan.json").read_text().replace('"0/', '"1/', 1))
    answer = show(changed)
    assert answer.exit_code == 3
    assert "was changed" in answer.stderr


def test_a_checkpoint_shows_method_training_and_hash(tmp_path: Path) -> None:
    shipped = list_bundled(METHODS.get("pmnet"))[0]
    shown = facts(shipped.path)
    assert (shown["kind"], shown["method"]) == ("checkpoint", "pmnet")
    assert shown["sha256"] == hash_weights_file(shipped.path)
    assert shown["training"]["classes"] == list(shipped.training.classes)
    assert shown["training"]["image_ids"] == f"{len(shipped.training.image_ids)} hashes"
    assert str(shipped.training.steps) in shown["trained"]
    assert "--checkpoint" in shown["to use it"]
    shutil.copy(shipped.path, tmp_path / "checkpoint.safetensors")
    assert facts(tmp_path)["sha256"] == shown["sha256"]


def test_weights_of_other_origin_show_their_entries(tmp_path: Path) -> None:
    state = {"layer.weight": torch.zeros(2, 3), "head.bias": torch.zeros(4, dtype=torch.float16)}
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        shown = facts(tmp_path / name)
        assert (shown["kind"], shown["tensors"], shown["values"]) == ("checkpoint", 2, 10)
        assert "another origin" in shown["what"]


def test_no_code_of_a_file_is_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "trapped",)

    torch.save({"state_dict": Trap()}, tmp_path / "trap.pth")
    assert show(tmp_path / "trap.pth").exit_code == 3
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}", b"<html>"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert show(path).exit_code == 3


@pytest.mark.parametrize("name", ["nowhere/plan.json", "absent.safetensors"])
def test_an_absent_path_is_a_usage_error(name: str) -> None:
    answer = show(name)
    assert answer.exit_code == 2
    assert "does not exist" in answer.stderr


def test_a_folder_of_runs_leads_to_the_list_of_runs(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    shutil.copytree(run, folder / run.name)
    answer = show(folder)
    assert answer.exit_code == 2
    (command,) = re.findall("Next: `fssbench (.*?)`", answer.stderr)
    assert shlex.split(command) == ["list", "runs", str(folder)]
