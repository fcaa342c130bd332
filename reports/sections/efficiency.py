"""Costs of methods: measurements of `fssbench bench`, joined to the cells that they belong to.

A measurement belongs to runs of the same method, settings, backbone and shot.  Figures show the measurements of one
machine, the one with the most.  Tables show each machine separately.  If nothing was measured, the number of learnable
parameters and the time of the predictions in the runs are shown instead.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from fssbench.api import Cell, Efficiency, first_run

from ..content.analysis import Analysis, Place
from ..content.text import NOTHING, clean, format_parameters
from ..figures.costs import Point


@dataclass(frozen=True)
class Row:
    """One printed measurement."""

    label: str
    detail: str
    learnable: str
    parameters: str
    flops: str
    split: str
    """FLOPs of backbone and head."""
    ms: str
    quartiles: str
    head: str
    memory: str
    unstable: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """The measurements of one machine."""

    machine: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Costs:
    """Everything that the page shows of costs besides its figures."""

    tables: tuple[Table, ...]
    runs: tuple[Row, ...]
    """Costs of each method from its runs, if nothing was measured."""
    command: str
    """Command that measures what is missing.  Empty if nothing is missing."""


def collect_costs(analysis: Analysis) -> Costs:
    """Return tables of all measurements, and the command that measures what is missing."""
    measured = analysis.results.efficiency
    lacking = [cell for cell in analysis.cells if _find_measurement(cell, measured) is None]
    names: dict[str, Cell] = {}
    for cell in analysis.cells:
        names.setdefault(analysis.name(cell), cell)
    return Costs(
        tables=tuple(_make_table(group) for group in _group_by_machine(measured)),
        runs=() if measured else tuple(_make_row_of_run(analysis, cell) for cell in names.values()),
        command=_suggest_command(lacking),
    )


def make_cost_points(analysis: Analysis, place: Place) -> dict[str, Point]:
    """Return the methods of one benchmark and shot with their costs, in the order of the figures."""
    machines = _group_by_machine(analysis.results.efficiency)
    ids_of_machine = {id(each) for each in machines[0]} if machines else set()
    measured = [each for each in analysis.results.efficiency if id(each) in ids_of_machine]
    cells = {name: place.cells[name] for name in analysis.methods_in_figures if name in place.cells}
    measurement_by_method = {name: _find_measurement(cell, measured) for name, cell in cells.items()}
    points = {}
    for name, cell in cells.items():
        each, run = measurement_by_method[name], first_run(cell)
        costs = {"learnable": run.learnable / 1e6}
        if each is not None:
            costs |= {"flops": each.flops / 1e9, "ms": each.milliseconds.median}
            if each.memory_mb is not None:
                costs["memory"] = each.memory_mb
        elif not analysis.results.efficiency and math.isfinite(_compute_median(cell)):
            costs["ms"] = 1000 * _compute_median(cell)
        if math.isfinite(cell.miou.value):
            points[name] = Point(
                cell.miou,
                bool(cell.marks) or bool(each and each.unstable),
                costs,
                (each.milliseconds.low, each.milliseconds.high) if each else None,
            )
    return points


def describe_cost_source(analysis: Analysis, place: Place) -> str:
    """Describe in a sentence where the costs of a figure come from."""
    machines = _group_by_machine(analysis.results.efficiency)
    measurements = {
        id(e): e
        for cell in place.cells.values()
        if machines and (e := _find_measurement(cell, machines[0])) is not None
    }
    if not measurements:
        if analysis.results.efficiency:
            return "No costs of these methods were measured."
        return "Times are those of the predictions in the runs, without the images and features that methods share."
    size = first_run(next(iter(place.cells.values()))).manifest.block.size
    other = sorted({e.size for e in measurements.values()} - {size})
    sized = f" Costs are at {', '.join(map(str, other))} px, scores at {size} px." if other else ""
    return f"Costs were measured on {_name_machine(machines[0][0])}. Bars of the time are quartiles.{sized}"


def _find_measurement(cell: Cell, measured: Iterable[Efficiency]) -> Efficiency | None:
    """Find the measurement of a cell, at its own input size if there is one, else the latest."""
    run = first_run(cell)
    block = run.manifest.block

    def same(each: Efficiency) -> bool:
        place = (each.method, each.backbone, each.shot, each.config)
        return place == (run.method, run.backbone, run.shot, block.config)

    candidates = [each for each in measured if same(each)]
    return max(
        candidates,
        key=lambda e: (e.size == block.size, e.batch == 1, e.created_utc),
        default=None,
    )


def _group_by_machine(measured: Iterable[Efficiency]) -> list[list[Efficiency]]:
    """Group measurements by machine, device and threads.  The largest group comes first."""
    listed = list(measured)
    count = Counter(map(_make_machine_key, listed))
    order = sorted(count, key=lambda key: (-count[key], key))
    return [[each for each in listed if _make_machine_key(each) == key] for key in order]


def _make_machine_key(each: Efficiency) -> tuple[str, str, int]:
    return (each.machine, each.device, each.threads)


def _name_machine(each: Efficiency) -> str:
    threads = f"{each.threads} thread{'s' if each.threads != 1 else ''}"
    return f"{clean(each.processor)} ({clean(each.device)}, {threads}, machine {clean(each.machine)[:6]})"


def _make_table(group: list[Efficiency]) -> Table:
    rows = sorted(group, key=lambda e: (e.shot, e.size, e.backbone, e.label, e.batch))
    return Table(_name_machine(group[0]), tuple(map(_make_row, rows)))


def _make_row(each: Efficiency) -> Row:
    batch = f", {each.batch} at once" if each.batch > 1 else ""
    return Row(
        label=clean(each.label),
        detail=f"{clean(each.backbone)}, {each.size} px, {each.shot}-shot{batch}",
        learnable=format_parameters(each.learnable),
        parameters=format_parameters(each.parameters),
        flops=f"{each.flops / 1e9:.2f}",
        split=f"{each.flops_backbone / 1e9:.2f} + {each.flops_head / 1e9:.2f}",
        ms=f"{each.milliseconds.median:.1f}",
        quartiles=f"{each.milliseconds.low:.1f} to {each.milliseconds.high:.1f}",
        head=f"{each.head.median:.1f}" if each.head else NOTHING,
        memory=f"{each.memory_mb:.0f}" if each.memory_mb is not None else NOTHING,
        unstable=tuple(map(clean, each.unstable)),
    )


def _make_row_of_run(analysis: Analysis, cell: Cell) -> Row:
    run, seconds = first_run(cell), _compute_median(cell)
    return Row(
        label=analysis.name(cell),
        detail=f"{clean(run.backbone)}, {cell.shot}-shot",
        learnable=format_parameters(run.learnable),
        parameters=format_parameters(run.parameters),
        flops=NOTHING,
        split="",
        ms=f"{1000 * seconds:.0f}" if math.isfinite(seconds) else NOTHING,
        quartiles="",
        head=NOTHING,
        memory=NOTHING,
        unstable=(),
    )


def _compute_median(cell: Cell) -> float:
    timed = [run.seconds for run in cell.folds.values() if math.isfinite(run.seconds)]
    return median(timed) if timed else math.nan


def _suggest_command(lacking: list[Cell]) -> str:
    """Return one command that measures the first kind of cells without a measurement."""
    if not lacking:
        return ""
    runs = [first_run(cell) for cell in lacking]
    plain = [run for run in runs if (run.backbone, run.label) == (runs[0].backbone, run.method)]
    together = plain or runs[:1]  # plain methods share a command; one with settings has its own
    first = together[0]
    size, passed = first.manifest.block.size, first.manifest.context.config_passed
    parts = ["fssbench", "bench"]
    parts += [p for name in dict.fromkeys(clean(run.method) for run in together) for p in ("-m", name)]
    parts += ["--backbone", clean(first.backbone)] if first.backbone != "own" else []
    parts += ["--size", str(size)]
    parts += [p for name in first.ablations for p in ("--ablate", clean(name))]
    parts += [p for key, value in sorted(passed.items()) for p in ("--set", clean(f"{key}={value}"))]
    return shlex.join(parts)
