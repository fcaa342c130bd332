"""A run that was stored before identity, context and manifest were records: it is still the same measurement.

`toy_run` is a run of the toy method in `toy_plugin.py` on toy data; its figures mean nothing.  It was written by
commit 56c8cdc, whose identity was a dictionary.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from registries import plugins_restored

import fssbench
from fssbench.contracts.records import StoredRecord
from fssbench.contracts.run_manifest import Context, Identity, RunManifest, TrainingSummary
from fssbench.errors import DataError
from fssbench.files.canonical_json import digest
from fssbench.plugins.registry import load_plugin
from fssbench.runs.store import SCHEMA, read_manifest, read_run
from fssbench.runs.summary import format_summary, summarise
from fssbench.verification.seals import check_seals

HERE = Path(__file__).parent
STORED = HERE / "toy_run"


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the same run, made now; its plugin is gone after the module."""
    folder = tmp_path_factory.mktemp("again")
    (folder / "data" / "toydata").mkdir(parents=True)
    with plugins_restored():
        load_plugin(HERE / "toy_plugin.py")
        plan = fssbench.plan("toydata", shot=2, data=folder / "data", episodes=6, size=32)
        method = fssbench.load_method("toy", ablate=["keep"], bias=0.25)
        yield fssbench.evaluate(method, plan, out=folder / "runs", shard=(1, 2)).path


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
    assert set(now) == {*stored, "ablation_labels", "pretraining"}
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
    assert {f.check: f.outcome for f in findings if f.outcome != "equal"} == {"files": "not checked"}


def test_the_stored_run_is_scored_again_to_the_figures_that_it_has(tmp_path: Path) -> None:
    stored = (STORED / "summary.json").read_bytes()
    assert format_summary(read_run(STORED)) == stored
    copy = tmp_path / "copy"
    shutil.copytree(STORED, copy)
    (copy / "summary.json").unlink()
    assert summarise(copy).miou == json.loads(stored)["miou"]
    assert (copy / "summary.json").read_bytes() == stored


def test_every_version_of_the_files_has_a_stored_run() -> None:
    """Whoever changes `SCHEMA` stores a run of the version before, so that it is read for ever."""
    stored = {read_json(path)["schema"] for path in HERE.glob("*/manifest.json")}
    assert stored == {*range(1, SCHEMA + 1)}


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The stored run as a newer version might write it: with fields that this version does not know."""
    folder = shutil.copytree(STORED, tmp_path / "newer")
    content = read_json(folder / "manifest.json")
    content["block"]["pruning"] = {"share": 0.5}
    content["context"]["weather"] = ["rain", None]
    content["context"]["training"] = {"sha256": "a", "shot": 1, "teacher": "b"}
    content["colour"] = "red"
    content["identity"] = digest(content["block"])
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def test_what_a_newer_version_stored_is_kept(newer: Path) -> None:
    manifest = read_run(newer).manifest
    assert manifest.as_stored() == read_json(newer / "manifest.json")
    assert manifest.block.sha256 == manifest.identity
    assert manifest.block.whole().as_stored()["pruning"] == {"share": 0.5}
    changed = manifest.context.changed(merged=("a", "b")).as_stored()
    assert (changed["weather"], changed["merged"]) == (["rain", None], ["a", "b"])


def test_in_code_an_unknown_field_is_refused() -> None:
    fields = read_json(STORED / "manifest.json")["block"]
    with pytest.raises(ValidationError, match="pruning"):
        Identity(**fields, pruning=1)
    with pytest.raises(ValidationError, match="shots"):
        read_run(STORED).manifest.block.changed(shots=5)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("block", "fold", "0"),
        ("block", "fold", True),
        ("block", "classes", [0, "1", 2]),
        ("block", "shard", [1]),
        ("context", "label", None),
        ("context", "marks", "untrained"),
    ],
)
def test_a_field_of_another_type_is_refused_by_name(
    tmp_path: Path, part: str, field: str, value: Any
) -> None:
    folder = shutil.copytree(STORED, tmp_path / "odd")
    content = read_json(folder / "manifest.json")
    content[part][field] = value
    content["identity"] = digest(content["block"])
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"odd.*{part}\.{field}"):
        read_run(folder)
    with pytest.raises(DataError, match=rf"{part}\.{field}"):
        read_manifest(folder)


@pytest.mark.parametrize("part", ["block", "context"])
def test_a_manifest_that_lacks_a_field_is_refused_by_name(tmp_path: Path, part: str) -> None:
    folder = shutil.copytree(STORED, tmp_path / "less")
    content = read_json(folder / "manifest.json")
    field = {"block": "head_sha256", "context": "label"}[part]
    del content[part][field]
    content["identity"] = digest(content["block"])
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"{part}\.{field}"):
        read_run(folder)


@pytest.mark.parametrize("record", [Identity, Context, RunManifest, TrainingSummary])
def test_every_field_has_a_sentence(record: type[StoredRecord]) -> None:
    assert [
        name for name, field in record.model_fields.items() if not (field.description or "").strip()
    ] == []
