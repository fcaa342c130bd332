"""`fssbench data fetch` and `fssbench data status`: get data sets, and show what is there and what is missing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.data_report import DATA_HAVE_ERRORS, SHOWN, as_record, print_report
from fssbench.cli.hints import Verb, complete_hints, compose_next_command
from fssbench.cli.options import (
    PATH,
    data_option,
    data_target_option,
    json_option,
    plugin_option,
    splits_option,
)
from fssbench.cli.output import emit_json, escape_text, print_table

if TYPE_CHECKING:
    from fssbench.contracts.datasets import Verification
    from fssbench.data.fetch_files import Fetched, Reporter

MEGABYTE = 10**6


@click.command(cls=Verb)
@click.argument("name")
@data_target_option()
@click.option(
    "--from",
    "given",
    type=PATH,
    multiple=True,
    metavar="ARCHIVE",
    help="An archive that you downloaded yourself; repeatable.",
)
@click.option("--accept-licence", is_flag=True, help="Accept the licence of this data set. It is remembered.")
@click.option("--keep-archives", is_flag=True, help="Keep downloaded archives in DIR/.fetch.")
@plugin_option()
@json_option("One JSON object: the folder, the files with their hashes, and the findings of `verify`.")
@click.pass_context
def fetch(
    ctx: click.Context,
    name: str,
    data: str | None,
    given: tuple[Path, ...],
    accept_licence: bool,
    keep_archives: bool,
    as_json: bool,
) -> None:
    """Download a data set, check it, and put it below the data folder in the layout that is read.

    NAME is a data set, or `splits` for the lists of images of the reference code. The same command again goes on
    where it was stopped. A data set behind a login needs --from; without it, the command says how to get the archive.
    Afterwards every file is checked as by `data verify`, with the same exit codes.
    """
    from fssbench.data.fetch import fetch as fetch_data, find_record
    from fssbench.errors import UsageError

    root = data or os.environ.get("FSSBENCH_DATA")
    record = find_record(name)
    if not root or root == "mini":
        raise UsageError("`fssbench data fetch` needs an output folder. Next: give --data DIR")
    _say(f"licence of {name}: {record.licence}")
    folder = Path(root).expanduser().absolute()
    fetched = fetch_data(
        name,
        folder,
        given=given,
        accept_licence=accept_licence,
        keep_archives=keep_archives,
        reporter=_make_reporter(),
    )
    report = None if record.folder else _verify(name, folder)
    for note in fetched.notes:
        _say(f"note: {note}")
    if as_json:
        emit_json([_describe(fetched, report)])
    else:
        _print(fetched, report)
    _say(f"Next: `{_find_next_command(name, folder, report)}`")
    if report is not None and not report.ok:
        ctx.exit(DATA_HAVE_ERRORS)


def _say(text: str) -> None:
    click.echo(escape_text(text), err=True)


def _make_reporter() -> Reporter:
    """Make the reporter that shows messages and progress on standard error."""
    from fssbench.data.fetch_files import Reporter
    from fssbench.progress import choose_display

    class Shown(Reporter):
        def say(self, text: str) -> None:
            _say(text)

        @contextmanager
        def transfer(self, what: str) -> Iterator[Callable[[int, int | None], None]]:
            display = choose_display()
            began, first = time.monotonic(), None

            def show(done: int, total: int | None) -> None:
                nonlocal first
                first = done if first is None else first  # what was here before counts for no rate
                seconds = time.monotonic() - began
                rate = (done - first) / MEGABYTE / seconds if seconds else 0.0
                display.show(done // MEGABYTE, (total or done) // MEGABYTE, f"MB of {what}", rate)

            display.start(None)
            try:
                yield show
            finally:
                display.stop()

    return Shown()


def _verify(name: str, folder: Path) -> Verification:
    from fssbench.data.location import open_dataset
    from fssbench.verification.data_set import verify_dataset

    _say(f"checking {name} ...")
    return verify_dataset(open_dataset(name, data=folder))


def _describe(fetched: Fetched, report: Verification | None) -> dict[str, Any]:
    return {
        "dataset": fetched.name,
        "place": str(fetched.place),
        "there_already": fetched.there_already,
        "files": fetched.files,
        "notes": fetched.notes,
        "verification": None if report is None else as_record(fetched.name, report),
    }


def _print(fetched: Fetched, report: Verification | None) -> None:
    for file in fetched.files:
        click.echo(escape_text(f"{file['file']}: sha256 {file['sha256']} ({file['hash']})"))
    there = "is there already, and was not fetched" if fetched.there_already else "is in place"
    click.echo(escape_text(f"{fetched.name} {there}: {fetched.place}"))
    if report is not None:
        print_report(fetched.name, report, SHOWN)


def _find_next_command(name: str, folder: Path, report: Verification | None) -> str:
    """Return what a user does next: fetch the lists that a benchmark needs, or record the hashes of good data."""
    from fssbench.data.fetch import find_present
    from fssbench.plugins.registry import DATASETS

    data = ("--data", str(folder))
    if report is None:
        return compose_next_command("data", "status", *data)
    if not report.ok:
        return compose_next_command("data", "verify", name, "--all", *data)
    if DATASETS.get(name).list_formats and find_present("splits", folder) is None:
        return compose_next_command("data", "fetch", "splits", *data)
    return compose_next_command("data", "verify", name, "--record", f"{name}.sha256", *data)


@click.command(cls=Verb)
@data_option()
@splits_option()
@click.option(
    "--hashes", is_flag=True, help="Also read every file: the fingerprint that `verify --record` writes."
)
@plugin_option()
@json_option("One JSON object per data set and one per benchmark.")
def status(data: str | None, splits: str | None, hashes: bool, as_json: bool) -> None:
    """Show which data sets are there, how much of each, what is missing, and how to get it.

    Each population has a fingerprint: the sha256 of its list of images and classes, on which every draw of episodes
    depends. Two people with equal fingerprints draw the same episodes. `refused` means that `run` refuses the
    benchmark: a class has too few images, or its first pair cannot be read. No other picture is opened, so
    `data verify` says whether all files are sound.
    """
    from fssbench.verification.data_status import collect_benchmark_states, collect_states

    states = collect_states(data, splits, hashes=hashes)
    benchmarks = collect_benchmark_states(states)
    if as_json:
        emit_json({"kind": "data set", **state.as_record()} for state in states)
        emit_json({"kind": "benchmark", **row} for row in benchmarks)
        return
    columns = ("data set", "variant", "split", "entries", "images", "state", "fingerprint")
    print_table(columns, [row for state in states for row in state.as_rows()], title="data sets")
    print_table(
        ("benchmark", "data set", "state"),
        [(row["benchmark"], row["dataset"], row["state"]) for row in benchmarks],
        title="benchmarks",
    )
    for state in states:
        for line in state.hints:
            _say(complete_hints(line))
