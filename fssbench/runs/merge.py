"""Joins shards.  Their integer records are concatenated, so the result equals a run without shards bit by bit."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from fssbench.contracts.arguments import check_arguments
from fssbench.contracts.run_manifest import RunManifest
from fssbench.data.data_files import FILE as DATA
from fssbench.errors import DataError
from fssbench.plural import describe_count
from fssbench.runs.identity import make_run_slug
from fssbench.runs.masks import join_masks
from fssbench.runs.pictures import join_panels
from fssbench.runs.probe_log import ProbeLog
from fssbench.runs.rounding_probes import REFERENCES
from fssbench.runs.sessions import read_sessions
from fssbench.runs.store import StoredRun, find_run_folders, read_manifest, read_run
from fssbench.runs.summary import summarise
from fssbench.runs.support_probes import SUPPORT_PROBES
from fssbench.runs.support_sizes import join_support_sizes
from fssbench.runs.writer import RunWriter

_NAMED = 100
"""Missing shards of a run that a message names."""


@check_arguments
def merge(shards: str | Path | Sequence[str | Path] = "runs", out: str | Path = "runs") -> list[Path]:
    """Join every complete set of shards; a set that lacks something does not keep the others from being joined.

    Args:
        shards: shard folders, or folders of them; runs without shards are skipped.
        out: folder for the joined runs.

    Returns:
        The joined run folders.

    Raises:
        DataError: if there are no shards, if a folder is damaged, or, after all complete sets were joined, if shards
            are missing or incomplete, with their numbers.

    Example:
        >>> import fssbench
        >>> plan = fssbench.plan("pascal-to-chestxray", shot=1, data="mini", episodes=4, size=96)
        >>> method = fssbench.load_method("panet", plan=plan)
        >>> for part in (1, 2):
        ...     _ = fssbench.evaluate(method, plan, out="shards", shard=(part, 2))
        >>> len(fssbench.merge("shards", out="runs"))
        1
    """
    paths = [Path(path) for path in ([shards] if isinstance(shards, str | Path) else shards)]
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(p for folder in paths for p in find_run_folders(folder)):
        block = read_manifest(path).block
        if block.shard:
            groups[f"{block.whole().sha256}/{block.shard[1]}"].append(path)
    if not groups:
        raise DataError(
            f"there are no shards in {', '.join(map(str, paths))}. Next: `fssbench run --shard 1/2 ...`"
        )
    joined: list[Path] = []
    problems: list[DataError] = []
    for folders in groups.values():
        try:
            joined.append(_join([read_run(path) for path in folders], Path(out)))
        except DataError as error:
            problems.append(error)
    if problems:
        done = (
            [f"{describe_count(len(joined), 'complete run was', 'complete runs were')} joined in {out}"]
            if joined
            else []
        )
        raise DataError("\n".join([*dict.fromkeys(map(str, problems)), *done]))
    return joined


def _join(shards: list[StoredRun], out: Path) -> Path:
    shards.sort(key=lambda run: run.wanted.start)
    first = shards[0]
    numbers = [run.manifest.block.shard for run in shards]
    have = set(filter(None, numbers))
    parts = max(parts for _, parts in have)
    if absent := parts - sum(1 <= part <= parts for part, _ in have):
        missing = (f"{i}/{parts}" for i in range(1, parts + 1) if (i, parts) not in have)
        listed = ", ".join(islice(missing, _NAMED))  # a stranger's number of parts may be beyond any memory
        others = f" and {absent - _NAMED} more" if absent > _NAMED else ""
        raise DataError(
            f"the shards {listed}{others} of {first.slug} are missing. Next: run them, then merge all shards"
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
        logs: list[ProbeLog[Any]] = [SUPPORT_PROBES, *(reference.log for reference in REFERENCES)]
        for log in logs:
            log.join([run.path for run in shards], path)
        join_support_sizes([run.path for run in shards], path)
        writer.settle()
        summarise(path)
        writer.report_losses()
    return path
