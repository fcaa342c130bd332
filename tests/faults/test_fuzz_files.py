"""No file that a stranger hands over ends in a traceback: run folders, plans, benchmarks, suites, checkpoints, data."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fuzzing import as_toml, find_faults
from hypothesis import HealthCheck, given, settings, strategies as st
from own_folders import draw_labels, write_binary
from run_folders import make_plan, write_run
from safetensors.numpy import save_file

from fssbench.cli import main
from fssbench.files.canonical_json import digest

QUICK = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
LONG = settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2**31, 2**63, 10**30, 1.5, float("nan"), float("inf")]),
    st.sampled_from(
        [
            "",
            "x",
            "x" * 400,
            "../../x",
            "/etc/passwd",
            "\x1b[31m",
            "a\x9b\u202eb",
            "\udcff",
            "\0",
            "1/2",
            "[/x]",
        ]
    ),
    # copied, because a second harm may change what the first one put in
    st.sampled_from([[], {}, [[]], [None], {"": ""}, {"a": [1, {"b": None}]}]).map(copy.deepcopy),
)


def list_places(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a nested content, except its root."""
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in list(items)[:12]:
        yield (*place, key)
        yield from list_places(value, (*place, key))


@st.composite
def harms(draw: st.DrawFn, content: Any) -> Any:
    """Copy a nested content and replace, remove or add something at one or two places."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 2))):
        places = [*list_places(content)]
        if not places:
            break
        *parents, key = draw(st.sampled_from(places))
        inner = content
        for parent in parents:
            inner = inner[parent]
        match draw(st.sampled_from(("replace", "replace", "remove", "add"))):
            case "replace":
                inner[key] = draw(VALUES)
            case "remove":
                del inner[key]
            case "add" if isinstance(inner, dict):
                inner[draw(st.sampled_from(["new", "", "__class__", "x" * 300]))] = draw(VALUES)
            case _:
                inner.append(draw(VALUES))
    return content


def write_toml(path: Path, content: dict[str, Any]) -> None:
    path.write_text("".join(f"{as_toml(str(key))} = {as_toml(value)}\n" for key, value in content.items()))


Case = tuple[Any, Callable[[Any], None], tuple[str, ...]]
"""Sound content, the function that writes it, and the commands that read it."""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    folder = tmp_path_factory.mktemp("files")
    plan = make_plan("pascal-to-chestxray", 0, 1, 6)
    run = write_run(folder / "runs", plan, "panet")
    write_run(folder / "runs", plan, "hsnet")
    manifest, stored_plan = (json.loads((run / name).read_text()) for name in ("manifest.json", "plan.json"))
    lines = [json.loads(line) for line in (run / "sessions.jsonl").read_text().splitlines()]
    write_binary(folder / "own", [draw_labels(number) for number in range(4)])
    tensors = {"w": np.zeros((2, 2), dtype=np.float32)}
    header = {"format": 1, "method": "panet", "backbone": None, "layout": None, "weights": None, "weights_sha256": None,
              "config": {"width": 4}, "manifest": {"steps": 3, "classes": [1], "recipe": {"lr": 0.1}}}  # fmt: skip

    def write_manifest(content: Any) -> None:
        # a seal can be computed again
        if isinstance(content, dict) and isinstance(content.get("block"), dict):
            with contextlib.suppress(ValueError, TypeError):
                content["identity"] = digest(content["block"])
        (run / "manifest.json").write_text(json.dumps(content))

    def write_json(name: str) -> Callable[[Any], None]:
        return lambda content: (run / name).write_text(json.dumps(content)) and None

    benchmark = {
        "format": "fssbench-benchmark/1", "id": "my-lungs", "title": "Lungs", "shots": [1], "episodes": 6,
        "source": {"dataset": "pascal", "folds": "all"},
        "target": {"dataset": "chestxray", "split": "test", "folds": "all"},
    }  # fmt: skip
    suite = {
        "format": "fssbench-suite/1",
        "id": "mine",
        "title": "Mine",
        "members": [{"benchmark": "pascal5i", "folds": [0]}],
    }
    described = {
        "title": "Own",
        "licence": "mine",
        "classes": [{"id": 0, "name": "a"}],
        "splits": {"test": ["a"]},
    }
    reading = (
        "list runs --out runs",
        f"show runs/{run.name}",
        "score runs --json",
        "compare --runs runs --json",
    )
    every = {
        "manifest": (manifest, write_manifest,
                     (*reading, "report runs -o report --format json,markdown", "verify runs")),
        "sessions": (lines[0], write_json("sessions.jsonl"), reading),
        "run plan": (stored_plan, write_json("plan.json"), reading),
        "plan": (stored_plan, lambda c: (folder / "p.json").write_text(json.dumps(c)) and None,
                 ("show p.json", "episodes --replay p.json --data mini")),
        "benchmark": (benchmark, lambda c: write_toml(folder / "b.toml", c), ("show b.toml", "list benchmarks b.toml")),
        "suite": (suite, lambda c: write_toml(folder / "s.toml", c), ("list suites s.toml", "show s.toml")),
        "description": (described, lambda c: write_toml(folder / "own/dataset.toml", c),
                        ("data verify own --data-folder own=own",)),
        "checkpoint": (header, lambda c: save_file(tensors, folder / "c.safetensors", {"fssbench": json.dumps(c)}),
                       ("show c.safetensors",)),
    }  # fmt: skip
    with contextlib.chdir(folder):
        yield every


NAMES = ("manifest", "sessions", "run plan", "plan", "benchmark", "suite", "description", "checkpoint")


def check_harmed(case: Case, data: st.DataObject) -> None:
    sound, write, commands = case
    write(data.draw(harms(sound)))
    command = data.draw(st.sampled_from(commands))
    try:
        faults = [*find_faults(CliRunner().invoke(main, command.split()))]
    finally:
        write(json.loads(json.dumps(sound)))
        shutil.rmtree("report", ignore_errors=True)
    assert faults == [], command


@pytest.mark.parametrize("name", NAMES)
@QUICK
@given(data=st.data())
def test_files_of_strangers(name: str, cases: dict[str, Case], data: st.DataObject) -> None:
    check_harmed(cases[name], data)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
@LONG
@given(data=st.data())
def test_many_files_of_strangers(name: str, cases: dict[str, Case], data: st.DataObject) -> None:
    check_harmed(cases[name], data)


def test_the_files_are_read_when_they_are_sound(cases: dict[str, Case]) -> None:
    """Otherwise harm would be found at the first key, and nothing behind it would be tried."""
    for name in NAMES:
        sound, write, commands = cases[name]
        write(json.loads(json.dumps(sound)))
        for command in commands:
            result = CliRunner().invoke(main, command.split())
            assert result.exit_code == 0 or name == "suite" or "verify" in command or "replay" in command, (
                command,
                result.output,
            )
