"""Checks a stored run against itself, against the data, and by computing some of its episodes again.

The recomputation is an ordinary run of some episodes in a temporary folder.  Its identity covers everything that
can change a figure: data, lists, source, weights and settings.  So one comparison of the identities checks them
all.  The stored run must also have the marks that the recomputation writes.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from fssbench.contracts.episodes import Plan
from fssbench.contracts.marks import MarkKind
from fssbench.contracts.methods import Method
from fssbench.contracts.precision import read_precision
from fssbench.contracts.provenance import BROUGHT
from fssbench.data.location import find_data_folder_of, open_dataset
from fssbench.episodes.replay import GIVEN, draw_again, prepare_given_plan, require_known_data
from fssbench.errors import DataError, FssbenchError, UsageError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.precision import require_precision
from fssbench.evaluation.settings import Settings
from fssbench.files.hashing import hash_weights_file
from fssbench.loading.backbone_weights import parse_weights_path
from fssbench.loading.bundled import list_bundled
from fssbench.loading.load import load_method
from fssbench.plugins.registry import BACKBONES, DATASETS, METHODS
from fssbench.plural import describe_count
from fssbench.runs.identity import hash_plan_files
from fssbench.runs.pictures import read_panels
from fssbench.runs.redaction import HIDDEN
from fssbench.runs.rounding_probes import REFERENCES
from fssbench.runs.store import StoredRun, find_run_folders, read_run
from fssbench.verification.masks import NOTHING_CHOSEN, check_mask_files, recount_masks
from fssbench.verification.pictures import CHECK as PICTURES, compare_pictures
from fssbench.verification.probes import (
    check_probe_file,
    choose_probes,
    compare_probes,
    compare_support_sizes,
)
from fssbench.verification.rounding import (
    check_rounding_files,
    choose_rounding_probes,
    compare_rounding_probes,
    order_by_hash,
)
from fssbench.verification.seals import Finding, Outcome, check_seals

TOLERANCE = 0.001
"""Share of an episode's pixels by which counts may differ on another machine."""
_MACHINE = ("packages", "python", "system", "threads", "gpu")
"""Fields of a context block that may change the last digits of a float."""
_PROVEN = ("label", "title", "kind", "benchmark_title", "category", "folds", "ablations",
           "ablation_labels", "config_passed", "weights",
           "checkpoint_sha256", "learnable", "parameters", "marks")  # fmt: skip
"""Fields of a context block that a recomputation writes again."""


@dataclass(frozen=True)
class VerificationInputs:
    """Data, weights and extent of a verification."""

    data: str | Path | None = None
    splits: str | Path | None = None
    files: tuple[Path, ...] = ()
    """Checkpoints and backbone weights; the one that belongs to a run is found by its hash."""
    share: float = 0.1
    """Share of each run's episodes that is computed again."""
    episodes: int | None = None
    """Number of episodes that are computed again, instead of `share`."""


def verify_run(path: Path, inputs: VerificationInputs) -> list[Finding]:
    """Check one run folder.

    Args:
        path: the run folder.
        inputs: data, weights, and how much to compute again.

    Returns:
        The findings, in the order of the checks.
    """
    findings, run = check_seals(path)
    if run is None:
        return findings
    findings += check_mask_files(run)
    findings += check_probe_file(run)
    findings += check_rounding_files(run)
    try:
        require_known_data(run.plan)
        root = find_data_folder_of(run.plan.dataset, inputs.data)
        if root is None and DATASETS.get(run.plan.dataset).home is None:
            raise DataError("no data folder was given. Next: give --data DIR")
    except FssbenchError as error:
        why = str(error)
        missing = [Finding(check, Outcome.NOT_CHECKED, why) for check in ("episodes", "data")]
        return [*findings, *missing, *_leave_unchecked(run, why)]
    plan, drawn = _draw_plan_again(run, root, inputs)
    findings.append(drawn)
    data = _check_data(run, plan)
    findings.append(data)
    if data.outcome == Outcome.NOT_CHECKED:
        return [*findings, *_leave_unchecked(run, "the data cannot be read")]
    findings += recount_masks(run, plan, choose_episodes(run, inputs))
    try:
        method = _load_method(run, inputs)
    except FssbenchError as error:
        return [*findings, *_leave_unchecked(run, str(error))]
    return [*findings, *_recompute(run, plan, method, inputs)]


def _leave_unchecked(run: StoredRun, why: str) -> list[Finding]:
    checks = ["identity", "marks proven", "counts"] + [PICTURES] * any(read_panels(run))
    return [Finding(check, Outcome.NOT_CHECKED, why) for check in checks]


def _draw_plan_again(run: StoredRun, root: Path | None, inputs: VerificationInputs) -> tuple[Plan, Finding]:
    """Return the plan for the recomputation: as drawn now if the episodes are equal, else as stored."""
    stored = run.plan
    here = replace(stored, data=root, splits=Path(inputs.splits) if inputs.splits is not None else None)
    try:
        if (
            GIVEN in stored.marks
            and (given := prepare_given_plan(run.path / "plan.json", root, inputs.splits)) == stored
        ):
            return given, Finding(
                "episodes",
                Outcome.NOT_CHECKED,
                "the plan comes from a file and cannot be drawn again; its images exist",
            )
        drawn = draw_again(stored, root, inputs.splits)
    except FssbenchError as error:
        return here, Finding("episodes", Outcome.NOT_CHECKED, str(error))
    for episode in stored:
        if episode.index >= len(drawn) or drawn[episode.index] != episode:
            text = (
                f"the episodes that are drawn now differ from index {episode.index} on (lists then: {stored.lists}; "
                f"now: {drawn.lists})"
            )
            return here, Finding("episodes", Outcome.DIFFERS, text)
    if drawn != stored:
        names = [n for n in ("marks", "classes", "class_names", "lists", "version", "size") if
                 getattr(drawn, n) != getattr(stored, n)]  # fmt: skip
        text = "; ".join(
            f"{n} is {getattr(drawn, n)!r} now, but {getattr(stored, n)!r} in the run" for n in names
        )
        return here, Finding("episodes", Outcome.DIFFERS, text)
    return drawn, Finding("episodes", Outcome.EQUAL, f"{len(drawn)} drawn again, {drawn.sha256[:12]}")


def _check_data(run: StoredRun, plan: Plan) -> Finding:
    try:
        dataset = open_dataset(plan.dataset, data=plan.data, splits=plan.splits, variant=plan.dataset_variant)
        files = hash_plan_files(dataset, plan)
    except FssbenchError as error:
        return Finding("data", Outcome.NOT_CHECKED, str(error))
    if files.sha256 == run.manifest.block.data_sha256:
        return Finding(
            "data", Outcome.EQUAL, f"{describe_count(len(files.paths), 'file')}, {files.sha256[:12]}"
        )
    others = files.list_differing(run.path)
    if not others:
        return Finding(
            "data",
            Outcome.DIFFERS,
            f"the hash of the data is {files.sha256[:12]}; it is unknown which of {len(files.paths)} files differ",
        )
    text = f"{len(others)} of {len(files.paths)} files differ; the first is {others[0]}"
    return Finding("data", Outcome.DIFFERS, text)


def _load_method(run: StoredRun, inputs: VerificationInputs) -> Method:
    """Load the method that the run names.

    Raises:
        DataError: if code, weights or a setting is missing; the error names it.
        FssbenchError: if it does not load.
    """
    identity, context = run.manifest.block, run.manifest.context
    name = identity.method
    if name not in METHODS.names():
        raise DataError(f"method {name!r} is not installed. Next: give --plugin FILE")
    if identity.backbone and identity.backbone not in BACKBONES.names():
        raise DataError(f"backbone {identity.backbone!r} is not installed. Next: give --plugin FILE")
    hidden = [k for k, v in context.config_passed.items() if str(v).startswith("...") or HIDDEN in str(v)]
    if hidden:
        raise DataError(f"setting {hidden[0]!r} is a path or a secret, and a run stores neither")
    cls = METHODS.get(name)
    by_hash = {hash_weights_file(path): path for path in inputs.files}
    checkpoint = None
    if wanted := context.checkpoint_sha256:
        by_hash |= {hash_weights_file(s.path): s.path for s in list_bundled(cls)}
        if wanted not in by_hash:
            raise DataError(
                f"checkpoint {context.checkpoint} (sha256 {wanted[:12]}...) is missing. Next: give --file FILE"
            )
        checkpoint = by_hash[wanted]
    weights = context.weights
    if weights is not None and weights.startswith("file:"):
        own = [path for digest, path in by_hash.items() if f"file:{digest[:12]}" == weights]
        if not own:
            raise DataError(f"the backbone weights {weights} are missing. Next: give --file FILE")
        weights = str(own[0] if parse_weights_path(str(own[0])) else own[0].absolute())
    return load_method(
        cls,
        backbone=identity.backbone,
        weights=None if weights == BROUGHT else weights,
        checkpoint=checkpoint,
        ablate=context.ablations,
        untrained=checkpoint is None,
        force=any(mark.kind == MarkKind.FORCED_CHECKPOINT for mark in context.marks),
        **context.config_passed,
    )


def choose_episodes(run: StoredRun, inputs: VerificationInputs) -> list[int]:
    """Choose the episodes to compute again.  They depend only on the identity, so everybody gets the same ones."""
    wanted = math.ceil(inputs.share * run.done) if inputs.episodes is None else inputs.episodes
    return sorted(order_by_hash(run, run.records)[:wanted])


def _recompute(run: StoredRun, plan: Plan, method: Method, inputs: VerificationInputs) -> Iterator[Finding]:
    identity = run.manifest.block
    device = identity.device if identity.device != "cuda" or torch.cuda.is_available() else "cpu"
    indices = choose_episodes(run, inputs)
    share = inputs.share if inputs.episodes is None else 1.0
    probed = choose_probes(run, indices, share)
    rounded = {each: choose_rounding_probes(run, each, indices, share) for each in REFERENCES}
    try:
        precision = read_precision(identity.dtype)
        require_precision(precision, device)
    except (ValueError, UsageError) as error:
        yield from _leave_unchecked(run, f"the episodes cannot be computed again: {error}")
        return
    with tempfile.TemporaryDirectory(prefix="fssbench-verify-") as folder:
        settings = Settings(
            out=Path(folder),
            score_size="original" if identity.score_size == "original" else "input",
            device=device,
            precision=precision,
            batch=identity.batch,
            shard=identity.shard,
            panels=len(plan),
            isolate=None,
            repeated=0,
            only=frozenset({*indices, *probed, *chain.from_iterable(rounded.values())}),
            sensitivity=len(plan) if probed else 0,
            probe_only=frozenset(probed),
        )
        try:
            _, failed = evaluate_all([method], plan, settings)
            if failed:
                raise failed[0][1]
        except FssbenchError as error:
            yield Finding("counts", Outcome.DIFFERS, f"the episodes cannot be computed again: {error}")
            return
        again = read_run(next(find_run_folders(Path(folder))))
        exact = not _list_machine_differences(run, again)
        probes = [*compare_probes(run, again, probed, tolerance=0.0 if exact else TOLERANCE)]
        probes += compare_rounding_probes(run, again, rounded, tolerance=0.0 if exact else TOLERANCE)
        sizes = [*compare_support_sizes(run, again)]
        pictures = compare_pictures(run, again, indices, exact=exact)  # they are read from the folder
    yield _compare_identities(run, again)
    yield _compare_contexts(run, again)
    yield _compare_counts(run, again, indices)
    yield from sizes
    yield from probes
    yield from pictures


def _compare_identities(run: StoredRun, again: StoredRun) -> Finding:
    """Compare the identity with that of the recomputation, except for the device."""
    before, now = run.manifest.block.as_stored(), again.manifest.block.as_stored()
    others = [k for k in before if k != "device" and before[k] != now.get(k)]
    if others:
        text = "; ".join(
            f"{k} is {_shorten(now.get(k))}, but {_shorten(before[k])} in the run" for k in others
        )
        return Finding("identity", Outcome.DIFFERS, text)
    return Finding("identity", Outcome.EQUAL, "source, weights and settings equal those of the run")


def _compare_contexts(run: StoredRun, again: StoredRun) -> Finding:
    before, now = run.manifest.context.as_stored(), again.manifest.context.as_stored()
    others = [k for k in _PROVEN if k in before and k in now and before[k] != now[k]]
    if others:
        text = "; ".join(f"{k} is {_shorten(now[k])}, but {_shorten(before[k])} in the run" for k in others)
        return Finding("marks proven", Outcome.DIFFERS, text)
    return Finding("marks proven", Outcome.EQUAL, ", ".join(now["marks"]) or "none")


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _compare_counts(run: StoredRun, again: StoredRun, indices: Sequence[int]) -> Finding:
    if not indices:
        return Finding("counts", Outcome.NOT_CHECKED, NOTHING_CHOSEN)
    differences = _list_machine_differences(run, again)
    worst, unequal, total = 0.0, [], 0
    for index in indices:
        stored, now = run.records[index], again.records[index]
        pairs = zip(
            (*stored.inter, *stored.union, stored.target), (*now.inter, *now.union, now.target), strict=True
        )
        pixels = max(abs(a - b) for a, b in pairs)
        if stored != now:
            unequal.append(index)
            total += pixels
            worst = max(worst, pixels / max(1, now.inter[0] + now.union[1]))
    if not unequal:
        return Finding(
            "counts",
            Outcome.EQUAL,
            f"{len(indices)} of {run.done} episodes were computed again, and all counts are equal",
        )
    text = (
        f"{len(unequal)} of the {len(indices)} episodes that were computed again differ, by {total} pixels in total "
        f"and at most {100 * worst:.3f} % of an episode; the first is episode {unequal[0]}"
    )
    if differences and worst <= TOLERANCE:
        allowed = f"up to {100 * TOLERANCE:g} % is allowed because {', '.join(differences)} differ"
        return Finding("counts", Outcome.EQUAL, f"{text}; {allowed}")
    return Finding("counts", Outcome.DIFFERS, text)


def _list_machine_differences(run: StoredRun, again: StoredRun) -> list[str]:
    """List the facts that differ between this machine and the machine of the run."""
    before, now = run.manifest.context, again.manifest.context
    names = [name for name in _MACHINE if getattr(before, name) != getattr(now, name)]
    return names + ["device"] * (run.manifest.block.device != again.manifest.block.device)
