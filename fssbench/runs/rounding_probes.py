"""Episodes that a run predicted again in the exact way, in float32 or at batch 1, and how much the figures differ.

float32.jsonl   in a run in bfloat16: one line per episode: counts in float32, pixels that differ, a crc32
batch1.jsonl    in a run with `--batch N`: the same at batch 1
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fssbench.contracts.marks import Mark, MarkKind
from fssbench.contracts.precision import DTYPES
from fssbench.contracts.rounding_probes import RoundingProbe
from fssbench.contracts.run_manifest import Identity
from fssbench.errors import DataError
from fssbench.files.append_log import unseal
from fssbench.metrics import score
from fssbench.plural import describe_count
from fssbench.runs.probe_log import ProbeLog, require_counts
from fssbench.runs.store import StoredRun


def _parse(line: bytes) -> RoundingProbe:
    """Read a line without its newline.

    Raises:
        ValueError: if the line is damaged.
    """
    data = unseal(line)
    (i_b, i_f), (u_b, u_f) = data["inter"], data["union"]
    require_counts(data["index"], data["differing"], i_b, i_f, u_b, u_f)
    return RoundingProbe(data["index"], (i_b, i_f), (u_b, u_f), data["differing"])


@dataclass(frozen=True)
class Reference:
    """An exact way of computing, against which a run that is computed otherwise is measured."""

    name: str
    """`float32` or `batch 1`."""
    log: ProbeLog[RoundingProbe]
    """Counts of the episodes that were computed in this way too."""
    kind: MarkKind
    """Mark of a run that is computed otherwise."""
    applies_to: Callable[[Identity], bool]
    """Returns whether a run is computed otherwise, and so has episodes that were computed in this way too."""
    describe: Callable[[Identity], str] = lambda _: ""
    """Returns the beginning of the mark's detail."""


FLOAT32 = Reference(
    "float32",
    ProbeLog(
        "float32.jsonl",
        _parse,
        command="the command again",
        hint="Next: free space, or run with --precision float32",
    ),
    MarkKind.BFLOAT16,
    lambda identity: identity.dtype != DTYPES["float32"],
)
BATCH_1 = Reference(
    "batch 1",
    ProbeLog(
        "batch1.jsonl", _parse, command="the command again", hint="Next: free space, or run without --batch"
    ),
    MarkKind.BATCH,
    lambda identity: identity.batch != 1,
    lambda identity: f"{identity.batch} episodes together; ",
)
REFERENCES = FLOAT32, BATCH_1
_UNMEASURED = "effect on mIoU not measured"


@dataclass(frozen=True)
class RoundingEffect:
    """Effect of another way of computing, over the episodes that were also computed in the exact way."""

    episodes: int
    miou: float
    """Of the run, over the classes that these episodes have, in percent; nan if none has a foreground pixel."""
    exact_miou: float
    differing: int
    """Pixels that differ."""
    pixels: int
    """Pixels of these episodes."""
    reference: str
    """Name of the exact way."""

    def __str__(self) -> str:
        """Return one sentence with the difference of the mIoU and the share of the pixels."""
        share = 100 * self.differing / max(1, self.pixels)
        gap = self.miou - self.exact_miou
        # an answer without foreground has no IoU if the truth has none either
        difference = (
            f"no mIoU to compare with {self.reference}"
            if math.isnan(gap)
            else f"mIoU {gap:+.2f} against {self.reference}"
        )
        return f"{difference} on {describe_count(self.episodes, 'episode')}, {share:.2g} % of their pixels differ"


def measure_rounding_effect(run: StoredRun, reference: Reference = FLOAT32) -> RoundingEffect | None:
    """Measure an effect from the stored counts; None if no episode was computed in the exact way.

    Raises:
        DataError: if the stored counts are damaged.
    """
    probes = [p for index, p in sorted(reference.log.read(run.path).items()) if index in run.records]
    if not probes:
        return None
    records = [run.records[probe.index] for probe in probes]
    ids = np.array([record.class_id for record in records])
    rounded, exact = (
        score(
            ids,
            np.array([each.inter for each in counts]),
            np.array([each.union for each in counts]),
            run.plan.classes,
            absent="exclude",
            whole=False,
        ).miou
        for counts in (records, probes)
    )
    pixels = sum(record.inter[0] + record.union[1] for record in records)
    differing = sum(probe.differing for probe in probes)
    return RoundingEffect(len(probes), rounded, exact, differing, pixels, reference.name)


def make_rounding_marks(run: StoredRun) -> list[Mark]:
    """Return a mark for each exact way in which a run is not computed, with the effect; none for other runs."""
    return [_make_mark(run, each) for each in REFERENCES if each.applies_to(run.manifest.block)]


def make_unmeasured_marks(identity: Identity) -> list[Mark]:
    """Return the same marks for answers of which none was computed in the exact way."""
    return [_join_mark(each, identity, _UNMEASURED) for each in REFERENCES if each.applies_to(identity)]


def _make_mark(run: StoredRun, reference: Reference) -> Mark:
    try:
        effect = measure_rounding_effect(run, reference)
        text = _UNMEASURED if effect is None else str(effect)
    except DataError:  # `verify` names it
        text = f"effect unknown because {reference.log.file} is damaged"
    return _join_mark(reference, run.manifest.block, text)


def _join_mark(reference: Reference, identity: Identity, text: str) -> Mark:
    return Mark(reference.kind, f"{reference.describe(identity)}{text}")
