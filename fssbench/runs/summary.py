"""The summary of a run: scores that are computed from its stored counts.

It does not depend on when, where or in how many parts the run was made, so two folders with the
same measurement hold the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fssbench.benchmarks.catalogue import find_plan_benchmark
from fssbench.contracts.episodes import Plan
from fssbench.contracts.marks import Mark, MarkKind
from fssbench.errors import DataError
from fssbench.evidence import Evidence, count_queries
from fssbench.files.regular import read_regular
from fssbench.metrics import Absent, Score, score, sum_by_class
from fssbench.runs.checksums import PICTURES, find_changed_files, read_checksums, update_checksum
from fssbench.runs.marks import make_completeness_marks, make_run_marks
from fssbench.runs.store import SCHEMA, SUMMARY, StoredRun, compute_seal, format_json, read_run, write_json


def find_absent_rule(plan: Plan) -> Absent:
    """Return the rule for classes without pixels: that of the benchmark if its own protocol drew the episodes.

    Otherwise such classes are left out of the mean.
    """
    benchmark = find_plan_benchmark(plan).benchmark
    return benchmark.absent if plan.protocol == benchmark.protocol else "exclude"


def collect_run_evidence(run: StoredRun) -> Evidence:
    """Count the distinct queries behind a stored run's figures."""
    return count_queries(run.plan.sha256, run.table.class_ids, run.queries, run.plan.classes, whole=run.whole)


def score_counts(run: StoredRun, *, absent: Absent | None = None) -> Score:
    """Compute the scores of a stored run from its counts, without the marks that its manifest and files have."""
    table = run.table
    return score(
        table.class_ids,
        table.inter,
        table.union,
        run.plan.classes,
        absent=absent or run.absent,
        whole=run.whole,
    )


def score_run(run: StoredRun, *, absent: Absent | None = None) -> Score:
    """Compute the scores of a stored run from its counts, with all its marks.  All printed figures come from here."""
    scored = score_counts(run, absent=absent)
    shard = run.manifest.block.shard
    part = [Mark(MarkKind.SHARD, "{} of {}".format(*shard))] if shard else []
    return replace(
        scored,
        marks=tuple(
            dict.fromkeys((*make_run_marks(run), *part, *make_completeness_marks(run), *scored.marks))
        ),
    )


def summarise(path: Path) -> Score:
    """Read a run folder and replace its `summary.json`.

    Raises:
        DataError: if the folder is damaged or cannot be written.
    """
    run = read_run(path)
    result = score_run(run)
    write_json(path / SUMMARY, {"schema": SCHEMA, **_make_summary(run, result)})
    update_checksum(path, SUMMARY)
    return result


def find_summary_fault(run: StoredRun) -> str:
    """Explain how the summary contradicts the records, such as those of another run; empty if it does not.

    Only a run without checksums needs this.  A summary of fewer episodes is no contradiction: its process was killed
    later.  A run without a readable summary has none.
    """
    try:
        stored = json.loads(read_regular(run.path / SUMMARY))
        if read_checksums(run.path) is not None or stored["episodes"]["counted"] != run.done:
            return ""
        sums = {entry["id"]: [entry["inter"], entry["union"]] for entry in stored["classes"]}
    except (DataError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    now = {entry["id"]: [entry["inter"], entry["union"]] for entry in _list_classes(run)}
    wrong = sum(sums.get(c) != both for c, both in now.items())
    return (
        f"{SUMMARY} and episodes.jsonl differ in the counts of {wrong} of {len(now)} classes" if wrong else ""
    )


def _find_seal_fault(run: StoredRun) -> str:
    """Explain that the head of a run, which holds its marks, was edited; only a run without checksums needs this."""
    sealed = run.manifest.sealed
    if read_checksums(run.path) is not None or sealed in (None, compute_seal(run.manifest, run.plan)):
        return ""
    return "manifest.json or the head of plan.json was changed after it was written"


def describe_change(run: StoredRun) -> str:
    """Say that files of a run were changed after it was written, in one line for the user; empty if none was."""
    next_step = f"the figures are those of its records. Next: `fssbench verify {run.path}`"
    if changed := find_changed_files(run.path, leave=PICTURES):
        return f"{run.path} was changed after it was written ({', '.join(changed)}); {next_step}"
    fault = _find_seal_fault(run) or find_summary_fault(run)
    return f"{run.path}: {fault}; {next_step}" if fault else ""


def format_summary(run: StoredRun) -> bytes:
    """Return the content of `summary.json` as it follows from the counts now."""
    return _format(_make_summary(run, score_run(run)))


def format_earlier_summary(run: StoredRun) -> bytes:
    """Return `summary.json` as earlier versions wrote it, which did not mark repeated supports."""
    summary = _make_summary(run, score_run(run))
    marks = [mark for mark in summary["marks"] if mark.kind != MarkKind.REPEATED_SUPPORTS]
    return _format({**summary, "marks": marks})


def _format(summary: dict[str, Any]) -> bytes:
    return format_json({"schema": SCHEMA, **summary}).encode()


def _list_classes(run: StoredRun) -> list[dict[str, Any]]:
    """List the classes of a run with their episodes and sums of counts."""
    ids = run.table.class_ids.tolist()
    inter = sum_by_class(ids, run.table.inter, run.plan.classes)
    union = sum_by_class(ids, run.table.union, run.plan.classes)
    return [
        {
            "id": c,
            "name": name,
            "episodes": ids.count(c),
            "inter": inter[i].tolist(),
            "union": union[i].tolist(),
        }
        for i, (c, name) in enumerate(zip(run.plan.classes, run.plan.class_names, strict=True))
    ]


def _make_summary(run: StoredRun, result: Score) -> dict[str, Any]:
    return {
        "identity": run.identity,
        "status": run.status,
        "episodes": {"counted": run.done, "planned": run.planned},
        "protocol": run.plan.protocol,
        "absent_rule": run.absent,
        "marks": make_run_marks(run),
        "miou": _to_json_number(result.miou),
        "fb_iou": _to_json_number(result.fb_iou),
        "classes": [
            {**entry, "iou": _to_json_number(result.per_class[entry["id"]])} for entry in _list_classes(run)
        ],
        "absent": list(result.absent),
        "unmet": list(result.unmet),
    }


def _to_json_number(value: float) -> float | None:
    """Replace NaN by None, because JSON has no NaN; null means that there is no figure."""
    return None if value != value else value
