"""Joins shards.  Their integer records are concatenated, so the result equals a run without shards bit by bit."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from fssbench.contracts.run_manifest import RunManifest
from fssbench.data.data_files import FILE as DATA
from fssbench.errors import DataError
from fssbench.runs.identity import make_run_slug
from fssbench.runs.masks import join_masks
from fssbench.runs.pictures import join_panels
from fssbench.runs.sessions import read_sessions
from fssbench.runs.store import StoredRun, find_run_folders, read_run
from fssbench.runs.summary import summarise
from fssbench.runs.writer import RunWriter


def merge(paths: Sequence[Path], out: Path) -> list[Path]:
    """Join every complete set of shards in `paths`.

    Args:
        paths: shard folders, or folders of them; runs without shards are skipped.
        out: folder for the joined runs.

    Returns:
        The joined run folders.

    Raises:
        DataError: if there are no shards, if shards are missing or incomplete, with their numbers, or if a folder is
            damaged.
    """
    groups: dict[str, list[StoredRun]] = defaultdict(list)
    for path in dict.fromkeys(p for folder in paths for p in find_run_folders(folder)):
        run = read_run(path)
        if shard := run.manifest.block.shard:
            groups[f"{run.manifest.block.whole().sha256}/{shard[1]}"].append(run)
    if not groups:
        raise DataError(
            f"there are no shards in {', '.join(map(str, paths))}. Next: `fssbench run --shard 1/2 ...`"
        )
    return [_join(shards, out) for shards in groups.values()]


def _join(shards: list[StoredRun], out: Path) -> Path:
    shards.sort(key=lambda run: run.wanted.start)
    first = shards[0]
    numbers = [run.manifest.block.shard for run in shards]
    have = set(filter(None, numbers))
    parts = max(parts for _, parts in have)
    missing = [f"{i}/{parts}" for i in range(1, parts + 1) if (i, parts) not in have]
    if missing:
        raise DataError(
            f"the shards {', '.join(missing)} of {first.slug} are missing. Next: run them, then merge all shards"
        )
    for run in shards:
        lacking = sorted(set(run.wanted) - set(run.records))
        if lacking:
            raise DataError(
                f"{run.slug} lacks {len(lacking)} of its {run.planned} episodes (the first is {lacking[0]}). "
                "Next: run its command again, then merge all shards"
            )
    context = first.manifest.context.changed(merged=[run.slug for run in shards])
    manifest = RunManifest.of(first.manifest.block.whole(), context)
    path = out / make_run_slug(manifest)
    with RunWriter(path, manifest, first.plan) as writer:
        known = read_sessions(path)
        for run in shards:
            for index in run.wanted:
                if index not in writer.done:
                    writer.append(run.records[index])
                elif writer.done[index] != run.records[index]:
                    raise DataError(
                        f"episode {index} has other counts in {path} than in {run.slug}. Next: `fssbench verify` on "
                        "both folders"
                    )
            for session in run.sessions():
                named = session.changed(shard=run.slug)
                if named not in known:  # merged again after a kill
                    writer.record_session(named)
        if (first.path / DATA).is_file():
            shutil.copy(first.path / DATA, path / DATA)
        join_panels([run.path for run in shards], path)
        join_masks([run.path for run in shards], path)
        writer.settle()
        summarise(path)
        writer.report_losses()
    return path
