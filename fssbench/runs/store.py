"""Run folders: a manifest, a plan, an append-only log of episodes, and a summary derived from them.

    runs/<readable slug>-<identity prefix>/
        manifest.json    identity block and context block, sealed, written once, before the first episode
        plan.json        the full plan, so that a run can be read without its data
        episodes.jsonl   one record per episode, each written by a single os.write on O_APPEND
        summary.json     derived from the above, replaced atomically
        sessions.jsonl   one record per process that worked on the run: its time
        data.json        beginnings of the hashes of the data files, see `fssbench.data.data_files`
        masks.jsonl      optional: predicted masks in the folder `masks`, see `fssbench.runs.masks`
        supports.json    sizes of the objects of the supports, see `fssbench.runs.support_sizes`
        probes.jsonl     optional: episodes asked again with other supports, see `fssbench.runs.support_probes`
        float32.jsonl    in a run in bfloat16: episodes computed in float32 too, see `fssbench.runs.rounding_probes`
        batch1.jsonl     in a run with `--batch N`: episodes predicted alone too, likewise
        panels.jsonl     small pictures of some episodes, see `fssbench.runs.pictures`
        checksums.json   sha256 of each of these files, see `fssbench.runs.checksums`

Deliberate trade-offs: records are not fsynced one by one.  A killed process loses nothing, a power cut may
lose the last seconds, and both runs can be resumed.  The list of finished episodes is derived from the records, never
from a flag.  An incomplete last line is dropped with a warning.  Any other damage is refused with its line number,
because skipping a line would change a mean silently.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from fssbench.contracts.episodes import Plan
from fssbench.contracts.marks import MarkKind
from fssbench.contracts.records import first_problem
from fssbench.contracts.run_manifest import Identity, RunManifest
from fssbench.episodes.plan_file import collect_plan_facts
from fssbench.episodes.shared_plans import read_shared_plan
from fssbench.errors import DataError
from fssbench.files.append_log import split_log
from fssbench.files.atomic import replace_file
from fssbench.files.canonical_json import digest
from fssbench.files.regular import read_regular
from fssbench.metrics import Absent
from fssbench.runs.records import EpisodeRecord, RecordTable, parse_canonical
from fssbench.runs.sessions import Session, read_sessions

SCHEMA = 1
"""Version of the files of a run.  Readers refuse a newer one."""
LOG = "episodes.jsonl"
"""The counts of each episode."""
SUMMARY = "summary.json"
"""The scores that follow from the records, see `fssbench.runs.summary`."""


def format_json(data: Any) -> str:
    """Write JSON in the form that every file of a run has."""
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n"


def write_json(path: Path, data: Any) -> None:
    """Replace a JSON file atomically: a reader sees the whole old file or the whole new one.

    Raises:
        DataError: if the file cannot be written, naming it.
    """
    content = format_json(data).encode()
    try:
        replace_file(path, content)
    except OSError as error:
        raise DataError(
            f"{len(content)} bytes cannot be written to {path} ({error}). Next: free space, or choose another --out"
        ) from error


def read_json(path: Path) -> Any:
    """Read a JSON file of this store.

    Raises:
        DataError: if it is missing, damaged, or of a newer schema.
    """
    try:
        data = json.loads(read_regular(path))
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing, so {path.parent} is not a run folder. Next: `fssbench list runs`"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error})") from None
    if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
        raise DataError(f"{path} is not a file of fssbench: it has no schema number")
    if data["schema"] > SCHEMA:
        raise DataError(
            f"{path} has schema {data['schema']}, but this version of fssbench reads schemas up to {SCHEMA}. "
            "Next: `pip install -U fssbench`"
        )
    return data


def compute_seal(manifest: RunManifest, plan: Plan) -> str:
    """Hash the whole content of a manifest and of its plan; the episodes count by their own hash.

    The hash is kept in the manifest as `sealed`, so that `fssbench verify` notices an edited mark or label.
    Somebody who edits on purpose can compute the hash again, so `verify` also computes the marks from the data.
    """
    stored = manifest.as_stored()
    content = {name: stored[name] for name in ("identity", "block", "context")}
    return digest({**content, "plan": {**collect_plan_facts(plan), "sha256": plan.sha256}})


def read_records(path: Path) -> tuple[Mapping[int, EpisodeRecord], int]:
    """Read an episode log.

    Returns:
        The records by episode index in the order of the log, and the length in bytes of the undamaged part.

    Raises:
        DataError: for no regular file, a damaged line before the last, or one index with two different results.
    """
    try:
        data = read_regular(path)
    except FileNotFoundError:
        return {}, 0
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})") from None
    table = parse_canonical(data)
    if table is not None:
        return table, len(data)
    lines, good = split_log(data, path)
    if good != len(data):
        warnings.warn(
            f"the last record of {path} is incomplete ({len(data) - good} bytes) and is dropped", stacklevel=2
        )
    records: dict[int, EpisodeRecord] = {}
    for line in lines:
        try:
            record = EpisodeRecord.parse(line.content)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DataError(
                f"{path}, line {line.number} is damaged ({error}). fssbench never skips a record. Next: restore the "
                "file from a copy, or delete this run folder and run again"
            ) from None
        known = records.setdefault(record.index, record)
        if known != record:
            raise DataError(
                f"{path}, line {line.number}: episode {record.index} is stored twice with different counts. "
                "Next: delete this run folder and run again"
            )
    return records, good


@dataclass(frozen=True)
class StoredRun:
    """The content of a run folder."""

    path: Path
    manifest: RunManifest
    plan: Plan
    records: Mapping[int, EpisodeRecord]

    @cached_property
    def table(self) -> RecordTable:
        """The records as columns, in ascending order of their episodes."""
        return RecordTable.of(self.records).by_index

    @property
    def queries(self) -> tuple[str, ...]:
        """Query of each counted episode, in ascending order; the tuple of the plan if all were counted."""
        every, rows = self.plan.queries, self.table.indices.tolist()
        return every if len(rows) == len(every) else tuple([every[index] for index in rows])

    @property
    def supports(self) -> tuple[tuple[str, ...], ...]:
        """Supports of each counted episode, likewise."""
        every, rows = self.plan.supports, self.table.indices.tolist()
        return every if len(rows) == len(every) else tuple([every[index] for index in rows])

    @property
    def slug(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def identity(self) -> str:
        """sha256 over everything that can change a figure."""
        return self.manifest.identity

    @property
    def absent(self) -> Absent:
        """The rule for classes without pixels in the mIoU of this run."""
        return self.manifest.block.absent_rule

    @property
    def wanted(self) -> range:
        """Indices of the planned episodes: all, or those of the shard."""
        return list_planned_episodes(self.manifest.block, self.plan)

    @property
    def done(self) -> int:
        """Number of counted episodes."""
        return len(self.records)

    @property
    def planned(self) -> int:
        """Number of planned episodes."""
        return len(self.wanted)

    @property
    def whole(self) -> bool:
        """Whether every episode of a plan that is not capped was counted.  A shard is not whole.

        The published rule for absent classes applies to whole runs alone, see
        `fssbench.metrics.select_scored_classes`.
        """
        return self.done == len(self.plan) and not any(
            mark.kind == MarkKind.CAPPED for mark in self.plan.marks
        )

    @property
    def status(self) -> str:
        """`complete` or `incomplete`, derived from the records."""
        return describe_progress(self.done, self.planned)

    def sessions(self) -> list[Session]:
        """Read what each process that worked on this run did."""
        return read_sessions(self.path)


def describe_progress(done: int, planned: int) -> str:
    """Return `complete` if all planned episodes were counted, otherwise `incomplete`."""
    return "complete" if done == planned else "incomplete"


def list_planned_episodes(identity: Identity, plan: Plan) -> range:
    """Compute the indices of the planned episodes of a run with this identity: all, or those of its shard."""
    part, parts = identity.shard or (1, 1)
    return compute_shard_range(len(plan), part, parts)


def compute_shard_range(total: int, part: int, parts: int) -> range:
    """Return the indices of shard `part` of `parts` (1-based).  Shards are contiguous and not padded."""
    return range((part - 1) * total // parts, part * total // parts)


def read_manifest(path: Path) -> RunManifest:
    """Read the manifest of a run folder; fields of a newer version are kept.

    Raises:
        DataError: if there is none, it is damaged, or its block does not hash to its identity.
    """
    stored = read_json(path / "manifest.json")
    try:
        manifest = RunManifest.read_stored(stored)
    except ValidationError as error:
        raise DataError(f"{path} is not a run folder: manifest.json: {first_problem(error)}") from None
    if manifest.block.sha256 != manifest.identity:
        raise DataError(
            f"{path}/manifest.json was changed: its identity is not the hash of its block. Next: restore it from a "
            "copy, or delete this run folder and run again"
        )
    return manifest


def read_run(path: Path, records: Mapping[int, EpisodeRecord] | None = None) -> StoredRun:
    """Read a run folder.

    Args:
        path: the run folder.
        records: its records if they were read already.

    Raises:
        DataError: if it is not a run folder, or is damaged.
    """
    manifest = read_manifest(path)
    plan = read_shared_plan(path / "plan.json")
    if plan.sha256 != manifest.block.episodes_sha256:
        raise DataError(
            f"{path}/plan.json is not the plan that manifest.json names. Next: restore it from a copy, or delete this "
            "run folder and run again"
        )
    if records is None:
        records, _ = read_records(path / LOG)
    run = StoredRun(path, manifest, plan, records)
    check_records(path, records, plan, run.wanted)
    return run


def check_records(path: Path, records: Mapping[int, EpisodeRecord], plan: Plan, wanted: range) -> None:
    """Refuse records of another run: a log that was copied from elsewhere would change the mean."""
    if isinstance(records, RecordTable) and _fits_plan(records, plan, wanted):
        return
    for index, record in records.items():
        if index not in wanted:
            raise DataError(
                f"{path} holds episode {index}, but its {len(wanted)} episodes are {wanted.start} to "
                f"{wanted.stop - 1}. Next: delete this run folder and run again"
            )
        if record.class_id != plan[index].class_id:
            raise DataError(
                f"{path} holds episode {index} with class {record.class_id}, but the class in its plan is "
                f"{plan[index].class_id}. Next: delete this run folder and run again"
            )


def _fits_plan(records: RecordTable, plan: Plan, wanted: range) -> bool:
    """Return whether every record belongs to a wanted episode of its class."""
    indices = records.indices
    if not len(indices):
        return True
    if not wanted.start <= indices.min() <= indices.max() < wanted.stop:
        return False
    classes = np.array(plan.class_ids)
    return bool((classes[indices] == records.class_ids).all())


def find_run_folders(folder: Path) -> Iterator[Path]:
    """Yield the run folders in `folder`, sorted by name, or `folder` itself if it is a run folder."""
    if (folder / "manifest.json").is_file():
        yield folder
    elif folder.is_dir():
        yield from sorted(p.parent for p in folder.glob("*/manifest.json"))
