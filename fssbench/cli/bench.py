"""`fssbench bench`: measure what one episode of a method costs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.hints import Verb, compose_next_command
from fssbench.cli.numbers import SHOT, SIDE, Whole
from fssbench.cli.options import (
    BENCHMARK,
    PATH,
    cache_mb_option,
    data_option,
    device_option,
    json_option,
    out_option,
    plugin_option,
    settings_option,
    splits_option,
    threads_option,
)
from fssbench.cli.output import emit_json, print_table, to_one_line
from fssbench.errors import FssbenchError
from fssbench.plural import describe_count

if TYPE_CHECKING:
    from fssbench.contracts.efficiency import Efficiency, Timing
    from fssbench.efficiency.loops import LoopComparison
    from fssbench.efficiency.measure import BenchRequest

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

_PLAIN_COLUMNS = (
    "method",
    "shot",
    "px",
    "episodes / images",
    "plain s",
    "harness s",
    "ratio",
    "ratio of CPU time",
    "plain MiB",
    "harness MiB",
    "floor s",
    "times floor",
    "pixels counted differently",
    "peak GFLOP/s",
    "busy CPUs of others",
)


@click.command(
    cls=Verb,
    epilog="FLOPs are those of matrix products and convolutions, 2 per multiply-add, with test-time adaptation. "
    "Time is per episode and starts from pixels; the columns `head` start from cached features. The figures do not "
    "depend on the values of the weights, so weights are random by default.",
)
@click.option("--method", "-m", "methods", multiple=True, required=True, metavar="NAME", help="Repeatable.")
@click.option("--backbone", metavar="NAME", help="Default: the method's own.")
@click.option("--shot", "-k", "shots", multiple=True, type=SHOT, help="Repeatable. Default: 1 and 5.")
@click.option("--size", type=SIDE, help="Side of the input, pixels. Default: the method's own.")
@click.option("--batch", type=Whole(1), default=1, show_default=True, help="Episodes in one forward.")
@device_option()
@threads_option()
@click.option("--repeats", type=Whole(1), default=15, show_default=True, help="Number of timed repeats.")
@click.option("--weights", metavar="ID|FILE", help="Backbone weights: a published id, `random`, or a file.")
@click.option("--checkpoint", type=PATH, metavar="FILE", help="Trained weights.")
@click.option(
    "--ablate", multiple=True, metavar="NAME", help="Ablation of the method, see `show`; repeatable."
)
@settings_option("config")
@plugin_option(exposed=True)
@click.option(
    "--plain",
    is_flag=True,
    help="Instead, compare an evaluation on data with a plain loop that keeps nothing, and with its floor.",
)
@click.option(
    "--benchmark",
    "-b",
    default="pascal5i",
    show_default=True,
    metavar=BENCHMARK,
    help="Benchmark of --plain.",
)
@click.option("--fold", "-f", type=Whole(0), default=0, show_default=True, help="Fold of --plain.")
@click.option(
    "--episodes",
    type=Whole(1),
    default=100,
    show_default=True,
    help="Episodes of --plain, per shot.",
)
@cache_mb_option("Memory for features in --plain, MiB.")
@data_option()
@splits_option()
@out_option("runs", "Folder of the runs whose report shows the measurement.")
@json_option("One JSON line per measurement.")
def command(
    methods: tuple[str, ...],
    shots: tuple[int, ...],
    device: str,
    plugins: tuple[str, ...],
    out: Path,
    as_json: bool,
    plain: bool,
    benchmark: str,
    fold: int,
    episodes: int,
    cache_mb: int,
    data: str | None,
    splits: str | None,
    **rest: Any,
) -> None:
    """Measure parameters, FLOPs, time and peak memory of methods, each in a separate process."""
    from fssbench.efficiency.measure import BenchRequest, measure_in_subprocess
    from fssbench.efficiency.store import save
    from fssbench.plugins.registry import METHODS

    for name in methods:  # refuse a misspelt name before measuring the others, which takes minutes
        METHODS.get(name)
    requests = [
        BenchRequest(method=name, shot=shot, device=device, plugins=plugins, **rest)
        for name in dict.fromkeys(methods)
        for shot in dict.fromkeys(shots or (1, 5))
    ]
    if plain:
        from fssbench.data.location import find_data_folder

        place = {
            "name": benchmark,
            "fold": fold,
            "data": find_data_folder(data) or "mini",
            "splits": splits,
            "episodes": episodes,
        }
        _compare_with_plain(requests, place, cache_mb, as_json=as_json)
        return
    measured: list[Efficiency] = []
    broken: list[FssbenchError] = []
    try:
        for request in requests:
            click.echo(f"measuring {to_one_line(request.method)}, {request.shot}-shot, on {device}", err=True)
            try:
                each = measure_in_subprocess(request)
                path = save(each, out)
            except FssbenchError as error:
                click.echo(f"error: {to_one_line(str(error))}", err=True)
                broken.append(error)
                continue
            measured.append(each)
            if as_json:
                emit_json([{"written": path, "flops": each.flops, **each.model_dump()}])
    finally:  # also after Ctrl-C and SIGTERM
        _print_measured(measured, out, as_json=as_json)
        _report_remaining(len(requests) - len(measured) - len(broken), len(requests), "measurement")
    if broken:
        raise type(broken[0])(f"{len(broken)} of {len(requests)} measurements failed; the errors are above")


def _print_measured(measured: list[Efficiency], out: Path, *, as_json: bool) -> None:
    """Print the table of the measurements, which of them are unstable, and where they are."""
    from fssbench.efficiency.timing import NEXT

    if not measured:
        return
    if not as_json:
        print_table(_COLUMNS, [_format_row(each) for each in measured])
    for each in measured:
        for reason in each.unstable:
            click.echo(f"unstable: {to_one_line(each.label)}, {each.shot}-shot: {reason}", err=True)
    if any(each.unstable for each in measured):
        click.echo(f"Next: {NEXT}", err=True)
    click.echo(
        f"The measurements are stored in {out}. Next: `{compose_next_command('report', out)}`", err=True
    )


def _report_remaining(left: int, count: int, what: str) -> None:
    """Say how many measurements an interrupted command has not made."""
    if left:
        click.echo(f"not made: {left} of {describe_count(count, what)}", err=True)


def _compare_with_plain(
    requests: list[BenchRequest], place: dict[str, Any], cache_mb: int, *, as_json: bool
) -> None:
    """Compare the harness with the plain evaluation, and print one line per method and shot."""
    from dataclasses import asdict

    from fssbench.efficiency.loops import compare_loops
    from fssbench.efficiency.measure import load_for_measuring
    from fssbench.episodes.sampling import plan
    from fssbench.evaluation.settings import Settings

    rows: list[tuple[object, ...]] = []
    compared = 0
    try:
        for request in requests:
            click.echo(
                f"comparing {to_one_line(request.method)}, {request.shot}-shot, on {request.device}", err=True
            )
            method = load_for_measuring(request)
            name, given = place["name"], {key: value for key, value in place.items() if key != "name"}
            drawn = plan(name, shot=request.shot, size=request.size or method.card.size, **given)
            each = compare_loops(method, drawn, Settings(device=request.device, cache_mb=cache_mb))
            click.echo(
                f"{each.ratio:.2f} times as fast as plain, {each.times_floor:.2f} times the floor", err=True
            )
            compared += 1
            if as_json:
                more = {"ratio": each.ratio, "cpu_ratio": each.cpu_ratio, "times_floor": each.times_floor}
                emit_json([{**asdict(each), **more}])
                continue
            rows.append(_format_plain_row(each))
    finally:  # also after Ctrl-C and SIGTERM
        if rows:
            print_table(_PLAIN_COLUMNS, rows)
        _report_remaining(len(requests) - compared, len(requests), "comparison")


def _format_plain_row(each: LoopComparison) -> tuple[object, ...]:
    return (
        each.method,
        each.shot,
        each.size,
        f"{each.episodes} / {each.images}",
        f"{each.plain_seconds:.3f}",
        f"{each.harness_seconds:.3f}",
        f"{each.ratio:.2f}",
        f"{each.cpu_ratio:.2f}",
        "-" if each.plain_memory_mb is None else f"{each.plain_memory_mb:.0f}",
        "-" if each.harness_memory_mb is None else f"{each.harness_memory_mb:.0f}",
        f"{each.floor_seconds:.3f}",
        f"{each.times_floor:.2f}",
        f"{each.different_pixels} of {each.pixels}",
        f"{each.peak / 1e9:.0f}",
        "-" if each.others is None else f"{each.others:.1f}",
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
