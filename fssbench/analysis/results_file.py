"""Writes the results of a report to one file, `results.json`, and reads them again.

The file has the counts, figures and manifest of every run, and the runs of every cell.  So a later report can be
compared with this one even if the run folders were deleted.  The file has no pictures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ValidationError, create_model

from fssbench.benchmarks.definition import collect_content, restore_benchmark
from fssbench.contracts.benchmarks import Benchmark
from fssbench.contracts.efficiency import Efficiency
from fssbench.contracts.results import Cell, Estimate, Results, RunResult
from fssbench.contracts.run_manifest import RunManifest
from fssbench.contracts.support_probes import SupportProbe
from fssbench.errors import DataError
from fssbench.runs.store import SCHEMA, read_json

RESULTS_FILE = "results.json"
_PLAIN = {int, str, bool, type(None)}
"""Types whose values JSON holds as they are."""


def write_results(results: Results, path: Path) -> None:
    """Write results as one line of JSON, run by run; NaN and infinities become null."""
    head = {
        "schema": SCHEMA,
        "resamples": results.resamples,
        "bootstrap_seed": results.bootstrap_seed,
        "notes": results.notes,
        "efficiency": [measured.model_dump(mode="json") for measured in results.efficiency],
    }
    cells = [
        _as_stored(cell, leave="folds") | {"folds": [run.identity for run in cell.folds.values()]}
        for cell in results.cells
    ]
    with path.open("w", encoding="utf-8", newline="\n") as file:  # hundreds of runs are 100 MB of text
        file.write(_format_line(head).removesuffix("}") + ',"runs":[')
        for place, run in enumerate(results.runs):
            file.write("," * bool(place) + _format_line(_as_stored(run, leave="panels")))
        file.write(f'],"cells":{_format_line(cells)}}}\n')


def _format_line(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read_results(path: Path) -> Results:
    """Read what `write_results` wrote.

    Raises:
        DataError: if the file is missing, damaged, of a newer schema, or not a results file.
    """
    data = read_json(path)
    try:
        runs = {run.identity: run for run in map(_read_run, data["runs"])}
        cells = []
        for entry in data["cells"]:
            members = [runs[identity] for identity in entry["folds"]]
            cells.append(_read_cell(entry, {run.fold: run for run in members}))
        return Results(
            runs=tuple(runs.values()),
            cells=tuple(cells),
            resamples=data["resamples"],
            bootstrap_seed=data["bootstrap_seed"],
            notes=tuple(data["notes"]),
            efficiency=tuple(map(Efficiency.model_validate, data.get("efficiency", ()))),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{error.title}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise DataError(
            f"{path} is no report's results: {reason}. Next: give the folder of runs it was made from"
        ) from error


def _as_stored(record: RunResult | Cell, *, leave: str) -> dict[str, Any]:
    return {f.name: _as_plain(getattr(record, f.name)) for f in fields(record) if f.name != leave}


def _as_plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, RunManifest):
        return _as_plain(value.as_stored())
    if isinstance(value, Benchmark):
        return _as_plain(collect_content(value))
    if isinstance(value, Estimate):
        return [*map(_as_plain, (value.value, value.low, value.high)), value.shortage]
    if isinstance(value, SupportProbe):
        return asdict(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return value.name  # the rest is a place on somebody's machine
    if isinstance(value, Mapping):
        return {str(k): _as_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        # thousands of names and numbers of each run are plain already, and so are the supports of its episodes
        kinds = set(map(type, value))
        if kinds == {tuple}:
            kinds = set(map(type, chain.from_iterable(value)))
        return value if kinds <= _PLAIN else [_as_plain(v) for v in value]
    return value


def _or_nan(value: Any) -> Any:
    return math.nan if value is None else value


def _estimate_fields(values: list[Any]) -> dict[str, Any]:
    value, low, high, shortage = values
    return {"value": _or_nan(value), "low": _or_nan(low), "high": _or_nan(high), "shortage": shortage}


def _make_array_type(*shape: int) -> BeforeValidator:
    """Whole numbers as an array of that shape, such as (-1, 2)."""

    def read_array(values: list[Any]) -> NDArray[np.int64]:
        array = np.array(values).reshape(shape)
        if array.size and array.dtype != np.int64:
            raise ValueError("not only whole numbers")
        return array.astype(np.int64)

    return BeforeValidator(read_array)


def _restore_definition(content: Any) -> Benchmark | None:
    return None if content is None else restore_benchmark(content)


_Number = Annotated[float, BeforeValidator(_or_nan)]
_AS_STORED: dict[Any, Any] = {
    float: _Number,
    dict[int, float]: dict[int, _Number],
    Estimate: Annotated[Estimate, BeforeValidator(_estimate_fields)],
    RunManifest: Annotated[RunManifest, BeforeValidator(RunManifest.read_stored)],
    Benchmark | None: Annotated[Benchmark | None, BeforeValidator(_restore_definition)],
}
"""Types that JSON has no form for, as a file holds them."""
_ARRAYS = {name: Annotated[Any, _make_array_type(-1)] for name in ("class_ids", "target", "indices")} | {
    name: Annotated[Any, _make_array_type(-1, 2)] for name in ("inter", "union")
}


@cache
def _make_stored_model(record: type[Any], *, leave: str) -> type[BaseModel]:
    """Make the model of a record as a file holds it: the same fields, without one."""
    hints = get_type_hints(record)
    known: dict[str, Any] = {
        field.name: (
            _ARRAYS.get(field.name) or _AS_STORED.get(hints[field.name], hints[field.name]),
            ... if field.default is MISSING else field.default,
        )
        for field in fields(record)
        if field.name != leave
    }
    return create_model(record.__name__, **known)


def _read_run(entry: Any) -> RunResult:
    run = RunResult(**dict(_make_stored_model(RunResult, leave="panels").model_validate(entry)))
    if len({len(getattr(run, name)) for name in (*_ARRAYS, "queries")}) != 1:
        raise ValueError(f"{run.slug} has not as many counts as episodes")
    return run


def _read_cell(entry: Any, folds: dict[int, RunResult]) -> Cell:
    return Cell(**dict(_make_stored_model(Cell, leave="folds").model_validate(entry)), folds=folds)
