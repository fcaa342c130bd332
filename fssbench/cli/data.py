"""`fssbench data`: fetch, verify, prepare, adopt and generate data sets; import reference lists."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.adopt import adopt, forget
from fssbench.cli.data_copies import make_resized_copies
from fssbench.cli.data_fetch import fetch, status
from fssbench.cli.data_report import DATA_HAVE_ERRORS, SHOWN, as_record, print_report
from fssbench.cli.hints import Verb, compose_next_command
from fssbench.cli.numbers import SEED
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

PLUGIN_BROKEN = 4


@click.group()
def command() -> None:
    """Fetch, verify, prepare, adopt or generate data sets; import split lists."""


command.add_command(adopt)
command.add_command(forget)
command.add_command(fetch)
command.add_command(status)


@command.command(cls=Verb)
@click.argument("names", metavar="[NAME...]", nargs=-1)
@data_option()
@splits_option()
@plugin_option()
@click.option("--all", "everything", is_flag=True, help=f"Print every finding, not {SHOWN} per kind.")
@click.option("--record", type=PATH, metavar="FILE", help="Write hashes of all files to FILE.")
@click.option("--against", type=PATH, metavar="FILE", help="Compare with the hashes in FILE.")
@json_option("One JSON object per data set.")
@click.pass_context
def verify(
    ctx: click.Context,
    names: tuple[str, ...],
    data: str | None,
    splits: str | None,
    everything: bool,
    record: Path | None,
    against: Path | None,
    as_json: bool,
) -> None:
    """Check every file of data sets and report errors.

    NAME is a data set, optionally with a variant (`isic2018:isic3`). Without NAME, every data set in the
    folder is checked. The exit code is 3 if there is an error. Nothing is repaired. `fssbench verify` checks runs.

    --record writes the hashes of one data set that is known to be good, as text for `sha256sum -c`. --against
    names every file that was changed, removed or added since.
    """
    if (record or against) and (len(names) != 1 or (record and against)):
        raise click.UsageError("give one NAME, and only one of --record and --against")
    compare = _open_record(against, names[0]) if against else None
    write = _start_record(record) if record else None
    reports = _verify_named(names, data, splits)
    if compare:
        compare(_open_named(names[0], data), reports[0][1])
    note = write(_open_named(names[0], data), reports[0][1]) if write else _hint_at_hashes(reports)
    if as_json:
        emit_json(as_record(label, report) for label, report in reports)
    else:
        for label, report in reports:
            print_report(label, report, None if everything else SHOWN)
    if note and not against:
        click.echo(escape_text(note), err=True)
    if not all(report.ok for _, report in reports):
        ctx.exit(DATA_HAVE_ERRORS)


def _open_named(label: str, data: str | None) -> Any:
    from fssbench.data.location import open_dataset

    name, _, variant = label.partition(":")
    return open_dataset(name, data=data, variant=variant or None)


def _open_record(against: Path, label: str) -> Callable[[Any, Verification], None]:
    """Read a record now, so that a wrong one is refused before the data are checked; compare later."""
    from fssbench.data.hash_records import compare_hashes, hash_files, read_record

    recorded = read_record(against, label.partition(":")[0])

    def compare(dataset: Any, report: Verification) -> None:
        report.findings += compare_hashes(recorded, hash_files(dataset, against), against)

    return compare


def _start_record(record: Path) -> Callable[[Any, Verification], str]:
    """Refuse an existing file now; return a function that writes the hashes later and describes them."""
    from fssbench.data.hash_records import digest_hashes, hash_files, refuse_existing, write_record

    refuse_existing(record)

    def write(dataset: Any, report: Verification) -> str:
        hashes = hash_files(dataset, record)
        write_record(record, dataset, hashes)
        doubt = "" if report.ok else ". The data have errors (see above), so record them again after repair"
        return (
            f"{record} now holds the hashes of {len(hashes):,} files. The hash of all hashes is "
            f"{digest_hashes(hashes)}{doubt}"
        )

    return write


def _hint_at_hashes(reports: list[tuple[str, Verification]]) -> str:
    """Say what a check of the files cannot detect, if there are any files."""
    label, report = next(((label, report) for label, report in reports if report.images), ("", None))
    if report is None:
        return ""
    record = compose_next_command("data", "verify", label, "--record", f"{label.partition(':')[0]}.sha256")
    return (
        "note: a JPEG, BMP or GIF with wrong bits may still be decoded, and only recorded hashes detect this. Next, "
        f"{'while the data are good' if report.ok else 'once the errors are mended'}: `{record}`"
    )


def _verify_named(
    names: tuple[str, ...], data: str | None, splits: str | None
) -> list[tuple[str, Verification]]:
    """Verify the named data sets, or all in the folder; absent ones are listed as skipped."""
    from fssbench.data.location import find_data_folder, open_dataset
    from fssbench.errors import DataError, PluginError
    from fssbench.plugins.registry import DATASETS
    from fssbench.verification.data_set import verify_dataset

    root = find_data_folder(data)
    if root is None:  # then the user's own data sets alone can be checked
        names = names or tuple(name for name in DATASETS.names() if _has_home(name))
        if not names or not all(map(_has_home, names)):
            raise DataError(
                "no data folder was given. Next: give --data DIR, set FSSBENCH_DATA or use --data mini"
            )
    reports = []
    suggestions: list[str] = []
    for label in names or DATASETS.names():
        name, _, variant = label.partition(":")
        try:
            dataset = open_dataset(name, data=root, splits=splits, variant=variant or None)
        except (DataError, PluginError) as error:
            if names:
                raise
            click.echo(f"skipped: {escape_text(str(error))}", err=True)
            suggestions += [m[0] for m in [re.search(r"Did you mean .*", str(error))] if m]
            continue
        click.echo(f"checking {escape_text(label)} ...", err=True)
        reports.append((label, verify_dataset(dataset)))
    if not reports:
        text = f"folder {root} holds no data set. Next: `fssbench list datasets` names the expected folders"
        raise DataError(". ".join([text, *suggestions[:1]]))
    return reports


def _has_home(label: str) -> bool:
    """Return whether a name is that of a folder of the user's own, which needs no data folder."""
    from fssbench.errors import FssbenchError
    from fssbench.plugins.registry import DATASETS

    try:
        return DATASETS.get(label.partition(":")[0]).home is not None
    except FssbenchError:
        return False


@command.command(cls=Verb)
@click.argument("name")
@click.argument("source", type=PATH, required=False)
@data_target_option()
@click.option(
    "--size",
    type=click.IntRange(16, 4096),
    metavar="N",
    help="Make resized copies of N x N pixels in the cache.",
)
@plugin_option()
def prepare(name: str, source: Path | None, data: str | None, size: int | None) -> None:
    """Convert the public download at SOURCE to the layout that fssbench reads, below the data folder.

    With --size in place of SOURCE, keep a lossless resized copy of each tested image in the cache. Runs of this size
    read the copies, and their counts are the same. That pays for large images, such as radiographs.
    """
    import os

    from fssbench.errors import DataError, UsageError
    from fssbench.plugins.calls import plugin_call
    from fssbench.plugins.registry import DATASETS

    if (source is None) == (size is None):
        raise click.UsageError("give either SOURCE or --size N")
    if size is not None:
        make_resized_copies(name, size, data)
        return
    assert source is not None
    cls = DATASETS.get(name)
    target = data or os.environ.get("FSSBENCH_DATA")
    if not target or target == "mini":
        raise UsageError("`fssbench data prepare` needs an output folder. Next: give --data DIR")
    if not source.exists():
        raise DataError(f"download {source} does not exist. Next: check the argument SOURCE")
    try:
        Path(target).mkdir(parents=True, exist_ok=True)
        with plugin_call(f"data set {name!r}: prepare fails:", passes=(OSError,)):
            for line in cls.prepare(source, Path(target)):
                click.echo(escape_text(line), err=True)
    except OSError as error:
        raise DataError(f"data set {name!r} cannot be prepared below {target} ({error})") from error
    with plugin_call(f"data set {name!r} cannot be located:"):
        place = cls.locate(Path(target))
    click.echo(escape_text(str(place)))
    following = compose_next_command("data", "verify", name, "--data", target)
    click.echo(f"Next: `{escape_text(following)}`", err=True)


@command.command(cls=Verb)
@click.argument("folder", metavar="[DIR]", required=False, type=PATH)
@click.option("--seed", default=0, show_default=True, type=SEED)
@click.option(
    "--dataset", "names", multiple=True, metavar="NAME", help="Draw only this data set; repeatable."
)
@plugin_option()
@json_option("One JSON object per data set.")
@click.pass_context
def mini(ctx: click.Context, folder: Path | None, seed: int, names: tuple[str, ...], as_json: bool) -> None:
    """Draw the miniature data sets, into DIR or into the cache, from which `--data mini` reads.

    The pictures are procedural drawings. Figures measured on them are not benchmark figures.
    """
    from fssbench.data.location import make_miniature

    outcome = make_miniature(folder, seed, names or None)
    if as_json:
        emit_json({"dataset": name, "outcome": text} for name, text in outcome.items())
    else:
        print_table(("dataset", "outcome"), outcome.items())
    if any(not text.startswith(("written", "already there", "at ", "has no ")) for text in outcome.values()):
        ctx.exit(PLUGIN_BROKEN)


@command.command(cls=Verb)
@click.argument("source", metavar="DIR", type=PATH)
@click.option(
    "--into",
    type=PATH,
    metavar="DIR",
    help="Folder for the lists. Default: the cache, which every run reads. Runs also read `DATA/splits`.",
)
@plugin_option()
def splits(source: Path, into: Path | None) -> None:
    """Import reference list files (such as the `data/splits` folder of the HSNet repository, or a part of it).

    Every line is checked. Pickles are read without running code and stored as JSON.
    """
    from fssbench.data.reference_lists import import_lists
    from fssbench.files.cache import cache_folder

    target = into or cache_folder() / "splits"
    for line in import_lists(source, target):
        click.echo(escape_text(line))
    click.echo(escape_text(f"The lists are in {target}"), err=True)
