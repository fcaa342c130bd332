"""Verbs that read stored runs, and the contracts of plugins without methods, do without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from run_folders import make_plan, write_run

VERBS = {
    "help": "--help",
    "list benchmarks": "list benchmarks",
    "list suites": "list suites",
    "list runs": "list runs",
    "list datasets": "list datasets --data mini",
    "list reporters": "list reporters",
    "show benchmark": "show pascal-to-chestxray",
    "show data set": "show chestxray",
    "show suite": "show cross-domain",
    "show run": "show {run}",
    "show plan": "show {run}/plan.json",
    "show checkpoint": "show {checkpoint}",
    "cache": "cache",
    "compare": "compare --resamples 50",
    "power": "power --diff 2 --resamples 50",
    "score": "score",
    "report": "report --resamples 50",
    "plugin that reports": "list reporters --plugin {reporter}",
}
REPORTER = """
from fssbench.api import Reporter

class Silent(Reporter):
    name = "silent"
    title = "writes nothing"
    def write(self, results, folder):
        return []
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for method in ("pmnet", "panet"):
        for shot in (1, 5):
            write_run(home / "runs", make_plan("pascal-to-chestxray", 0, shot, 120), method)
    (home / "silent.py").write_text(REPORTER)
    checkpoints = Path(__file__).parents[2] / "methods" / "checkpoints"
    shutil.copy(next(checkpoints.glob("*.safetensors")), home / "own.safetensors")
    return home


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    output: str
    printed: str
    """What it printed to standard output."""
    torch: bool
    """Whether torch was imported when it ended, by this command or by an earlier one of its process."""


ONE_AFTER_ANOTHER = """
import json, sys
from click.testing import CliRunner
from fssbench.cli import main
for line in sys.stdin:
    done = CliRunner().invoke(main, json.loads(line))
    print(json.dumps([done.exit_code, done.output, done.stdout, "torch" in sys.modules]), flush=True)
"""


def run(home: Path, commands: Iterable[str]) -> list[Done]:
    """Run commands one after another in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", ONE_AFTER_ANOTHER],
        input="".join(json.dumps(command.split()) + "\n" for command in commands),
        env={**os.environ, "FSSBENCH_CACHE": str(home / "cache"), "MPLBACKEND": "Agg"},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    return [Done(*json.loads(line)) for line in done.stdout.splitlines()]


def list_modules_after(statement: str) -> set[str]:
    """Names of the modules that a fresh interpreter has after a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def ended(home: Path) -> dict[str, Done]:
    """What each verb left, one after another in one process."""
    folder = next((home / "runs").iterdir())
    places = {"run": folder, "reporter": home / "silent.py", "checkpoint": home / "own.safetensors"}
    commands = [words.format(**places) for words in VERBS.values()]
    return dict(zip(VERBS, run(home, commands), strict=True))


@pytest.mark.parametrize("verb", VERBS)
def test_verb_does_without_torch(ended: dict[str, Done], verb: str) -> None:
    done = ended[verb]
    assert done.code == 0, done.output
    assert not done.torch


def test_api_is_imported_without_torch_pandas_or_numpy() -> None:
    modules = list_modules_after("import fssbench, fssbench.api")
    assert "fssbench.api" in modules
    assert not modules & {"torch", "torchvision", "numpy", "pandas", "matplotlib", "PIL", "pydantic"}


def test_a_verb_and_its_options_are_made_without_numpy_and_pydantic() -> None:
    """Else `fssbench env` and each `--help` would take half a second more on a slow machine."""
    modules = list_modules_after(
        "from click.testing import CliRunner; from fssbench.cli import main; "
        "assert CliRunner().invoke(main, ['env']).exit_code == 0; "
        "assert CliRunner().invoke(main, ['run', '--help']).exit_code == 0"
    )
    assert {"fssbench.cli.env", "fssbench.cli.run"} <= modules
    assert not modules & {"torch", "numpy", "pandas", "PIL", "pydantic"}


def test_base_classes_of_plugins_without_methods_need_no_torch() -> None:
    modules = list_modules_after(
        "from fssbench.api import Dataset, MethodCard, Reporter, read_binary, read_rgb"
    )
    assert "fssbench.api" in modules
    assert "torch" not in modules


@pytest.mark.timeout(300)
def test_plugins_are_listed_and_shown_without_torch_once_their_facts_are_kept(home: Path) -> None:
    verbs = ("list methods", "list backbones", "show pmnet", "show vgg16")
    first = run(home, verbs)
    assert first[-1].torch
    again = run(home, [*verbs, "leaderboard -o site --resamples 50"])
    for done in again:
        assert done.code == 0, done.output
    assert [done.printed for done in again[:-1]] == [done.printed for done in first]
    assert not again[-1].torch
