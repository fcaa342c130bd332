"""`fssbench leaderboard`: build a static site from many runs."""

from __future__ import annotations

from pathlib import Path

import click

from fssbench.cli.hints import Verb
from fssbench.cli.options import (
    bootstrap_seed_option,
    json_option,
    out_option,
    resamples_option,
    runs_argument,
)
from fssbench.cli.output import emit_json, print_table, to_one_line
from fssbench.contracts.resamples import RESAMPLES
from fssbench.errors import PluginError
from fssbench.files.writable import writable_folder
from fssbench.plural import describe_count


@click.command("leaderboard", cls=Verb)
@runs_argument()
@out_option("site", "Folder to write to.")
@resamples_option(RESAMPLES, "Bootstrap resamples for intervals.")
@bootstrap_seed_option()
@json_option("One JSON line per page.")
def command(runs: tuple[Path, ...], out: Path, resamples: int, seed: int, as_json: bool) -> None:
    """Build a site from stored RUNS (run folders, or folders of them; default: runs).

    Its pages are in one folder, need no server and load nothing from other addresses.
    """
    from fssbench.reporting import collect_results, write_reports

    with writable_folder(out, "-o"):
        results = collect_results(runs or (Path("runs"),), resamples=resamples, seed=seed)
        for note in results.notes:
            click.echo(f"note: {to_one_line(note)}", err=True)
        report = write_reports(results, out, ["leaderboard"])
    if report.broken:
        raise PluginError(report.broken["leaderboard"])
    pages = report.files
    if as_json:
        emit_json([{"written": str(path), "bytes": path.stat().st_size} for path in pages])
        return
    print_table(("page", "bytes"), [(path, path.stat().st_size) for path in pages])
    click.echo(
        f"The site has {describe_count(len(pages), 'page')} from {describe_count(len(results.runs), 'run')}. "
        f"Next: open {out / 'index.html'}",
        err=True,
    )
