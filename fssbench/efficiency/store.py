"""Stores measurements of `fssbench bench`: one small JSON file each, in the folder `bench` beside the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from fssbench.contracts.efficiency import Efficiency
from fssbench.errors import DataError
from fssbench.files.plain_names import replace_unsafe
from fssbench.runs.store import SCHEMA, read_json, write_json

FOLDER = "bench"
"""Folder of the measurements, below the folder of all runs."""


def save(measurement: Efficiency, runs: Path) -> Path:
    """Store a measurement; it replaces an earlier one with the same identity.

    Raises:
        DataError: if it cannot be written.
    """
    folder = runs / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"folder {folder} cannot be made ({error}). Next: choose another --out") from error
    name = f"{measurement.method}-{measurement.backbone}-{measurement.shot}shot-{measurement.size}px".lower()
    safe = replace_unsafe(name, keep="_").strip("-")
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
        raise DataError(
            f"{path} is not a measurement of `fssbench bench` ({where}: {first['msg']})"
        ) from None


def read_all(paths: Sequence[Path]) -> tuple[tuple[Efficiency, ...], list[str]]:
    """Read all measurements beside some runs.

    Args:
        paths: run folders, or folders of run folders.

    Returns:
        The measurements in the order of their file names, each identity once; and a note per file that cannot be read.
    """
    folders = [p.parent if (p / "manifest.json").is_file() else p for p in paths]
    files = {file.resolve(): file for folder in folders for file in sorted((folder / FOLDER).glob("*.json"))}
    measurements: dict[str, Efficiency] = {}
    notes = []
    for file in files.values():
        try:
            measurement = read(file)
        except DataError as error:
            notes.append(f"a measurement is left out: {error}")
            continue
        known = measurements.get(measurement.identity)
        if known is None or known.created_utc < measurement.created_utc:
            measurements[measurement.identity] = measurement
    return tuple(measurements.values()), notes
