"""Internal consistency of a run folder; no data, method or weights are needed.

Everything that can be derived is derived again: the identity from the block, the summary from the counts, the
label from the settings, marks from the benchmark's record.  The counts of an episode depend on each other (a wrong
pixel is missing from background and object alike), so a single edited count is noticed too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from fssbench.benchmarks.catalogue import find_plan_benchmark
from fssbench.contracts.episodes import Plan, make_cap_mark, make_sets_mark
from fssbench.contracts.marks import MarkKind
from fssbench.contracts.run_manifest import Context, Identity, RunManifest
from fssbench.episodes.plan_file import collect_plan_facts, read_plan
from fssbench.episodes.sampling import make_size_mark
from fssbench.errors import DataError, FssbenchError
from fssbench.files.regular import read_regular
from fssbench.files.secrets import HIDDEN
from fssbench.plugins.registry import METHODS
from fssbench.plural import describe_count, join_some
from fssbench.runs.checksums import FILE, find_changed_files, read_checksums
from fssbench.runs.identity import compose_label
from fssbench.runs.records import EpisodeRecord
from fssbench.runs.redaction import identify_value
from fssbench.runs.store import SUMMARY, StoredRun, compute_seal, read_manifest, read_run
from fssbench.runs.summary import format_earlier_summary, format_summary


class Outcome(StrEnum):
    """The outcome of a check."""

    EQUAL = "equal"
    DIFFERS = "differs"
    NOT_CHECKED = "not checked"


_YES, _NO = {"1", "yes", "on", "true", "t", "y"}, {"0", "no", "off", "false", "f", "n"}
"""Texts that stand for true and false."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check of one run."""

    check: str
    outcome: Outcome
    detail: str = ""


def check_seals(path: Path) -> tuple[list[Finding], StoredRun | None]:
    """Check a run folder for internal consistency.

    Args:
        path: the run folder.

    Returns:
        The findings, and the run if it can be read.
    """
    findings, run = _check_content(path)
    return [*findings, _check_files(path)], run


def _check_files(path: Path) -> Finding:
    """Compare the files of a run with their checksums."""
    stored = read_checksums(path)
    if stored is None:
        return Finding(
            "files",
            Outcome.NOT_CHECKED,
            f"the run is without {FILE}: an earlier version stored it, or its last process was killed",
        )
    faults = [
        f"{name} {'was changed after it was written' if (path / name).is_file() else 'is missing'}"
        for name in find_changed_files(path)
    ]
    return _make_finding(
        "files",
        faults,
        describe_count(len(stored), "file has its checksum", "files have their checksums"),
    )


def _check_content(path: Path) -> tuple[list[Finding], StoredRun | None]:
    """Derive again what can be derived, and compare."""
    try:
        manifest = read_manifest(path)
    except DataError as error:
        return [Finding("manifest", Outcome.DIFFERS, str(error))], None
    identity, context = manifest.block, manifest.context
    findings = [Finding("manifest", Outcome.EQUAL, f"identity {manifest.identity[:12]}")]
    try:
        plan = read_plan(path / "plan.json")
    except DataError as error:
        return [*findings, Finding("plan", Outcome.DIFFERS, str(error))], None
    findings.append(
        _make_finding(
            "plan",
            _find_plan_faults(plan, identity),
            f"{describe_count(len(plan), 'episode')}, {plan.sha256[:12]}",
        )
    )
    findings.append(_check_seal(manifest, plan))
    findings.append(
        _make_finding(
            "marks and settings", [*_find_contradictions(plan, identity, context)], ", ".join(context.marks)
        )
    )
    try:
        run = read_run(path)
    except DataError as error:
        return [*findings, Finding("records", Outcome.DIFFERS, str(error))], None
    records = [
        text
        for r in run.records.values()
        if (text := explain_impossible_counts(r, plan.size, identity.score_size))
    ]
    findings.append(_make_finding("records", records, f"{run.done} of {run.planned} episodes"))
    findings.append(_check_summary(run))
    return findings, run


def _make_finding(check: str, faults: list[str], detail: str) -> Finding:
    if not faults:
        return Finding(check, Outcome.EQUAL, detail)
    return Finding(check, Outcome.DIFFERS, join_some(faults, 4, "; "))


def _check_seal(manifest: RunManifest, plan: Plan) -> Finding:
    if manifest.sealed is None:
        return Finding("seal", Outcome.DIFFERS, "manifest.json has no seal, but fssbench always writes one")
    if manifest.sealed == compute_seal(manifest, plan):
        return Finding("seal", Outcome.EQUAL)
    return Finding(
        "seal", Outcome.DIFFERS, "manifest.json or the head of plan.json was changed after it was written"
    )


def _find_plan_faults(plan: Plan, identity: Identity) -> list[str]:
    block = identity.as_stored()
    facts = {**collect_plan_facts(plan), "episodes": len(plan), "episodes_sha256": plan.sha256}
    facts["benchmark_version"] = facts.pop("version")
    return [
        f"{k} is {facts[k]!r} in the plan, but {block[k]!r} in the manifest"
        for k in facts
        if k in block and facts[k] != block[k]
    ]


def explain_impossible_counts(record: EpisodeRecord, size: int, score_size: str) -> str:
    """Explain why counts cannot come from two masks; empty if they can.

    Pixels where prediction and truth disagree are in both unions and in no intersection.

    Args:
        record: the record of one episode.
        size: side of the network input.
        score_size: whether counts are at that size (`input`).
    """
    (inter_b, inter_f), (union_b, union_f) = record.inter, record.union
    wrong = union_f - inter_f
    if min(inter_b, inter_f, wrong) < 0 or union_b - inter_b != wrong:
        why = f"background and foreground have {union_b - inter_b} and {wrong} wrong pixels, which must be equal"
    elif score_size == "input" and inter_b + union_f > size * size:
        why = f"the counts add up to {inter_b + union_f} pixels, but the image has {size * size}"
    elif not inter_f <= record.target <= size * size and score_size == "input":
        why = f"the ground truth has {record.target} pixels, but {inter_f} are counted as found"
    else:
        return ""
    return f"episode {record.index}: {why}"


def _check_summary(run: StoredRun) -> Finding:
    try:
        stored = read_regular(run.path / SUMMARY)
    except OSError:
        return Finding("summary", Outcome.NOT_CHECKED, f"{SUMMARY} is missing")
    except DataError as error:
        return Finding("summary", Outcome.DIFFERS, str(error))
    if stored == format_summary(run):
        return Finding("summary", Outcome.EQUAL)
    if stored == format_earlier_summary(run):
        return Finding(
            "summary", Outcome.EQUAL, "as an earlier version wrote it, without `repeated supports`"
        )
    return Finding("summary", Outcome.DIFFERS, "summary.json does not agree with the records")


def _find_contradictions(plan: Plan, identity: Identity, context: Context) -> Iterator[str]:
    """Describe each contradiction between a context and the identity or the plan."""
    marks = list(context.marks)
    if marks[: len(plan.marks)] != list(plan.marks):
        yield f"the marks begin with {marks[: len(plan.marks)]}, but those of the plan are {list(plan.marks)}"
    label = compose_label(identity.method, context.labels_of_ablations, context.config_passed)
    if context.label != label:
        yield f"the label is {context.label!r}, but method and settings give {label!r}"
    for key, value in context.config_passed.items():
        used = identity.config.get(key)
        if not _is_same_value(value, used):
            yield f"setting {key} was given as {value!r}, but the identity block has {used!r}"
    kinds = {mark.kind for mark in marks}
    networks = [context.weights, *context.companion_weights.values()]
    if "random" in networks and MarkKind.RANDOM_BACKBONE not in kinds:
        yield f"the mark {str(MarkKind.RANDOM_BACKBONE)!r} is missing"
    if any(str(weights).startswith("file:") for weights in networks) and MarkKind.LOCAL_WEIGHTS not in kinds:
        yield f"the mark {str(MarkKind.LOCAL_WEIGHTS)!r} is missing"
    own = f"{identity.input_size} px, protocol: {identity.size} px" if identity.input_size else None
    if [mark.detail for mark in marks if mark.kind == MarkKind.OWN_INPUT_SIZE] != ([own] if own else []):
        yield f"the mark {str(MarkKind.OWN_INPUT_SIZE)!r} and the input size of the identity contradict each other"
    yield from _find_benchmark_faults(plan, identity, context)
    yield from _find_method_faults(identity, context)


def _is_same_value(given: Any, used: Any) -> bool:
    """Return whether a setting as the user gave it, often as text, can have the value that was used."""
    texts = str(given), str(used)
    if (
        texts[0] == texts[1]
        or texts[0].lower() == texts[1].lower()
        or texts[0].startswith("...")
        or HIDDEN in texts[0]
    ):
        return True
    if isinstance(used, bool):
        return texts[0].lower() in (
            ("1", "yes", "on", "true", "t", "y") if used else ("0", "no", "off", "false", "f", "n")
        )
    try:
        return float(texts[0]) == float(texts[1])
    except ValueError:
        return isinstance(used, dict | list) or used is None


def _find_benchmark_faults(plan: Plan, identity: Identity, context: Context) -> Iterator[str]:
    try:
        resolved = find_plan_benchmark(plan)
    except FssbenchError:  # the benchmark belongs to a plugin that is not installed here
        return
    record, marks = resolved.benchmark, context.marks
    if record.version != identity.benchmark_version:
        return
    facts = {"folds": len(resolved.folds), "benchmark_title": resolved.title, "category": record.category}
    for name, value in facts.items():
        stored = getattr(context, name)
        if stored not in (None, value):
            yield f"{name} is {stored!r}, but that of the benchmark is {value!r}"
    for is_due, mark in (
        (plan.size != record.size, make_size_mark(resolved, plan.size)),
        (plan.asked < record.episodes, make_cap_mark(plan.asked, record.episodes)),
        (plan.support_sets > 1, make_sets_mark(plan.support_sets)),
    ):
        if is_due and mark not in marks:
            yield f"the mark {str(mark)!r} is missing"
        if not is_due and any(each.kind == mark.kind for each in marks):
            yield f"there is a mark {str(mark.kind)!r} without a reason"


def _find_method_faults(identity: Identity, context: Context) -> Iterator[str]:
    if identity.method not in METHODS.names():
        return
    try:
        cls = METHODS.get(identity.method)
    except FssbenchError:  # the plugin is installed and does not load
        return
    for name in ("title", "kind"):
        stored, own = getattr(context, name), getattr(cls.card, name)
        if stored not in (None, own):
            yield f"{name} is {stored!r}, but that of the method is {own!r}"
    needs_checkpoint = cls.card.trained and not cls.brings_weights
    if (needs_checkpoint and context.checkpoint_sha256 is None) != (
        MarkKind.UNTRAINED in {mark.kind for mark in context.marks}
    ):
        yield "the mark 'untrained' and the checkpoint contradict each other"
    further = ", ".join(cls.card.further_information)
    named = [mark.detail for mark in context.marks if mark.kind == MarkKind.MORE_INFORMATION]
    if named != ([further] if further else []):
        yield f"the mark {str(MarkKind.MORE_INFORMATION)!r} and the card of the method contradict each other"
    known = {name: cls.Config.ablations[name] for name in context.ablations if name in cls.Config.ablations}
    ablated = {name: known[name].settings if name in known else {name: None} for name in context.ablations}
    labels = tuple(known[name].label for name in context.ablations if name in known)
    if "ablation_labels" in context.model_fields_set and context.ablation_labels != labels:
        yield f"the labels of ablations are {context.ablation_labels!r}, but those of the method are {labels!r}"
    for name, settings in ablated.items():
        if any(identity.config.get(key) != value for key, value in settings.items()):
            yield f"the settings do not contain ablation {name!r}"
    if context.checkpoint_sha256 is None:  # otherwise the checkpoint may have decided some settings
        explained = {*context.config_passed, *(key for settings in ablated.values() for key in settings)}
        usual = identify_value("", cls.Config().model_dump(mode="json"))
        for key, value in identity.config.items():
            if key in usual and key not in explained and usual[key] != value:
                yield f"setting {key} is {value!r} without a reason (default: {usual[key]!r})"
