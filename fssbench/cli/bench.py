"""`fssbench bench`: measure what one episode of a method costs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.hints import Verb, follow_up
from fssbench.cli.options import (
    PATH,
    device_option,
    json_option,
    out_option,
    plugin_option,
    settings_option,
    threads_option,
)
from fssbench.cli.output import emit_json, one_line, table
from fssbench.errors import FssbenchError

if TYPE_CHECKING:
    from fssbench.contracts.efficiency import Efficiency, Timing

_COLUMNS = (
    "method",
    "backbone",
    "shot",
    "px",
    "learnable",
    "parameters",
    "GFLOPs",
    "backbone GFLOPs",
    "head GFLOPs",
    "ms",
    "quartiles",
    "head ms",
    "MiB",
    "unstable",
)


@click.command(
    cls=Verb,
    epilog="FLOPs are those of matrix products and convolutions, 2 per multiply-add; test-time adaptation is "
    "included. Time is per episode, from pixels; `head` starts from cached features. The values of the weights change "
    "no figure, so weights are random if none are given.",
)
@click.option("--method", "-m", "methods", multiple=True, required=True, metavar="NAME", help="Repeatable.")
@click.option("--backbone", metavar="NAME", help="Default: the method's own.")
@click.option(
    "--shot", "-k", "shots", multiple=True, type=click.IntRange(1), help="Repeatable; default 1 and 5."
)
@click.option("--size", type=click.IntRange(32), help="Side of the input, pixels; default the method's own.")
@click.option(
    "--batch", type=click.IntRange(1), default=1, show_default=True, help="Episodes in one forward."
)
@device_option()
@threads_option()
@click.option(
    "--repeats", type=click.IntRange(1), default=15, show_default=True, help="Number of timed repeats."
)
@click.option("--weights", metavar="ID|FILE", help="Backbone weights: a published id, `random`, or a file.")
@click.option("--checkpoint", type=PATH, metavar="FILE", help="Trained weights.")
@click.option(
    "--ablate", multiple=True, metavar="NAME", help="Ablation of the method, see `show`; repeatable."
)
@settings_option("config")
@plugin_option(exposed=True)
@out_option("runs", "Folder of the runs whose report shows the measurement.")
@json_option("One JSON line per measurement.")
def command(
    methods: tuple[str, ...],
    shots: tuple[int, ...],
    device: str,
    plugins: tuple[str, ...],
    out: Path,
    as_json: bool,
    **rest: Any,
) -> None:
    """Measure parameters, FLOPs, time and peak memory of methods, each in a separate process."""
    from fssbench.efficiency.measure import BenchRequest, measure_in_subprocess
    from fssbench.efficiency.store import save
    from fssbench.efficiency.timing import NEXT
    from fssbench.plugins.registry import METHODS

    for name in methods:  # refuse a misspelt name before measuring the others, which takes minutes
        METHODS.get(name)
    measured: list[Efficiency] = []
    broken: list[FssbenchError] = []
    for name in dict.fromkeys(methods):
        for shot in dict.fromkeys(shots or (1, 5)):
            click.echo(f"measuring {one_line(name)}, {shot}-shot, on {device}", err=True)
            try:
                request = BenchRequest(method=name, shot=shot, device=device, plugins=plugins, **rest)
                each = measure_in_subprocess(request)
                path = save(each, out)
            except FssbenchError as error:
                click.echo(f"error: {one_line(str(error))}", err=True)
                broken.append(error)
                continue
            measured.append(each)
            if as_json:
                emit_json([{"written": path, "flops": each.flops, **each.model_dump()}])
    if measured and not as_json:
        table(_COLUMNS, [_format_row(each) for each in measured])
    for each in measured:
        for reason in each.unstable:
            click.echo(f"unstable: {one_line(each.label)}, {each.shot}-shot: {reason}", err=True)
    if any(each.unstable for each in measured):
        click.echo(f"Next: {NEXT}", err=True)
    if measured:
        click.echo(f"stored in {out}. Next: `{follow_up('report', out)}`", err=True)
    if broken:
        raise type(broken[0])(
            f"{len(broken)} of {len(broken) + len(measured)} measurements failed, see above"
        )


def _format_row(each: Efficiency) -> tuple[object, ...]:
    return (
        each.label,
        each.backbone,
        each.shot,
        each.size,
        f"{each.learnable:,}",
        f"{each.parameters:,}",
        f"{each.flops / 1e9:.2f}",
        f"{each.flops_backbone / 1e9:.2f}",
        f"{each.flops_head / 1e9:.2f}",
        f"{each.milliseconds.median:.1f}",
        f"{each.milliseconds.low:.1f} to {each.milliseconds.high:.1f}",
        _format_head(each.head),
        "-" if each.memory_mb is None else f"{each.memory_mb:.0f}",
        "yes" if each.unstable else "",
    )


def _format_head(timing: Timing | None) -> str:
    return "-" if timing is None else f"{timing.median:.1f}"
