"""Verbs that read stored runs, and the contracts of plugins without methods, do without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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
RUN = """
import sys
from fssbench.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    if end.code:
        raise
print("torch" in sys.modules, file=sys.stderr)
"""
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


def run(home: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FSSBENCH_CACHE": str(home / "cache"), "MPLBACKEND": "Agg"}
    # -P: the working folder is not searched for modules, as for the installed command
    return subprocess.run(
        [sys.executable, "-P", "-c", script, *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("verb", VERBS)
def test_verb_does_without_torch(home: Path, verb: str) -> None:
    folder = next((home / "runs").iterdir())
    words = (
        VERBS[verb]
        .format(run=folder, reporter=home / "silent.py", checkpoint=home / "own.safetensors")
        .split()
    )
    answer = run(home, RUN, *words)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.splitlines()[-1] == "False"


def test_api_is_imported_without_torch_pandas_or_numpy(home: Path) -> None:
    heavy = "torch", "torchvision", "numpy", "pandas", "matplotlib", "PIL", "pydantic"
    script = f"import sys, fssbench, fssbench.api; print([m for m in {heavy} if m in sys.modules])"
    assert run(home, script).stdout.strip() == "[]"


def test_base_classes_of_plugins_without_methods_need_no_torch(home: Path) -> None:
    script = (
        "import sys; from fssbench.api import Dataset, MethodCard, Reporter, read_binary, read_rgb; "
        "print('torch' in sys.modules)"
    )
    assert run(home, script).stdout.strip() == "False"


@pytest.mark.timeout(300)
def test_plugins_are_listed_and_shown_without_torch_once_their_facts_are_kept(home: Path) -> None:
    verbs = ("list methods", "list backbones", "show pmnet", "show vgg16")
    first = [run(home, RUN, *verb.split()) for verb in verbs]
    again = [run(home, RUN, *verb.split()) for verb in (*verbs, "leaderboard -o site --resamples 50")]
    for answer in again:
        assert answer.returncode == 0, answer.stderr
    assert [answer.stdout for answer in again[:-1]] == [answer.stdout for answer in first]
    assert [answer.stderr.splitlines()[-1] for answer in again] == ["False"] * len(again)
