"""`fssbench leaderboard`: a static site from many runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from fssbench.cli.output import emit_json, one_line, table
from fssbench.files.writable import require_writable

_FILE = click.Path(path_type=Path)


@click.command("leaderboard")
@click.argument("runs", nargs=-1, type=_FILE)
@click.option("-o", "--out", type=_FILE, default=Path("site"), show_default=True, help="Folder to write to.")
@click.option("--resamples", type=click.IntRange(1), default=1000, show_default=True, help="For intervals.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line a page.")
def command(runs: tuple[Path, ...], out: Path, resamples: int, seed: int, as_json: bool) -> None:
    """Build a site from stored RUNS (run folders, or folders of them; default: runs).

    Its pages stand in one folder, need no server and name no address outside themselves.
    """
    from fssbench.plugins.registry import REPORTERS

    site = REPORTERS.get("leaderboard")
    require_writable(out, "-o")
    from fssbench.analysis.collect import collect
    from fssbench.runs.redaction import redact_text

    results = collect(runs or (Path("runs"),), resamples=resamples, seed=seed)
    for note in results.notes:
        click.echo(f"note: {one_line(note)}", err=True)
    pages = site().write(replace(results, notes=tuple(map(redact_text, results.notes))), out)
    if as_json:
        emit_json([{"written": str(path), "bytes": path.stat().st_size} for path in pages])
        return
    table(("page", "bytes"), [(path, path.stat().st_size) for path in pages])
    click.echo(f"{len(pages)} pages of {len(results.runs)} runs. Open {out / 'index.html'}", err=True)
