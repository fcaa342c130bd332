"""Measurements of `fssbench bench` on disk: one small JSON file each, in `bench/` beside the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from fssbench.contracts.efficiency import Efficiency
from fssbench.errors import DataError
from fssbench.runs.store import SCHEMA, read_json, write_json

FOLDER = "bench"
"""Where they lie below the folder of all runs."""


def save(measurement: Efficiency, runs: Path) -> Path:
    """Store a measurement; an earlier one of the same thing on the same machine is replaced whole.

    Raises:
        DataError: if it cannot be written.
    """
    folder = runs / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make {folder}: {error}. Choose another --out") from error
    name = f"{measurement.method}-{measurement.backbone}-{measurement.shot}shot-{measurement.size}px".lower()
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in name).strip("-")
    path = folder / f"{safe[:100]}-{measurement.identity[:12]}.json"
    write_json(path, {"schema": SCHEMA, **measurement.model_dump(mode="json")})
    return path


def read(path: Path) -> Efficiency:
    """Read a stored measurement.

    Raises:
        DataError: if it is damaged, of a newer schema, or no measurement.
    """
    data = read_json(path)
    data.pop("schema")
    try:
        return Efficiency.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path} is no measurement of `fssbench bench` ({where}: {first['msg']})") from None


def read_all(paths: Sequence[Path]) -> tuple[tuple[Efficiency, ...], list[str]]:
    """All measurements that lie beside some runs.

    Args:
        paths: run folders, or folders of run folders.

    Returns:
        The measurements in the order of their files' names, each identity once, and what could not be read.
    """
    homes = [p.parent if (p / "manifest.json").is_file() else p for p in paths]
    files = {file.resolve(): file for home in homes for file in sorted((home / FOLDER).glob("*.json"))}
    measurements: dict[str, Efficiency] = {}
    notes = []
    for file in files.values():
        try:
            each = read(file)
        except DataError as error:
            notes.append(f"left out: {error}")
            continue
        known = measurements.get(each.identity)
        if known is None or known.created_utc < each.created_utc:
            measurements[each.identity] = each
    return tuple(measurements.values()), notes
