"""What a report leaves behind for a later one: everything comes back, nothing foreign gets through."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from manifests import make_manifest
from measurements import make_measurement
from report_factory import add_panels, make_cell, make_run, make_small_results, share_results

from fssbench.analysis.comparisons import compute_differences
from fssbench.analysis.results_file import read_results, write_results
from fssbench.api import Results, RunManifest
from fssbench.errors import DataError


def back(results: Results, folder: Path) -> Results:
    write_results(results, folder / "results.json")
    return read_results(folder / "results.json")


def test_everything_comes_back(tmp_path: Path) -> None:
    results = replace(share_results(("miniature",)), notes=("left out: x",))
    (first, *others) = results.runs
    first = replace(first, supports=tuple((f"s{i}",) for i in range(first.episodes)))
    results = replace(
        results, runs=(first, *others), efficiency=(make_measurement(), make_measurement(head=None))
    )
    result = back(results, tmp_path)
    assert (result.resamples, result.bootstrap_seed, result.notes) == (200, 0, ("left out: x",))
    assert result.efficiency == results.efficiency
    for mine, theirs in zip(results.runs, result.runs, strict=True):
        for field in fields(mine):
            a, b = getattr(mine, field.name), getattr(theirs, field.name)
            if field.name == "path":
                assert b == Path(mine.slug)
            elif isinstance(a, np.ndarray):
                assert a.dtype == b.dtype
                assert np.array_equal(a, b)
            else:
                assert a == b, field.name
    for cell, other in zip(results.cells, result.cells, strict=True):
        assert [r.identity for r in cell.folds.values()] == [r.identity for r in other.folds.values()]
        assert list(cell.folds) == list(other.folds)
        plain = {"folds": {}}
        assert replace(cell, **plain) == replace(other, **plain)


def test_the_manifest_is_in_the_file_as_it_was_stored_even_by_a_newer_version(tmp_path: Path) -> None:
    stored = {
        **make_manifest(
            config={"width": 64},
        ).as_stored(),
        "context": {**make_manifest().context.as_stored(), "weather": ["rain", None]},
        "sealed": "0" * 64,
        "colour": "red",
    }
    run = make_run(manifest=RunManifest.read_stored(stored))
    results = Results((run,), (make_cell([run]),), 200, 0)
    result = back(results, tmp_path)
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    (held,) = json.loads(text)["runs"]
    assert held["manifest"] == stored
    assert result.runs[0].manifest == run.manifest
    write_results(result, tmp_path / "again.json")
    again = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    assert again == json.loads(text) | {"runs": [held | {"path": again["runs"][0]["path"]}]}


def test_a_manifest_without_a_field_is_refused_by_its_name(small: str, tmp_path: Path) -> None:
    content = json.loads(small)
    del content["runs"][0]["manifest"]["block"]["data_sha256"]
    (tmp_path / "results.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match="data_sha256"):
        read_results(tmp_path / "results.json")


def test_counts_that_come_back_give_the_same_paired_interval(tmp_path: Path) -> None:
    results = share_results()
    result = back(results, tmp_path)
    gaps = [compute_differences([(r.cells[0], r.cells[1])], resamples=100) for r in (results, result)]
    assert gaps[0] == gaps[1]


def test_what_is_not_a_number_is_null_in_the_file_and_nan_again(tmp_path: Path) -> None:
    run = replace(make_run(episodes=1), seconds=float("nan"), per_class={0: float("nan")})
    result = back(Results((run,), (make_cell([run]),), 10, 0), tmp_path)
    assert "NaN" not in (tmp_path / "results.json").read_text()
    assert np.isnan([result.runs[0].seconds, result.runs[0].per_class[0], result.cells[0].miou.low]).all()


def test_no_place_on_the_machine_is_written(tmp_path: Path) -> None:
    run = add_panels(make_run(), tmp_path / "private")
    write_results(Results((run,), (make_cell([run]),), 10, 0), tmp_path / "results.json")
    assert "private" not in (tmp_path / "results.json").read_text()
    assert str(tmp_path) not in (tmp_path / "results.json").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"schema": 1}',
        '{"schema": 1, "runs": [1], "cells": []}',
        '{"schema": 1, "runs": [], "cells": [{"folds": ["a"]}]}',
        '{"schema": 1, "runs": {"identity": 2}, "cells": []}',
    ],
)
def test_damage_is_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"results\.json"):
        read_results(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of the file of two runs."""
    path = tmp_path_factory.mktemp("small") / "results.json"
    write_results(make_small_results(path.parent), path)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("identity", 5),
        ("fold", "first"),
        ("miou", [1.0, 2.0]),
        ("miou", ["much", 1.0, 2.0, ""]),
        ("seconds", "long"),
        ("per_class", {"cat": 1.0}),
        ("inter", [[1, 2, 3]]),
        ("inter", [[0.5, 1.0]] * 200),
        ("class_ids", [0, 1]),
        ("queries", ["one"]),
        ("marks", "miniature"),
        ("whole", "perhaps"),
        ("manifest", []),
    ],
)
def test_a_damaged_field_is_named(field: str, value: object, small: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    data = json.loads(small)
    data["runs"][0][field] = value
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=rf"results\.json.*({field}|as many counts)"):
        read_results(path)


def test_a_field_of_a_later_version_is_passed_over(small: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    data = json.loads(small)
    data["runs"][0]["colour"] = data["cells"][0]["colour"] = "blue"
    path.write_text(json.dumps(data))
    assert len(read_results(path).runs) == len(data["runs"]) == 2


def test_a_newer_schema_is_refused(small: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(json.loads(small) | {"schema": 99}))
    with pytest.raises(DataError, match="schema 99"):
        read_results(tmp_path / "results.json")
