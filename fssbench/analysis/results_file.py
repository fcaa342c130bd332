"""A report's results as one file, `results.json`, from which they are read back whole.

It holds every run's counts, figures and manifest and how runs make cells, so that a later report can
be compared with this one when the run folders are gone.  Stored examples are not in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from fssbench.contracts.efficiency import Efficiency
from fssbench.contracts.results import Cell, Estimate, Results, RunResult
from fssbench.errors import DataError
from fssbench.runs.store import SCHEMA, read_json

RESULTS_FILE = "results.json"
_ARRAYS = ("class_ids", "inter", "union", "target", "indices")
_PAIRS = ("inter", "union")


def write_results(results: Results, path: Path) -> None:
    """Write results as one line of JSON; what is not a number is null."""
    data = {
        "schema": SCHEMA,
        "resamples": results.resamples,
        "bootstrap_seed": results.bootstrap_seed,
        "notes": results.notes,
        "efficiency": [measured.model_dump(mode="json") for measured in results.efficiency],
        "runs": [_stored(run, leave=("panels",)) for run in results.runs],
        "cells": [
            _stored(cell, leave=("folds",)) | {"folds": [run.identity for run in cell.folds.values()]}
            for cell in results.cells
        ],
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def read_results(path: Path) -> Results:
    """Read what `write_results` wrote.

    Raises:
        DataError: where the file is missing, damaged, of a newer schema, or no report's.
    """
    data = read_json(path)
    try:
        runs = {entry["identity"]: _loaded(RunResult, entry) for entry in data["runs"]}
        cells = []
        for entry in data["cells"]:
            members = [runs[identity] for identity in entry["folds"]]
            cells.append(_loaded(Cell, entry | {"folds": {run.fold: run for run in members}}))
        return Results(
            runs=tuple(runs.values()),
            cells=tuple(cells),
            resamples=data["resamples"],
            bootstrap_seed=data["bootstrap_seed"],
            notes=tuple(data["notes"]),
            efficiency=tuple(map(Efficiency.model_validate, data.get("efficiency", ()))),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} is no report's results: {type(error).__name__}: {error}. "
            "Next: give the folder of runs it was made from"
        ) from error


def _stored(record: RunResult | Cell, *, leave: tuple[str, ...]) -> dict[str, Any]:
    return {f.name: _plain(getattr(record, f.name)) for f in fields(record) if f.name not in leave}


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, Estimate):
        return [*map(_plain, (value.value, value.low, value.high)), value.shortage]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return value.name  # the rest is a place on somebody's machine
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _loaded(record: type[Any], entry: Mapping[str, Any]) -> Any:
    hints = get_type_hints(record)
    return record(**{name: _read(name, hints[name], value) for name, value in entry.items() if name in hints})


def _read(name: str, hint: Any, value: Any) -> Any:
    """A value as its field holds it."""
    if hint is Estimate:
        figure, low, high, *shortage = value
        return Estimate(_number(figure), _number(low), _number(high), *shortage)
    if hint is float:
        return _number(value)
    if hint is Path:
        return Path(value)
    if name in _ARRAYS:
        return np.array(value, dtype=np.int64).reshape((-1, 2) if name in _PAIRS else -1)
    if name == "per_class":
        return {int(k): _number(v) for k, v in value.items()}
    return tuple(_read("", None, v) for v in value) if isinstance(value, list) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
