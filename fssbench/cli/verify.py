"""`fssbench verify`: check stored runs against themselves, the data and the method."""

from __future__ import annotations

from pathlib import Path

import click

from fssbench.cli.hints import Verb
from fssbench.cli.numbers import Real, Whole
from fssbench.cli.options import (
    PATH,
    data_option,
    json_option,
    plugin_option,
    runs_argument,
    splits_option,
    threads_option,
)
from fssbench.errors import DataError
from fssbench.plural import describe_count


@click.command(
    cls=Verb,
    epilog="A check without its data or weights prints `not checked`, which is neither success nor error. "
    "`fssbench data verify` checks whether data sets are complete.",
)
@runs_argument(required=True)
@data_option()
@splits_option()
@plugin_option()
@threads_option()
@click.option(
    "--file",
    "files",
    multiple=True,
    type=PATH,
    help="Checkpoint or backbone weights, recognised by hash; repeatable.",
)
@click.option(
    "--share",
    type=Real(0, 1),
    default=0.1,
    show_default=True,
    help="Share of each run's episodes to compute again.",
)
@click.option("--episodes", type=Whole(0), help="Number of episodes to compute again, instead of --share.")
@json_option("One JSON line per check.")
def command(
    runs: tuple[Path, ...],
    data: str | None,
    splits: str | None,
    files: tuple[Path, ...],
    share: float,
    episodes: int | None,
    as_json: bool,
) -> None:
    """Check stored RUNS (run folders, or folders of them). The exit code is 3 if anything differs.

    Without data, seals, records, marks, settings and summary of each run are derived again and compared. With
    --data, the episodes are also drawn again and the data hashed again, and a share of the episodes is computed again
    and compared count by count. Everybody who checks a run computes the same episodes.
    """
    from fssbench.cli.output import emit_json, print_table
    from fssbench.verification.seals import Outcome
    from fssbench.verification.verify import verify

    checked = verify(runs, data=data, splits=splits, files=files, share=share, episodes=episodes)
    findings = [(path, finding) for path, of_run in checked.items() for finding in of_run]
    if as_json:
        emit_json(
            {"run": str(path), "check": f.check, "outcome": f.outcome, "detail": f.detail}
            for path, f in findings
        )
    else:
        print_table(
            ("run", "check", "outcome", "detail"),
            [(p.name, f.check, f.outcome, f.detail) for p, f in findings],
        )
    differing = {path for path, f in findings if f.outcome == Outcome.DIFFERS}
    unchecked = {path for path, f in findings if f.outcome == Outcome.NOT_CHECKED} - differing
    click.echo(
        f"{describe_count(len(checked), 'run')}: {describe_count(len(differing), 'differs', 'differ')}, "
        f"{describe_count(len(unchecked), 'is', 'are')} not checked in all points, "
        f"{describe_count(len(checked) - len(differing) - len(unchecked), 'is', 'are')} equal in all points",
        err=True,
    )
    if differing:
        click.get_current_context().exit(DataError.exit_code)
