"""Episodes of a run in bfloat16 that were predicted in float32 too, and how much the figures differ on them.

float32.jsonl   one line per episode: counts in float32, pixels that differ, a crc32
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fssbench.contracts.marks import Mark, MarkKind
from fssbench.contracts.precision import DTYPES
from fssbench.contracts.rounding_probes import RoundingProbe
from fssbench.errors import DataError
from fssbench.files.append_log import unseal
from fssbench.metrics import score
from fssbench.runs.probe_log import ProbeLog, require_counts
from fssbench.runs.store import StoredRun

FILE = "float32.jsonl"


def _parse(line: bytes) -> RoundingProbe:
    """Read a line without its newline.

    Raises:
        ValueError: if the line is damaged.
    """
    data = unseal(line)
    (i_b, i_f), (u_b, u_f) = data["inter"], data["union"]
    require_counts(data["index"], data["differing"], i_b, i_f, u_b, u_f)
    return RoundingProbe(data["index"], (i_b, i_f), (u_b, u_f), data["differing"])


ROUNDING_PROBES = ProbeLog(
    FILE, _parse, command="the command again", hint="Next: free space, or run with --precision float32"
)


@dataclass(frozen=True)
class RoundingEffect:
    """What bfloat16 changes, over the episodes that were computed in float32 too."""

    episodes: int
    miou: float
    """In bfloat16, over the classes that these episodes have, in percent; nan if none has a foreground pixel."""
    float32_miou: float
    differing: int
    """Pixels that differ."""
    pixels: int
    """Pixels of these episodes."""

    def __str__(self) -> str:
        """One sentence with the difference of the mIoU and the share of the pixels."""
        share = 100 * self.differing / max(1, self.pixels)
        gap = self.miou - self.float32_miou
        # an answer without foreground has no IoU if the truth has none either
        difference = (
            "no mIoU to compare with float32" if math.isnan(gap) else f"mIoU {gap:+.2f} against float32"
        )
        return f"{difference} on {self.episodes} episodes, {share:.2g} % of their pixels differ"


def measure_rounding_effect(run: StoredRun) -> RoundingEffect | None:
    """Measure the effect of bfloat16 from the stored counts; None if no episode was computed in float32.

    Raises:
        DataError: if the stored counts are damaged.
    """
    probes = [p for index, p in sorted(ROUNDING_PROBES.read(run.path).items()) if index in run.records]
    if not probes:
        return None
    records = [run.records[probe.index] for probe in probes]
    ids = np.array([record.class_id for record in records])
    rounded, single = (
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
    return RoundingEffect(len(probes), rounded, single, sum(probe.differing for probe in probes), pixels)


def make_precision_marks(run: StoredRun) -> list[Mark]:
    """Return the mark of a run that is not computed in float32, with its effect; none for other runs."""
    dtype = run.manifest.block.dtype
    if dtype == DTYPES["float32"]:
        return []
    try:
        effect = measure_rounding_effect(run)
    except DataError:  # `verify` names it
        return [Mark(MarkKind.BFLOAT16, f"effect unknown because {FILE} is damaged")]
    return [Mark(MarkKind.BFLOAT16, "effect on mIoU not measured" if effect is None else str(effect))]
