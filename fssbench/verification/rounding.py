"""Checks what a run in bfloat16 stores about float32: episodes that were computed in both (`float32.jsonl`)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence

from fssbench.contracts.precision import DTYPES
from fssbench.contracts.rounding_probes import RoundingProbe
from fssbench.errors import DataError
from fssbench.evaluation.rounding import EPISODES
from fssbench.evaluation.support_effect import choose_probed_episodes
from fssbench.runs.records import EpisodeRecord
from fssbench.runs.rounding_probes import FILE, ROUNDING_PROBES
from fssbench.runs.store import StoredRun
from fssbench.verification.seals import Finding, Outcome, explain_impossible_counts

CHECK = "float32 episodes"
COUNTED = "counts in float32"


def check_rounding_file(run: StoredRun) -> list[Finding]:
    """Check that the episodes in float32 fit their run; no finding if the run has none and needs none."""
    is_exact = run.manifest.block.dtype == DTYPES["float32"]
    if not (run.path / FILE).exists():
        return [] if is_exact else [Finding(CHECK, Outcome.NOT_CHECKED, "no episode was computed in float32")]
    if is_exact:
        return [Finding(CHECK, Outcome.DIFFERS, f"a run in float32 has the file {FILE}")]
    try:
        probes = ROUNDING_PROBES.read(run.path)
    except DataError as error:
        return [Finding(CHECK, Outcome.DIFFERS, str(error))]
    chosen = set(choose_probed_episodes(run.plan, EPISODES))
    faults = [fault for p in probes.values() if (fault := _find_fault(run, p, chosen))]
    if faults:
        more = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
        return [Finding(CHECK, Outcome.DIFFERS, f"{faults[0]}{more}")]
    wanted = chosen & run.records.keys()
    if lacking := sorted(wanted - probes.keys()):
        text = (
            f"{len(lacking)} of {len(wanted)} chosen episodes were not computed in float32, so the effect in the mark "
            f"may be that of a selection; the first is episode {lacking[0]}. Next: run the same command again"
        )
        return [Finding(CHECK, Outcome.NOT_CHECKED, text)]
    return [Finding(CHECK, Outcome.EQUAL, f"{len(probes)} episodes were computed in float32 too")]


def _find_fault(run: StoredRun, probe: RoundingProbe, chosen: set[int]) -> str:
    """Explain why a probe cannot belong to the run; empty if it can."""
    record = run.records.get(probe.index)
    if record is None:
        return f"episode {probe.index} was computed in float32, but it is not counted"
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


def choose_rounding_probes(run: StoredRun, indices: Sequence[int], share: float) -> list[int]:
    """Choose the stored float32 episodes to compute again: a share of them; the same for everybody.

    Args:
        run: the run.
        indices: the episodes that are computed again anyway; if there are none, none is chosen.
        share: share of the stored ones.
    """
    try:
        stored = ROUNDING_PROBES.read(run.path).keys() & run.records.keys()
    except DataError:  # named by `check_rounding_file`
        return []
    order = sorted(stored, key=lambda i: hashlib.sha256(f"{run.identity}/float32/{i}".encode()).digest())
    return sorted(order[: min(math.ceil(share * len(order)), len(indices))])


def compare_rounding_probes(
    run: StoredRun, again: StoredRun, indices: Sequence[int], *, tolerance: float
) -> Iterator[Finding]:
    """Compare some float32 episodes with those that were computed again; no finding if none was.

    Args:
        run: the stored run.
        again: the recomputation.
        indices: the episodes to compare.
        tolerance: share of an episode's pixels by which counts may differ.
    """
    if not indices:
        return
    stored, now = ROUNDING_PROBES.read(run.path), ROUNDING_PROBES.read(again.path)
    differing = [i for i in indices if i not in now or _measure_gap(stored[i], now[i]) > tolerance]
    if differing:
        text = f"{len(differing)} of {len(indices)} differ; the first is episode {differing[0]}"
        yield Finding(COUNTED, Outcome.DIFFERS, text)
    else:
        yield Finding(COUNTED, Outcome.EQUAL, f"{len(indices)} of {len(stored)} were computed again")


def _measure_gap(one: RoundingProbe, other: RoundingProbe) -> float:
    """Measure the largest difference of the counts of two probes of one episode, as a share of its pixels."""
    pairs = zip((*one.inter, *one.union), (*other.inter, *other.union), strict=True)
    return max(abs(a - b) for a, b in pairs) / max(1, other.inter[0] + other.union[1])
