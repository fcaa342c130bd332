"""`fssbench check`: a plugin against its contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.output import emit_json, one_line, table
from fssbench.errors import PluginError, UsageError, unknown

if TYPE_CHECKING:
    from fssbench.testing import CheckResult


def _targets(target: str) -> list[tuple[str, str]]:
    """What `target` stands for, as (kind, name): one registered name, or all in a file, folder or module."""
    from fssbench.registry import DATASETS, METHODS, REPORTERS, load_plugin

    registries = (METHODS, DATASETS, REPORTERS)
    for registry in registries:
        if target in registry.names():
            return [(registry.kind, target)]
    try:
        registered = load_plugin(target)
    except UsageError as error:
        if target.endswith(".py") or "/" in target:
            raise
        names = [name for registry in registries for name in registry.names()]
        hint = "Next: give a name, or a plugin file, folder or module"
        raise unknown("plugin", target, names, hint=hint) from error
    return [(kind, name) for kind, _, name in (each.partition(" ") for each in registered)]


def _results(kind: str, name: str, backbone: str | None) -> list[CheckResult]:
    from fssbench.registry import DATASETS, METHODS, REPORTERS
    from fssbench.testing import check_dataset, check_method, check_reporter

    if kind == METHODS.kind:
        return check_method(METHODS.get(name), backbone)
    if kind == DATASETS.kind:
        return check_dataset(DATASETS.get(name))
    return check_reporter(REPORTERS.get(name))


def _next(kind: str, name: str, target: str) -> str:
    plugin = f"--plugin {target} " if target != name else ""
    if kind == "method":
        return f"fssbench run {plugin}--method {name} --benchmark pascal-to-isic2018 --data mini"
    if kind == "dataset":
        return f"fssbench run {plugin}--method panet --benchmark {name} --data mini"
    return f"fssbench report {plugin}--format {name}"


@click.command()
@click.argument("target")
@click.option("--backbone", help="Backbone to check a method on, with random weights.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a check.")
def command(target: str, backbone: str | None, as_json: bool) -> None:
    """Check TARGET against its contract: a plugin file, folder or module, or a registered name.

    Every check is one sentence of the contract. Exit code 4 where one fails.
    """
    rows: list[dict[str, Any]] = []
    nexts: list[str] = []
    for kind, name in _targets(target):
        rows += [{"kind": kind, "name": name, **asdict(r)} for r in _results(kind, name, backbone)]
        nexts.append(_next(kind, name, target))
    if as_json:
        emit_json(rows)
    else:
        table(("status", "plugin", "check", "reason or contract"), _lines(rows))
    failed = sum(row["status"] == "fail" for row in rows)
    passed, skipped = (sum(row["status"] == s for row in rows) for s in ("pass", "skip"))
    click.echo(f"{passed} passed, {skipped} skipped, {failed} failed", err=True)
    if failed:
        raise PluginError(f"{target} does not keep its contract: {failed} of {len(rows)} checks failed")
    for line in nexts:
        click.echo(f"Next: {one_line(line)}", err=True)


def _lines(rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        yield row["status"], row["name"], row["check"], row["reason"] or row["contract"]
