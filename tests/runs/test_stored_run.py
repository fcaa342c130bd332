"""A run that was stored before identity, context and manifest were records: it is still the same measurement.

`toy_run` is a run of the toy method in `toy_plugin.py` on toy data; its figures mean nothing.  It was written by
commit 56c8cdc, whose identity was a dictionary.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fssbench
from fssbench.plugins.registry import load_plugin
from fssbench.runs.store import read_run
from fssbench.verification.seals import check_seals

HERE = Path(__file__).parent
STORED = HERE / "toy_run"


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run, made now."""
    folder = tmp_path_factory.mktemp("again")
    (folder / "data" / "toydata").mkdir(parents=True)
    load_plugin(HERE / "toy_plugin.py")
    plan = fssbench.plan("toydata", shot=2, data=folder / "data", episodes=6, size=32)
    method = fssbench.load_method("toy", ablate=["keep"], bias=0.25)
    return fssbench.evaluate(method, plan, out=folder / "runs", shard=(1, 2)).path


def test_the_stored_run_and_the_same_run_now_have_one_identity(again: Path) -> None:
    stored, now = (read_json(run / "manifest.json") for run in (STORED, again))
    assert now["block"] == stored["block"]
    assert now["identity"] == stored["identity"]
    assert again.name.endswith(stored["identity"][:12])


@pytest.mark.parametrize("name", ["plan.json", "episodes.jsonl", "summary.json"])
def test_the_stored_run_and_the_same_run_now_have_equal_files(again: Path, name: str) -> None:
    assert (again / name).read_bytes() == (STORED / name).read_bytes()


def test_the_context_has_the_fields_that_it_had(again: Path) -> None:
    stored, now = (read_json(run / "manifest.json")["context"] for run in (STORED, again))
    assert set(now) == set(stored)
    told = ("label", "title", "kind", "marks", "ablations", "config_passed", "folds", "sources", "training")
    assert {name: now[name] for name in told} == {name: stored[name] for name in told}


def test_the_stored_run_is_read_and_its_seals_hold() -> None:
    run = read_run(STORED)
    assert (run.identity, run.done, run.status) == (
        read_json(STORED / "manifest.json")["identity"],
        3,
        "complete",
    )
    findings, _ = check_seals(STORED)
    assert {f.check: f.outcome for f in findings if f.outcome != "equal"} == {}
