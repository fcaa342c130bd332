"""Checks the stored masks of a run: files against their hashes, and counts against the masks and the truth."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from fssbench.errors import DataError, FssbenchError
from fssbench.metrics import count
from fssbench.plural import describe_count
from fssbench.runs.masks import FILE, find_mask_fault, read_mask, read_masks
from fssbench.runs.store import StoredRun
from fssbench.verification.seals import Finding, Outcome

if TYPE_CHECKING:
    from fssbench.contracts.episodes import Plan

CHECK = "masks"
COUNTED = "counts of masks"
NOTHING_CHOSEN = "no episode was chosen. Next: give a --share or a number of --episodes above 0"
"""Detail of a check of counts that had no episode to compare; it is neither success nor error."""


def check_mask_files(run: StoredRun) -> list[Finding]:
    """Compare the files of all masks with their hashes; no finding if the run has no masks."""
    if not (run.path / FILE).exists():
        return []
    try:
        masks = read_masks(run.path)
    except DataError as error:
        return [Finding(CHECK, Outcome.DIFFERS, str(error))]
    faults = [f"{mask.file} {fault}" for mask in masks.values() if (fault := find_mask_fault(run.path, mask))]
    if faults:
        text = f"{len(faults)} of {len(masks)} files differ; the first: {faults[0]}"
        return [Finding(CHECK, Outcome.DIFFERS, text)]
    missing = len(run.records.keys() - masks.keys())
    return [
        Finding(
            CHECK,
            Outcome.EQUAL,
            describe_count(len(masks), "file")
            + (f", {describe_count(missing, 'episode has', 'episodes have')} none" if missing else ""),
        )
    ]


def recount_masks(run: StoredRun, plan: Plan, indices: Collection[int]) -> list[Finding]:
    """Count the stored masks of some episodes against the truth of the data; no finding if the run has no masks.

    Args:
        run: the run.
        plan: its plan, with the folder of the data.
        indices: the episodes.
    """
    import torch

    from fssbench.data.location import open_dataset
    from fssbench.evaluation.feature_cache import FeatureCache
    from fssbench.evaluation.inputs import Inputs

    if not (run.path / FILE).exists():
        return []
    try:
        masks = read_masks(run.path)
        dataset = open_dataset(plan.dataset, data=plan.data, splits=plan.splits, variant=plan.dataset_variant)
        inputs = Inputs(dataset, plan.size, torch.device("cpu"), FeatureCache(0))
        checked, differing = 0, []
        for index in sorted(masks.keys() & run.records.keys() & set(indices)):
            target = inputs.target(plan[index], original=run.manifest.block.score_size == "original")
            mask, record = read_mask(run.path, masks[index]), run.records[index]
            if mask.shape != target.foreground.shape:
                differing.append(index)
                continue
            inter, union = (tuple(map(int, each)) for each in count(mask, target.foreground, target.ignored))
            if (inter, union) != (record.inter, record.union):
                differing.append(index)
            checked += 1
    except FssbenchError as error:
        return [Finding(COUNTED, Outcome.DIFFERS, str(error))]
    if differing:
        text = (
            f"the masks of {len(differing)} episodes give other counts; the first is episode {differing[0]}"
        )
        return [Finding(COUNTED, Outcome.DIFFERS, text)]
    if not checked:
        text = "the episodes that were chosen have no masks" if indices else NOTHING_CHOSEN
        return [Finding(COUNTED, Outcome.NOT_CHECKED, text)]
    return [
        Finding(
            COUNTED, Outcome.EQUAL, f"the masks of {checked} of {len(masks)} episodes give the stored counts"
        )
    ]
