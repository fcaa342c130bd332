"""How far a stored run is, for lists of hundreds of runs: its episodes are read only if they must be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fssbench.contracts.episodes import Plan
from fssbench.contracts.run_manifest import RunManifest
from fssbench.errors import DataError
from fssbench.files.regular import read_regular
from fssbench.runs.checksums import hash_run_file, read_checksums
from fssbench.runs.store import (
    LOG,
    SUMMARY,
    compute_shard_range,
    describe_progress,
    read_json,
    read_manifest,
    read_run,
)


@dataclass(frozen=True)
class RunProgress:
    """A run without its episodes."""

    manifest: RunManifest
    done: int
    """Number of counted episodes."""
    planned: int
    plan: Plan | None = None
    """The plan, if it was read; while it is in use, it is not parsed again for the next run on it."""

    @property
    def status(self) -> str:
        """`complete` or `incomplete`."""
        return describe_progress(self.done, self.planned)


def read_progress(path: Path) -> RunProgress:
    """Read how far a run is.

    The count of the summary is taken if all files that it depends on are as fssbench wrote them.  Otherwise the run is
    read.

    Raises:
        DataError: if it is not a run folder, or is damaged.
    """
    done = _read_sealed_count(path)
    if done is None:
        run = read_run(path)
        return RunProgress(run.manifest, run.done, run.planned, run.plan)
    manifest = read_manifest(path)
    part, parts = manifest.block.shard or (1, 1)
    return RunProgress(manifest, done, len(compute_shard_range(manifest.block.episodes, part, parts)))


def _read_sealed_count(path: Path) -> int | None:
    """Read the episodes that the summary counts; None if it or what it was made of was changed, or is not complete."""
    stored = read_checksums(path) or {}
    names = ("manifest.json", "plan.json", LOG, SUMMARY)
    if any(name not in stored or hash_run_file(path / name) != stored[name] for name in names):
        return None
    try:
        counted = read_json(path / SUMMARY)["episodes"]["counted"]
        lines = read_regular(path / LOG).count(b"\n")
    except (OSError, DataError, KeyError, TypeError):
        return None
    # a process that ended in an error stores episodes, but no new summary
    return counted if isinstance(counted, int) and counted == lines else None
