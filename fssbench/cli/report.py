"""`fssbench report`: write the comparison of stored runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.hints import Verb
from fssbench.cli.options import (
    PATH,
    bootstrap_seed_option,
    json_option,
    out_option,
    plugin_option,
    resamples_option,
    runs_argument,
)
from fssbench.cli.output import emit_json, print_table, to_one_line
from fssbench.contracts.resamples import RESAMPLES
from fssbench.plural import describe_count

if TYPE_CHECKING:
    from fssbench.contracts.results import Cell, Change, Changes, Results


@click.command("report", cls=Verb)
@runs_argument()
@out_option("report", "Folder to write to.")
@click.option("--format", "formats", help="Names of reporters, separated by commas.  [default: all]")
@click.option("--style", help="Also write this style of a reporter: `paper` (LaTeX, Tables 1-6).")
@click.option(
    "--compare-to",
    "other",
    type=PATH,
    metavar="RUNS|REPORT",
    help="Show changes since other RUNS, or since the folder of an earlier report.",
)
@plugin_option()
@resamples_option(RESAMPLES, "Bootstrap resamples for intervals.")
@bootstrap_seed_option()
@json_option("One JSON line per figure and per file.")
def command(
    runs: tuple[Path, ...],
    out: Path,
    formats: str | None,
    style: str | None,
    other: Path | None,
    resamples: int,
    seed: int,
    as_json: bool,
) -> None:
    """Write the comparison of stored RUNS (run folders, or folders of them; default: runs)."""
    names = None if formats is None else [n.strip() for n in formats.split(",") if n.strip()]
    from fssbench.reporting import report_runs

    def tell(note: str) -> None:
        click.echo(f"note: {to_one_line(note)}", err=True)

    report = report_runs(
        runs or (Path("runs"),),
        out,
        names,
        style=style,
        compare_to=other,
        resamples=resamples,
        seed=seed,
        tell=tell,
    )
    assert report.results is not None
    _print_figures(report.results, report.files, as_json)
    if report.page is not None and not as_json:
        click.echo(_describe_files(report.page, len(report.files) - 1, out), err=True)
    for name, reason in report.broken.items():
        click.echo(f"error: reporter {to_one_line(name)} failed: {to_one_line(reason)}", err=True)
    if report.broken:
        click.get_current_context().exit(4)


def _print_figures(results: Results, written: Sequence[Path], as_json: bool) -> None:
    from fssbench.analysis.figure_table import FIGURE_COLUMNS, explain_figures, list_figures

    if as_json:
        emit_json([_as_record(cell) for cell in results.cells])
        if results.changes:
            emit_json(_list_changes(results.changes))
        emit_json([{"written": str(path)} for path in written])
        return
    print_table(FIGURE_COLUMNS, list_figures(results))
    if results.changes:
        _print_changes(results.changes)
    for note in explain_figures(results):
        click.echo(note, err=True)


def _describe_files(page: Path, others: int, out: Path) -> str:
    """Return one line that names the page to open, or the first file if no page is among them."""
    more = f" ({describe_count(others, 'more file')} in {out})" if others else ""
    return to_one_line(f"{'open' if page.suffix == '.html' else 'wrote'} {page}{more}")


def _print_changes(changes: Changes) -> None:
    click.echo("")
    print_table(
        (
            "change",
            "benchmark",
            "method",
            "backbone",
            "shot",
            "before",
            "after",
            "difference",
            "interval",
            "why",
        ),
        [
            (
                row["change"],
                row["benchmark"],
                row["name"],
                row["backbone"],
                row["shot"],
                *(_format_decimal(row[key]) for key in ("before", "after", "difference")),
                " to ".join(map(_format_decimal, row["difference_interval"] or ())),
                "; ".join([*row["departures"], *filter(None, [row["unpaired"]])]),
            )
            for row in _list_changes(changes)
        ],
        title=f"Changes since {to_one_line(changes.against)}",
    )
    click.echo(f"{changes.unchanged} unchanged since {to_one_line(changes.against)}", err=True)


def _format_decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _list_changes(changes: Changes) -> list[dict[str, Any]]:
    from fssbench.analysis.changes import change_titles

    titles = change_titles(changes)
    return [_as_change_record(*each) for each in zip(changes.changes, titles, strict=True)]


def _as_change_record(change: Change, title: str) -> dict[str, Any]:
    """Return a change as one JSON object, unrounded."""
    before, after = change.before, change.after
    cell: Any = after or before
    return {
        "change": change.kind,
        "benchmark": cell.benchmark,
        "label": cell.label,
        "name": title,
        "method": cell.method,
        "backbone": cell.backbone,
        "shot": cell.shot,
        "seed": cell.seed,
        "protocol": cell.protocol,
        "before": before.miou.value if before else None,
        "after": after.miou.value if after else None,
        "difference": after.miou.value - before.miou.value if before and after else None,
        "difference_interval": [change.paired.low, change.paired.high] if change.paired else None,
        "significant": change.significant,
        "episodes_paired": change.episodes,
        "unpaired": change.unpaired,
        "departures": {d.name: [d.before, d.after] for d in change.departures},
    }


def _as_record(cell: Cell) -> dict[str, Any]:
    """Return a cell as one JSON object, unrounded."""
    from fssbench.analysis.row_names import row_title

    return {
        "benchmark": cell.benchmark,
        "label": cell.label,
        "name": row_title(cell),
        "method": cell.method,
        "backbone": cell.backbone,
        "shot": cell.shot,
        "seed": cell.seed,
        "protocol": cell.protocol,
        "folds": sorted(cell.folds),
        "missing_folds": list(cell.missing),
        "miou": cell.miou.value,
        "miou_interval": [cell.miou.low, cell.miou.high],
        "fb_iou": cell.fb_iou.value,
        "fb_iou_interval": [cell.fb_iou.low, cell.fb_iou.high],
        "episodes": cell.episodes,
        "shortage": cell.miou.shortage,
        "best": cell.best,
        "tied": cell.tied,
        "marks": list(cell.marks),
        "runs": [str(run.path) for run in cell.folds.values()],
    }
