"""`fssbench score`: compute scores again from stored counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fssbench.cli.hints import Verb
from fssbench.cli.options import json_option, runs_argument
from fssbench.errors import DataError


@click.command(cls=Verb)
@runs_argument()
@click.option(
    "--absent",
    type=click.Choice(["zero", "exclude"]),
    help="Value of a class without pixels. Default: as in the protocol of the run. Classes without an episode are left "
    "out unless the run is complete.",
)
@json_option("One JSON line per run.")
def command(runs: tuple[Path, ...], absent: str | None, as_json: bool) -> None:
    """Compute scores of RUNS (run folders, or folders of them; default: runs) from their stored counts.

    No data set, method or GPU is needed, and nothing is written.
    """
    from fssbench.cli.output import emit_json, print_table, to_one_line
    from fssbench.runs.copies import drop_copies
    from fssbench.runs.store import find_run_folders, read_run
    from fssbench.runs.summary import collect_run_evidence, describe_change, score_run

    paths = [path for folder in runs or (Path("runs"),) for path in find_run_folders(folder)]
    if not paths:
        raise DataError(
            f"there are no runs in {', '.join(map(str, runs)) or 'runs'}. Next: `fssbench run --help`"
        )
    runs_read, notes = drop_copies(map(read_run, dict.fromkeys(paths)))
    for note in (*filter(None, map(describe_change, runs_read)), *notes):
        click.echo(f"note: {to_one_line(note)}", err=True)
    rows: list[dict[str, Any]] = []
    for run in runs_read:
        rule = "exclude" if absent == "exclude" else "zero" if absent == "zero" else run.absent
        score, evidence = score_run(run, absent=rule), collect_run_evidence(run)
        rows.append(
            {
                "run": run.slug,
                "identity": run.identity,
                "status": run.status,
                "episodes": run.done,
                "planned": run.planned,
                "protocol": run.plan.protocol,
                "absent_rule": rule,
                "miou": score.miou,
                "fb_iou": score.fb_iou,
                "per_class": {
                    name: score.per_class[c]
                    for c, name in zip(run.plan.classes, run.plan.class_names, strict=True)
                },
                "absent": list(score.absent),
                "unmet": list(score.unmet),
                "queries": evidence.queries,
                "fewest_queries_in_a_class": evidence.fewest,
                "shortage": evidence.shortage,
                "marks": list(score.marks),
            }
        )
    if as_json:
        emit_json(rows)
        return
    print_table(
        ["run", "mIoU", "FB-IoU", "episodes", "queries", "protocol", "marks"],
        [
            [
                row["run"],
                f"{row['miou']:.2f}",
                f"{row['fb_iou']:.2f}",
                f"{row['episodes']}/{row['planned']}",
                row["shortage"] or row["queries"],
                row["protocol"],
                "; ".join(row["marks"]),
            ]
            for row in rows
        ],
    )
