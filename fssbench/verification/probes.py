"""Checks what a run stores about supports: episodes asked again with others (`probes.jsonl`), and their sizes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence

from fssbench.contracts.support_probes import SupportProbe
from fssbench.errors import DataError
from fssbench.evaluation.support_effect import Replacements
from fssbench.plural import describe_count, join_some
from fssbench.runs.records import EpisodeRecord
from fssbench.runs.store import StoredRun
from fssbench.runs.support_probes import FILE, SUPPORT_PROBES
from fssbench.runs.support_sizes import FILE as SIZES, read_support_sizes
from fssbench.verification.seals import Finding, Outcome, explain_impossible_counts

CHECK = "support probes"
SUPPORT_SIZES = "sizes of supports"
COUNTED = "counts of support probes"


def check_probe_file(run: StoredRun) -> list[Finding]:
    """Check that the probes fit their run: supports, counts and truth; no finding if the run has none."""
    if not (run.path / FILE).exists():
        return []
    try:
        probes = SUPPORT_PROBES.read(run.path)
    except DataError as error:
        return [Finding(CHECK, Outcome.DIFFERS, str(error))]
    replacements = Replacements(run.plan)
    faults = [fault for p in probes.values() if (fault := _find_fault(run, p, replacements))]
    if faults:
        return [Finding(CHECK, Outcome.DIFFERS, join_some(faults, 1, "; "))]
    return [
        Finding(
            CHECK,
            Outcome.EQUAL,
            f"{describe_count(len(probes), 'episode was', 'episodes were')} asked again with other supports",
        )
    ]


def _find_fault(run: StoredRun, probe: SupportProbe, replacements: Replacements) -> str:
    """Explain why a probe cannot belong to the run; empty if it can."""
    record = run.records.get(probe.index)
    if record is None:
        return f"episode {probe.index} was asked again, but it is not counted"
    wanted = replacements.find(run.plan[probe.index])
    shown = (probe.class_id, probe.supports, probe.inverted)
    if shown != (wanted.episode.class_id, wanted.episode.supports, wanted.inverted):
        return f"episode {probe.index} names other supports than those that the plan gives it"
    block = run.manifest.block
    counts = EpisodeRecord(probe.index, record.class_id, probe.inter, probe.union, record.target)
    if why := explain_impossible_counts(counts, run.plan.size, block.score_size):
        return why
    if probe.inter[0] + probe.union[1] != record.inter[0] + record.union[1]:
        return f"episode {probe.index} has other pixels than in the run"
    # the object pixels of an answer are its wrong ones and those that it shares with the truth
    first, second = (_count_answer(each, record.target) for each in (record, probe))
    if (
        not max(first, second) <= probe.either <= first + second
        or probe.same + probe.either != first + second
    ):
        return f"episode {probe.index}: the answers have {first} and {second} object pixels, which contradicts {probe}"
    return ""


def _count_answer(counts: EpisodeRecord | SupportProbe, target: int) -> int:
    """Count the object pixels of an answer from its counts against a truth with `target` object pixels."""
    return counts.union[1] - target + counts.inter[1]


def choose_probes(run: StoredRun, indices: Sequence[int], share: float) -> list[int]:
    """Choose the probes to compute again: those of the chosen episodes, and a share of all; the same for everybody.

    Args:
        run: the run.
        indices: the episodes that are computed again anyway.
        share: share of the probes.
    """
    try:
        stored = SUPPORT_PROBES.read(run.path).keys() & run.records.keys()
    except DataError:  # named by `check_probe_file`
        return []
    if not indices:
        return []
    order = sorted(stored, key=lambda i: hashlib.sha256(f"{run.identity}/probe/{i}".encode()).digest())
    return sorted(order[: min(math.ceil(share * len(order)), max(1, len(indices)))])


def compare_probes(
    run: StoredRun, again: StoredRun, indices: Sequence[int], *, tolerance: float
) -> Iterator[Finding]:
    """Compare some probes with those that were computed again; no finding if none was.

    Args:
        run: the stored run.
        again: the recomputation.
        indices: the probes that were computed again.
        tolerance: share of an episode's pixels by which counts may differ.
    """
    if not indices:
        return
    stored, now = SUPPORT_PROBES.read(run.path), SUPPORT_PROBES.read(again.path)
    differing = [i for i in indices if i not in now or _measure_gap(stored[i], now[i]) > tolerance]
    if differing:
        text = f"{len(differing)} of {len(indices)} differ; the first is episode {differing[0]}"
        yield Finding(COUNTED, Outcome.DIFFERS, text)
        return
    unequal = sum(stored[i] != now[i] for i in indices)
    allowed = f", {unequal} of them within {100 * tolerance:g} % of the pixels" if unequal else ""
    yield Finding(
        COUNTED,
        Outcome.EQUAL,
        f"{len(indices)} of {len(stored)} were computed again, and their counts are equal{allowed}",
    )


def compare_support_sizes(run: StoredRun, again: StoredRun) -> Iterator[Finding]:
    """Compare the stored sizes of supports with those of a recomputation; no finding if the run has none."""
    if not (run.path / SIZES).exists():
        return
    try:
        stored = read_support_sizes(run.path)
    except DataError as error:
        yield Finding(SUPPORT_SIZES, Outcome.DIFFERS, str(error))
        return
    now = read_support_sizes(again.path)
    differing = [place for place, pixels in now.items() if stored.get(place) != pixels]
    if differing:
        (class_id, item) = differing[0]
        text = f"{len(differing)} of {len(now)} differ; the first is {item!r} of class {class_id}"
        yield Finding(SUPPORT_SIZES, Outcome.DIFFERS, text)
    else:
        yield Finding(SUPPORT_SIZES, Outcome.EQUAL, f"{len(now)} of {len(stored)} were counted again")


def _measure_gap(one: SupportProbe, other: SupportProbe) -> float:
    """Measure the largest difference of two probes of one episode, as a share of its pixels."""
    pairs = zip((*one.inter, *one.union, one.same, one.either),
                (*other.inter, *other.union, other.same, other.either), strict=True)  # fmt: skip
    if (one.class_id, one.supports, one.inverted) != (other.class_id, other.supports, other.inverted):
        return math.inf
    return max(abs(a - b) for a, b in pairs) / max(1, other.inter[0] + other.union[1])
