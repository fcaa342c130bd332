"""Lets a reader check a stored run: against itself, against the data, and by computing a share of it again.

The recomputation is an ordinary run of some of the episodes in a temporary folder.  So everything that can
move a number is compared at once, through its identity: data, lists, source, weights, settings; and the
marks that it writes are those that the stored run must have.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fssbench.contracts.episodes import Plan
from fssbench.contracts.marks import MarkKind
from fssbench.contracts.methods import Method
from fssbench.data.location import find_data_folder, open_dataset
from fssbench.episodes.replay import GIVEN, draw_again, plan_of_file
from fssbench.errors import DataError, FssbenchError
from fssbench.evaluation.engine import Settings, evaluate_all
from fssbench.files.hashing import weights_file_sha256
from fssbench.loading.backbone_weights import as_file
from fssbench.loading.bundled import shipped
from fssbench.loading.load import load_method
from fssbench.plugins.registry import BACKBONES, METHODS
from fssbench.runs.identity import data_files
from fssbench.runs.redaction import HIDDEN
from fssbench.runs.store import StoredRun, read_run, scan
from fssbench.verification.seals import Finding, Outcome, check_seals

TOLERANCE = 0.001
"""Share of an episode's pixels by which counts may differ on another machine."""
_MACHINE = ("packages", "python", "system", "threads", "gpu")
"""What of a context block may move the last digits of a float."""
_PROVEN = ("label", "title", "kind", "benchmark_title", "category", "folds", "ablations",
           "ablation_labels", "config_passed", "weights",
           "checkpoint_sha256", "learnable", "parameters", "marks")  # fmt: skip
"""What of a context block a recomputation writes again."""


@dataclass(frozen=True)
class Means:
    """What a reader has at hand to check runs with."""

    data: str | Path | None = None
    splits: str | Path | None = None
    files: tuple[Path, ...] = ()
    """Checkpoints and backbone weights; the one that belongs to a run is found by its hash."""
    share: float = 0.1
    """Part of each run's episodes that is computed again."""
    episodes: int | None = None
    """How many are computed again, instead of `share`."""


def verify_run(path: Path, means: Means) -> list[Finding]:
    """Check one run folder.

    Args:
        path: the run's folder.
        means: data, weights and how much to compute again.

    Returns:
        The findings, in the order of the checks.
    """
    findings, run = check_seals(path)
    if run is None:
        return findings
    try:
        root = find_data_folder(means.data)
        if root is None:
            raise DataError("no data given (--data DIR)")
    except FssbenchError as error:
        why = str(error)
        lacking = [Finding(check, Outcome.NOT_CHECKED, why) for check in ("episodes", "data")]
        return [*findings, *lacking, *_unchecked(why)]
    plan, drawn = _draw(run, root, means)
    findings.append(drawn)
    data = _data(run, plan)
    findings.append(data)
    if data.outcome == Outcome.NOT_CHECKED:
        return [*findings, *_unchecked("the data cannot be read")]
    try:
        method = _load(run, means)
    except FssbenchError as error:
        return [*findings, *_unchecked(str(error))]
    return [*findings, *_recompute(run, plan, method, means)]


def _unchecked(why: str) -> list[Finding]:
    return [Finding(check, Outcome.NOT_CHECKED, why) for check in ("identity", "marks proven", "counts")]


def _draw(run: StoredRun, root: Path, means: Means) -> tuple[Plan, Finding]:
    """The plan to compute with: as drawn now where the episodes are equal, else as stored."""
    stored = run.plan
    here = replace(stored, data=root, splits=Path(means.splits) if means.splits is not None else None)
    try:
        if (
            GIVEN in stored.marks
            and (given := plan_of_file(run.path / "plan.json", root, means.splits)) == stored
        ):
            return given, Finding(
                "episodes", Outcome.NOT_CHECKED, "of a plan file, which nothing draws; the images are there"
            )
        drawn = draw_again(stored, root, means.splits)
    except FssbenchError as error:
        return here, Finding("episodes", Outcome.NOT_CHECKED, str(error))
    for episode in stored:
        if episode.index >= len(drawn) or drawn[episode.index] != episode:
            text = f"drawn now they differ from index {episode.index} on (then: {stored.lists}; now: {drawn.lists})"
            return here, Finding("episodes", Outcome.DIFFERS, text)
    if drawn != stored:
        names = [n for n in ("marks", "classes", "class_names", "lists", "version", "size") if
                 getattr(drawn, n) != getattr(stored, n)]  # fmt: skip
        text = "; ".join(
            f"{n} drawn now: {getattr(drawn, n)!r}, stored: {getattr(stored, n)!r}" for n in names
        )
        return here, Finding("episodes", Outcome.DIFFERS, text)
    return drawn, Finding("episodes", Outcome.EQUAL, f"{len(drawn)} drawn again, {drawn.sha256[:12]}")


def _data(run: StoredRun, plan: Plan) -> Finding:
    try:
        dataset = open_dataset(plan.dataset, data=plan.data, splits=plan.splits, variant=plan.dataset_variant)
        files = data_files(dataset, plan)
    except FssbenchError as error:
        return Finding("data", Outcome.NOT_CHECKED, str(error))
    if files.sha256 == run.manifest.block.data_sha256:
        return Finding("data", Outcome.EQUAL, f"{len(files.paths)} files, {files.sha256[:12]}")
    others = files.differing(run.path)
    if not others:
        return Finding(
            "data",
            Outcome.DIFFERS,
            f"hash {files.sha256[:12]}; which of {len(files.paths)} files is not known",
        )
    text = f"{len(others)} of {len(files.paths)} files differ, the first is {others[0]}"
    return Finding("data", Outcome.DIFFERS, text)


def _load(run: StoredRun, means: Means) -> Method:
    """The method as the run names it.

    Raises:
        DataError: if something that it needs is not at hand, saying what.
        FssbenchError: if it does not load.
    """
    identity, context = run.manifest.block, run.manifest.context
    name = identity.method
    if name not in METHODS.names():
        raise DataError(f"method {name!r} is not here (--plugin FILE)")
    if identity.backbone and identity.backbone not in BACKBONES.names():
        raise DataError(f"backbone {identity.backbone!r} is not here (--plugin FILE)")
    hidden = [k for k, v in context.config_passed.items() if str(v).startswith("...") or HIDDEN in str(v)]
    if hidden:
        raise DataError(f"setting {hidden[0]!r} is a path or a secret, which a run does not store")
    cls = METHODS.get(name)
    by_hash = {weights_file_sha256(path): path for path in means.files}
    checkpoint = None
    if wanted := context.checkpoint_sha256:
        by_hash |= {weights_file_sha256(s.path): s.path for s in shipped(cls)}
        if wanted not in by_hash:
            raise DataError(f"checkpoint {context.checkpoint} ({wanted[:12]}) is not here (--file FILE)")
        checkpoint = by_hash[wanted]
    weights = context.weights
    if weights is not None and weights.startswith("file:"):
        own = [path for digest, path in by_hash.items() if f"file:{digest[:12]}" == weights]
        if not own:
            raise DataError(f"backbone weights {weights} are not here (--file FILE)")
        weights = str(own[0] if as_file(str(own[0])) else own[0].absolute())
    return load_method(
        cls,
        backbone=identity.backbone,
        weights=None if weights == "reference" else weights,
        checkpoint=checkpoint,
        ablate=context.ablations,
        untrained=checkpoint is None,
        force=any(mark.kind == MarkKind.FORCED_CHECKPOINT for mark in context.marks),
        **context.config_passed,
    )


def choose(run: StoredRun, means: Means) -> list[int]:
    """Episodes to compute again: the same ones for everybody, by the identity alone."""
    wanted = math.ceil(means.share * run.done) if means.episodes is None else means.episodes
    order = sorted(run.records, key=lambda i: hashlib.sha256(f"{run.identity}/{i}".encode()).digest())
    return sorted(order[:wanted])


def _recompute(run: StoredRun, plan: Plan, method: Method, means: Means) -> Iterator[Finding]:
    identity = run.manifest.block
    device = identity.device if identity.device != "cuda" or torch.cuda.is_available() else "cpu"
    indices = choose(run, means)
    with tempfile.TemporaryDirectory(prefix="fssbench-verify-") as folder:
        settings = Settings(
            out=Path(folder),
            score_size="original" if identity.score_size == "original" else "input",
            device=device,
            shard=identity.shard,
            panels=0,
            only=frozenset(indices),
        )
        try:
            _, failed = evaluate_all([method], plan, settings)
            if failed:
                raise failed[0][1]
        except FssbenchError as error:
            yield Finding("counts", Outcome.DIFFERS, f"cannot be computed again: {error}")
            return
        again = read_run(next(scan(Path(folder))))
    yield _identity(run, again)
    yield _context(run, again)
    yield _counts(run, again, indices)


def _identity(run: StoredRun, again: StoredRun) -> Finding:
    """What of the identity a recomputation gives otherwise; the machine's device is not among it."""
    before, now = run.manifest.block.as_stored(), again.manifest.block.as_stored()
    others = [k for k in before if k != "device" and before[k] != now.get(k)]
    if others:
        text = "; ".join(f"{k} is {_short(now.get(k))}, stored: {_short(before[k])}" for k in others)
        return Finding("identity", Outcome.DIFFERS, text)
    return Finding("identity", Outcome.EQUAL, "source, weights and settings are the run's")


def _context(run: StoredRun, again: StoredRun) -> Finding:
    before, now = run.manifest.context.as_stored(), again.manifest.context.as_stored()
    others = [k for k in _PROVEN if k in before and k in now and before[k] != now[k]]
    if others:
        text = "; ".join(f"{k} is {_short(now[k])}, stored: {_short(before[k])}" for k in others)
        return Finding("marks proven", Outcome.DIFFERS, text)
    return Finding("marks proven", Outcome.EQUAL, ", ".join(now["marks"]) or "none")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _counts(run: StoredRun, again: StoredRun, indices: Sequence[int]) -> Finding:
    elsewhere = _elsewhere(run, again)
    worst, odd, total = 0.0, [], 0
    for index in indices:
        stored, now = run.records[index], again.records[index]
        pairs = zip(
            (*stored.inter, *stored.union, stored.target), (*now.inter, *now.union, now.target), strict=True
        )
        pixels = max(abs(a - b) for a, b in pairs)
        if stored != now:
            odd.append(index)
            total += pixels
            worst = max(worst, pixels / max(1, now.inter[0] + now.union[1]))
    if not odd:
        return Finding(
            "counts", Outcome.EQUAL, f"{len(indices)} of {run.done} episodes computed again, each count equal"
        )
    text = (
        f"{len(odd)} of {len(indices)} episodes computed again differ, by {total} pixels, at most {100 * worst:.3f} % "
        f"of an episode; the first is episode {odd[0]}"
    )
    if elsewhere and worst <= TOLERANCE:
        allowed = f"within {100 * TOLERANCE:g} %, which is allowed as {', '.join(elsewhere)} differ"
        return Finding("counts", Outcome.EQUAL, f"{text}; {allowed}")
    return Finding("counts", Outcome.DIFFERS, text)


def _elsewhere(run: StoredRun, again: StoredRun) -> list[str]:
    """What of this machine differs from the one that the run was made on."""
    before, now = run.manifest.context, again.manifest.context
    names = [name for name in _MACHINE if getattr(before, name) != getattr(now, name)]
    return names + ["device"] * (run.manifest.block.device != again.manifest.block.device)
