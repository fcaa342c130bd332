"""Runs the null method, and forks child processes that a test can kill, for tests of engine and store.

Tests use the fixture `null` (tests/conftest.py).  Child processes are forked, so torch is imported only once, and a
test that kills a hundred processes takes seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch
from registries import load_support_plugin
from torch import Tensor

import fssbench
from fssbench.api import Dataset, Method, Plan
from fssbench.errors import FssbenchError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.settings import Evaluation, Settings
from fssbench.metrics import score
from fssbench.plugins.registry import DATASETS, METHODS
from fssbench.runs.store import StoredRun, find_run_folders

PLUGIN = Path(__file__).with_name("null_plugin.py")


RESULTS = ("summary.json", "episodes.jsonl")
"""Files of a run that are equal, to the byte, for equal measurements."""


def right(query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
    """What the null method answers, written again."""
    fg = support_mask.mean(dim=1) - 0.5
    return torch.stack([-fg, fg], dim=1)


def null_dataset(null: NullHarness) -> Dataset:
    """The null data set, opened."""
    return DATASETS.get("nulldata")(null.data / "nulldata")


def score_episodes(run: StoredRun, plan: Plan, indices: Iterable[int]) -> float:
    """The mIoU of some episodes of a null run, from their stored counts."""
    chosen = list(indices)
    return score(
        [plan[i].class_id for i in chosen],
        [run.records[i].inter for i in chosen],
        [run.records[i].union for i in chosen],
        plan.classes,
        absent="exclude",
        whole=False,
    ).miou


class Child:
    """A forked process."""

    def __init__(self, work: Callable[[], object], report: Path) -> None:
        self.report = report
        report.unlink(missing_ok=True)
        self.pid = os.fork()
        if self.pid == 0:
            self._run(work)

    def _run(self, work: Callable[[], object]) -> None:
        code = 99
        text = ""
        try:
            torch.set_num_threads(1)  # a pool of threads does not survive a fork
            signal.signal(signal.SIGINT, signal.default_int_handler)
            work()
            code = 0
        except FssbenchError as error:
            code, text = error.exit_code, str(error)
        except KeyboardInterrupt:
            code, text = 130, "interrupted"
        except BaseException:
            text = traceback.format_exc()
        finally:
            try:
                self.report.write_text(text)
            finally:
                os._exit(code)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for the end; return the exit status, negative if a signal ended the process."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    @property
    def message(self) -> str:
        return self.report.read_text() if self.report.is_file() else ""


_PLANS: dict[tuple[int, int], Plan] = {}
"""Plans by shots and seed, which depend on no folder: the null data set has no files."""


class NullHarness:
    """Makes null runs below one temporary folder.

    Args:
        folder: the folder.
        kept: a folder of the session, for complete runs that many tests copy.
    """

    def __init__(self, folder: Path, kept: Path | None = None) -> None:
        self.folder = folder
        self._kept = kept or folder / "kept"
        self.data = folder / "data"
        (self.data / "nulldata").mkdir(parents=True)
        self.calls_file = folder / "calls"
        load_support_plugin(PLUGIN)
        self._children = 0

    def plan(self, episodes: int = 20, *, shot: int = 1, size: int = 16, seed: int = 0) -> Plan:
        """Make a null plan of any length, at a small size.  Its episodes are drawn once per process."""
        if (shot, seed) not in _PLANS:
            _PLANS[shot, seed] = fssbench.plan("nulldata", shot=shot, data=self.data, seed=seed)
        drawn = _PLANS[shot, seed]
        rounds = -(-episodes // len(drawn))
        rows = [e for _ in range(rounds) for e in drawn][:episodes]
        numbered = tuple(replace(e, index=i) for i, e in enumerate(rows))
        return replace(drawn, episodes=numbered, size=size, data=self.data)

    def method(self, name: str | type[Method] = "null", **config: object) -> Method:
        return fssbench.load_method(name, **config)

    @property
    def base(self) -> type[Method]:
        """The class of the null method, from which tests derive faulty methods."""
        return METHODS.get("null")

    def make_broken(self, method: str, **attributes: object) -> Method:
        """Make a null method with another name and replaced attributes."""
        card = self.base.card.model_copy(update={"name": method})
        return self.method(type("Broken", (self.base,), {"card": card, **attributes}))

    def run(self, out: str | Path, plan: Plan, *methods: Method, **settings: object) -> list[Evaluation]:
        """Evaluate methods on a plan, and raise the first failure."""
        evaluation_settings = Settings(**{"out": self.folder / out, "panels": 1, "repeated": 0, **settings})
        done, failed = evaluate_all(methods or [self.method()], plan, evaluation_settings)
        if failed:
            raise failed[0][1]
        return done

    def copy_run(self, episodes: int) -> Path:
        """Return a complete run in `runs` that this test may harm; it is computed once per session, then copied."""
        stored = self._kept / str(episodes)
        if not stored.is_dir():
            self.run(stored, self.plan(episodes), panels=episodes)
        shutil.copytree(stored, self.folder / "runs")
        return self.find_run("runs")

    def fork(self, work: Callable[[], object]) -> Child:
        self._children += 1
        return Child(work, self.folder / f"child{self._children}.txt")

    def count_calls(self) -> int:
        """Count the calls of the null method."""
        return self.calls_file.read_text().count("x") if self.calls_file.is_file() else 0

    def find_run(self, out: str | Path) -> Path:
        """Return the only run folder in `out`."""
        (path,) = find_run_folders(self.folder / out)
        return path

    def read_results(self, run: Path) -> tuple[bytes, ...]:
        return tuple((run / name).read_bytes() for name in RESULTS)

    def run_command(
        self, *arguments: str | Path, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the `fssbench` command in a new process."""
        return subprocess.run(
            self.compose_command(*arguments), capture_output=True, text=True, env=self.make_environment(env)
        )

    def compose_command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "fssbench", *map(str, arguments)]

    def make_environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, "OMP_NUM_THREADS": "1", "FSSBENCH_DATA": str(self.data), **(extra or {})}

    def parse_json_lines(self, text: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in text.splitlines()]
