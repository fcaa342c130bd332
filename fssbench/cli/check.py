"""`fssbench check`: check a plugin against its contract, or a benchmark on the data that it names."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.hints import Verb, compose_plugin_command
from fssbench.cli.numbers import SIDE
from fssbench.cli.options import (
    data_option,
    json_option,
    no_isolate_option,
    pdb_option,
    plugin_option,
    splits_option,
)
from fssbench.cli.output import emit_json, print_table, to_one_line
from fssbench.errors import PluginError, UsageError, make_unknown_error

if TYPE_CHECKING:
    from fssbench.cli.progress import Progress
    from fssbench.testing import CheckResult

BENCHMARK = "benchmark"
"""Kind of a target that is no plugin."""


@dataclass(frozen=True)
class Place:
    """Folders of the data that a benchmark is checked on."""

    data: str | None
    splits: str | None


def _find_plugins(target: str) -> tuple[list[tuple[str, str]], str | None]:
    """Find what `target` names: a registered name, all plugins of a file, folder or module, or benchmarks.

    Returns:
        Kind and name of each; and what `--plugin` takes for them, None for a registered name or a benchmark.
    """
    from fssbench.benchmarks.toml_tables import is_file_name
    from fssbench.plugins.registry import BACKBONES, DATASETS, METHODS, REPORTERS, load_plugin

    if is_file_name(target):
        return [(BENCHMARK, name) for name in _find_benchmarks(target)], None
    registries = (METHODS, DATASETS, REPORTERS, BACKBONES)
    for registry in registries:
        if target in registry.names():
            return [(registry.kind, target)], None
    try:
        registered = load_plugin(target)
    except UsageError as error:
        if target.endswith(".py") or "/" in target:
            raise
        names = [name for registry in registries for name in registry.names()]
        hint = "Next: give one of these names, or a plugin file, folder or module"
        raise make_unknown_error("plugin", target, names, hint=hint) from error
    return [(kind, name) for kind, _, name in (each.partition(" ") for each in registered)], target


def _find_benchmarks(file: str) -> Iterator[str]:
    """Find the benchmarks of a file: those of a suite, or one benchmark with all its variants."""
    from fssbench.benchmarks.catalogue import find_benchmark
    from fssbench.benchmarks.suites import FORMAT, find_suite
    from fssbench.benchmarks.toml_tables import read_format, split_file_name

    path, variant = split_file_name(file)
    if read_format(Path(path)) == FORMAT:
        yield from (member.benchmark.name for member in find_suite(path).members)
        return
    variants = find_benchmark(file).benchmark.variants
    if variant is None and variants:
        yield from (f"{file}:{each.name}" for each in variants)
    else:
        yield file


def _check_target(
    kind: str,
    name: str,
    place: Place,
    backbone: str | None,
    size: int | None,
    progress: Progress,
    *,
    isolate: bool,
) -> list[CheckResult]:
    """Check one plugin or benchmark, and show the progress."""
    from fssbench import testing
    from fssbench.conformance.isolated import check_method_apart
    from fssbench.plugins.registry import BACKBONES, DATASETS, METHODS, REPORTERS

    def watch(check: str, done: int, _: int) -> None:
        progress.advance(f"{kind} {name}", done, f"{name} {check}")

    if kind == BENCHMARK:
        return testing.check_benchmark(name, data=place.data, splits=place.splits, watch=watch)
    if kind == METHODS.kind:
        options = {} if size is None else {"size": size}
        cls = METHODS.get(name)
        if isolate:
            return check_method_apart(cls, backbone, watch=watch, **options)
        return testing.check_method(cls, backbone, watch=watch, **options)
    if kind == DATASETS.kind:
        return testing.check_dataset(DATASETS.get(name), data=_find_real_files(place.data), watch=watch)
    if kind == BACKBONES.kind:
        return testing.check_backbone(BACKBONES.get(name), watch=watch)
    return testing.check_reporter(REPORTERS.get(name), watch=watch)


def _find_real_files(data: str | None) -> Path | None:
    """Return the folder of the data sets if it was given and holds real files, not drawings."""
    from fssbench.data.location import find_data_folder, is_miniature

    root = None if data is None else find_data_folder(data)
    return None if is_miniature(root) else root


def _count_checks(kind: str) -> int:
    from fssbench.conformance.backbone import BACKBONE_CHECKS
    from fssbench.conformance.benchmark import BENCHMARK_CHECKS
    from fssbench.conformance.dataset import DATASET_CHECKS, REPORTER_CHECKS
    from fssbench.conformance.method import METHOD_CHECKS

    checks: dict[str, Sized] = {
        BENCHMARK: BENCHMARK_CHECKS,
        "method": METHOD_CHECKS,
        "dataset": DATASET_CHECKS,
        "backbone": BACKBONE_CHECKS,
    }
    return len(checks.get(kind, REPORTER_CHECKS))


@click.command(cls=Verb)
@click.argument("target")
@click.option("--backbone", help="Backbone to check a method on, with random weights.")
@click.option(
    "--size",
    type=SIDE,
    help="Side of the synthetic episodes that a method is checked on, pixels; default 64.",
)
@data_option()
@splits_option()
@plugin_option()
@pdb_option()
@no_isolate_option()
@json_option("One JSON object per check.")
def command(
    target: str,
    backbone: str | None,
    size: int | None,
    data: str | None,
    splits: str | None,
    isolate: bool,
    as_json: bool,
) -> None:
    """Check TARGET against its contract: a plugin file, folder or module, or a registered name.

    A data set is checked on its miniature, or on its real files in --data. What cannot be checked without them is
    skipped, with the reason.

    TARGET may also be the TOML file of a benchmark or suite. It is checked on the data in --data: whether they hold
    its classes with enough images, and whether all its episodes can be drawn.

    Every check tests one sentence of the contract. Failures with the same cause are shown once. The exit code is 4 if
    a check fails.
    """
    from fssbench.cli.progress import Progress

    rows: list[dict[str, Any]] = []
    targets, plugin = _find_plugins(target)
    progress = Progress()
    with progress.over(sum(_count_checks(kind) for kind, _ in targets)):
        for kind, name in targets:
            results = _check_target(
                kind, name, Place(data, splits), backbone, size, progress, isolate=isolate
            )
            rows += [{"kind": kind, "name": name, **asdict(result)} for result in results]
    if as_json:
        emit_json(rows)
    else:
        print_table(("status", "plugin", "check", "reason or contract"), _format_lines(rows))
    failed = sum(row["status"] == "fail" for row in rows)
    passed, skipped = (sum(row["status"] == s for row in rows) for s in ("pass", "skip"))
    click.echo(f"{passed} passed, {skipped} skipped, {failed} failed", err=True)
    if failed:
        causes = len({_cause_key(row) for row in rows if row["status"] == "fail"})
        fault = "does not fit the data" if targets[0][0] == BENCHMARK else "breaks its contract"
        raise PluginError(
            f"{target} {fault}: {failed} of {len(rows)} checks failed, with "
            f"{causes} {'cause' if causes == 1 else 'different causes'}. The table above names them"
        )
    for kind, name in targets:
        click.echo(f"Next: {to_one_line(compose_plugin_command(kind, name, plugin))}", err=True)


def _cause_key(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return a key that failures with the same cause share."""
    return row["kind"], row["name"], row["cause"]


def _format_lines(rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Format the lines of the table; the first failure of each cause names the others, which get no line."""
    failed_checks: dict[tuple[Any, ...], list[str]] = {}
    for row in rows:
        if row["status"] == "fail":
            failed_checks.setdefault(_cause_key(row), []).append(row["check"])
    for row in rows:
        text = row["reason"] or row["contract"]
        if row["status"] == "fail":
            first, *others = failed_checks[_cause_key(row)]
            if row["check"] != first:
                continue
            if others:
                checks = "check" if len(others) == 1 else "checks"
                text += f" ({len(others)} more {checks} failed for the same cause: {', '.join(others)})"
        yield row["status"], row["name"], row["check"], text
