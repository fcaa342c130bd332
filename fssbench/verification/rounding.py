"""Checks what a run in bfloat16 or in batches stores about the exact way: episodes that were computed in both ways.

They are in `float32.jsonl` and `batch1.jsonl`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fssbench.contracts.marks import MarkKind
from fssbench.contracts.rounding_probes import RoundingProbe
from fssbench.errors import DataError
from fssbench.evaluation.rounding import choose_rounding_episodes
from fssbench.plural import describe_count, join_some
from fssbench.runs.records import EpisodeRecord
from fssbench.runs.rounding_probes import REFERENCES, Reference
from fssbench.runs.store import StoredRun
from fssbench.verification.seals import Finding, Outcome, explain_impossible_counts


def name_file_check(reference: Reference) -> str:
    """Name the check of the stored episodes of an exact way."""
    return f"{reference.name} episodes"


def name_count_check(reference: Reference) -> str:
    """Name the comparison of these episodes with those that are computed again."""
    return f"counts {'at' if reference.kind == MarkKind.BATCH else 'in'} {reference.name}"


def check_rounding_files(run: StoredRun) -> list[Finding]:
    """Check that the episodes of each exact way fit their run; no finding if the run has none and needs none."""
    return [finding for reference in REFERENCES for finding in _check_file(run, reference)]


def _check_file(run: StoredRun, reference: Reference) -> list[Finding]:
    check, file, name = name_file_check(reference), reference.log.file, reference.name
    is_needed = reference.applies_to(run.manifest.block)
    if not (run.path / file).exists():
        text = f"no episode was computed again ({name})"
        return [Finding(check, Outcome.NOT_CHECKED, text)] if is_needed else []
    if not is_needed:
        return [Finding(check, Outcome.DIFFERS, f"a run that is itself {name} has the file {file}")]
    try:
        probes = reference.log.read(run.path)
    except DataError as error:
        return [Finding(check, Outcome.DIFFERS, str(error))]
    chosen = set(choose_rounding_episodes(run.plan, run.manifest.block.batch))
    faults = [fault for p in probes.values() if (fault := _find_fault(run, p, chosen))]
    if faults:
        return [Finding(check, Outcome.DIFFERS, join_some(faults, 1, "; "))]
    wanted = chosen & run.records.keys()
    if lacking := sorted(wanted - probes.keys()):
        text = (
            f"{len(lacking)} of {len(wanted)} chosen episodes were not computed again ({name}), so the effect in the "
            f"mark may be that of a selection; the first is episode {lacking[0]}. Next: run the same command again"
        )
        return [Finding(check, Outcome.NOT_CHECKED, text)]
    return [
        Finding(
            check,
            Outcome.EQUAL,
            f"{describe_count(len(probes), 'episode was', 'episodes were')} computed again ({name})",
        )
    ]


def _find_fault(run: StoredRun, probe: RoundingProbe, chosen: set[int]) -> str:
    """Explain why a probe cannot belong to the run; empty if it can."""
    record = run.records.get(probe.index)
    if record is None:
        return f"episode {probe.index} was computed again, but it is not counted"
    if probe.index not in chosen:
        return f"episode {probe.index} is not among those that the plan chooses"
    counts = EpisodeRecord(probe.index, record.class_id, probe.inter, probe.union, record.target)
    block = run.manifest.block
    if why := explain_impossible_counts(counts, run.plan.size, block.score_size):
        return why
    pixels = record.inter[0] + record.union[1]
    if probe.inter[0] + probe.union[1] != pixels:
        return f"episode {probe.index} has other pixels than in the run"
    # the answers differ at least by the difference of their right pixels, and the wrong ones by as much at most
    right = sum(record.inter) - sum(probe.inter)
    if not abs(right) <= probe.differing <= 2 * pixels - sum(record.inter) - sum(probe.inter):
        return (
            f"episode {probe.index}: {probe.differing} differing pixels contradict the counts of both answers"
        )
    return ""


def choose_rounding_probes(
    run: StoredRun, reference: Reference, indices: Sequence[int], share: float
) -> list[int]:
    """Choose the stored episodes of an exact way to compute again: a share of them; the same for everybody.

    Args:
        run: the run.
        reference: the exact way.
        indices: the episodes that are computed again anyway; if there are none, none is chosen.
        share: share of the stored ones.
    """
    try:
        stored = reference.log.read(run.path).keys() & run.records.keys()
    except DataError:  # named by `check_rounding_files`
        return []
    order = order_by_hash(run, stored, reference.name)
    return sorted(order[: min(math.ceil(share * len(order)), len(indices))])


def order_by_hash(run: StoredRun, indices: Iterable[int], name: str = "") -> list[int]:
    """Order episodes by a hash of the identity and the number of their batch; the same for everybody.

    Episodes of one batch stay together, because each costs the prediction of the whole batch.

    Args:
        run: the run.
        indices: the episodes.
        name: what they are chosen for; part of what is hashed.
    """
    batch, words = run.manifest.block.batch, f"{run.identity}/{name}/" if name else f"{run.identity}/"
    return sorted(
        indices, key=lambda i: (hashlib.sha256(f"{words}{i // max(1, batch)}".encode()).digest(), i)
    )


def compare_rounding_probes(
    run: StoredRun, again: StoredRun, chosen: Mapping[Reference, Sequence[int]], *, tolerance: float
) -> Iterator[Finding]:
    """Compare some episodes of each exact way with those that were computed again; no finding if none was.

    Args:
        run: the stored run.
        again: the recomputation.
        chosen: the episodes to compare.
        tolerance: share of an episode's pixels by which counts may differ.
    """
    for reference, indices in chosen.items():
        if not indices:
            continue
        stored, now = reference.log.read(run.path), reference.log.read(again.path)
        differing = [i for i in indices if i not in now or _measure_gap(stored[i], now[i]) > tolerance]
        check = name_count_check(reference)
        if differing:
            text = f"{len(differing)} of {len(indices)} differ; the first is episode {differing[0]}"
            yield Finding(check, Outcome.DIFFERS, text)
        else:
            yield Finding(check, Outcome.EQUAL, f"{len(indices)} of {len(stored)} were computed again")


def _measure_gap(one: RoundingProbe, other: RoundingProbe) -> float:
    """Measure the largest difference of the counts of two probes of one episode, as a share of its pixels."""
    pairs = zip((*one.inter, *one.union), (*other.inter, *other.union), strict=True)
    return max(abs(a - b) for a, b in pairs) / max(1, other.inter[0] + other.union[1])
