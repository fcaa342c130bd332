"""Costs on the page: which measurement belongs to which runs, what figures take, what is still missing."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html import escape
from typing import Any

from fssbench.reports.content.analysis import analyse
from fssbench.reports.figures.costs import choose_ticks
from fssbench.reports.figures.svg import make_inline
from fssbench.reports.formats.html import render_page
from fssbench.reports.sections.drawings import list_drawings
from fssbench.reports.sections.efficiency import collect_costs, describe_cost_source, make_cost_points
from hypothesis import given, strategies as st
from manifests import make_manifest
from report_factory import make_cell, make_run, share_results

from fssbench.api import Efficiency, Results, RunResult, Timing

TIMING = Timing(median=12.5, low=12, high=13, mad=0.4, fastest=11, slowest=14, repeats=15, warmup=4)


def measured(method: str = "pmnet", shot: int = 1, **changes: Any) -> Efficiency:
    facts: dict[str, Any] = {
        "identity": f"{method}/{shot}/{sorted(changes.items())}",
        "method": method,
        "label": method,
        "config": {},
        "backbone": "resnet50",
        "weights": "random",
        "checkpoint_sha256": None,
        "shot": shot,
        "size": 400,
        "batch": 1,
        "learnable": 675_362,
        "parameters": 24_000_000,
        "flops_backbone": 20 * 10**9,
        "flops_head": 3 * 10**9,
        "milliseconds": TIMING,
        "head": TIMING.model_copy(update={"median": 4.25}),
        "memory_mb": 321.0,
        "memory_kind": "resident",
        "machine": "0123456789ab",
        "processor": "a CPU",
        "device": "cpu",
        "threads": 2,
        "dtype": "float32",
        "others": 0.0,
        "created_utc": "2026-01-01T00:00:00+00:00",
        "packages": {},
    }
    return Efficiency(**{**facts, **changes})


def results(*efficiency: Efficiency, sizes: int = 400) -> Results:
    cells = []
    for method in ("pmnet", "hsnet", "panet"):
        manifest = make_manifest(size=sizes)
        cells.append(make_cell([make_run(method, manifest=manifest)]))
    runs = tuple(run for cell in cells for run in cell.folds.values())
    return Results(runs, tuple(cells), 200, 0, efficiency=efficiency)


def drawn(given_results: Results) -> dict[str, dict[str, float]]:
    result = analyse(given_results)
    return {name: point.costs for name, point in make_cost_points(result, result.places[0]).items()}


def test_measurement_belongs_to_runs_of_the_same_thing() -> None:
    fitting = measured()
    wrong = [
        measured(method="hsnet", backbone="vgg16"),
        measured(shot=5),
        measured(config={"steps": 3}),
        measured(method="other"),
    ]
    shown = drawn(results(fitting, *wrong))
    assert shown["pmnet"] == {"learnable": 0.675362, "flops": 23.0, "ms": 12.5, "memory": 321.0}
    assert shown["hsnet"] == {"learnable": 2.573794}
    assert set(shown) == {"pmnet", "hsnet", "panet"}


def test_size_of_the_runs_goes_before_the_latest_and_another_is_said() -> None:
    same = measured(milliseconds=TIMING)
    later = measured(
        size=192,
        milliseconds=TIMING.model_copy(update={"median": 3.0}),
        created_utc="2026-05-01T00:00:00+00:00",
    )
    assert drawn(results(same, later))["pmnet"]["ms"] == 12.5
    alone = analyse(results(later))
    assert make_cost_points(alone, alone.places[0])["pmnet"].costs["ms"] == 3.0
    assert "Costs are at 192 px, scores at 400 px." in describe_cost_source(alone, alone.places[0])
    both = analyse(results(same))
    assert "px" not in describe_cost_source(both, both.places[0])


def test_machines_are_kept_apart_and_figures_take_one() -> None:
    here = [measured("pmnet"), measured("hsnet")]
    there = measured("pmnet", machine="ba9876543210", processor="a GPU", device="cuda", memory_mb=9.0)
    given_results = results(there, *here)
    assert drawn(given_results)["pmnet"]["memory"] == 321.0
    tables = collect_costs(analyse(given_results)).tables
    assert [t.machine for t in tables] == [
        "a CPU (cpu, 2 threads, machine 012345)",
        "a GPU (cuda, 2 threads, machine ba9876)",
    ]
    assert [len(t.rows) for t in tables] == [2, 1]


def test_row_of_the_table() -> None:
    shaky = TIMING.model_copy(update={"unstable": ("the slowest is 60 % above the median",)})
    (table,) = collect_costs(analyse(results(measured(milliseconds=shaky, memory_mb=None, batch=4)))).tables
    (row,) = table.rows
    assert (row.flops, row.split) == ("23.00", "20.00 + 3.00")
    assert (row.ms, row.quartiles, row.head, row.memory) == ("12.5", "12.0 to 13.0", "4.2", "–")
    assert row.detail == "resnet50, 400 px, 1-shot, 4 at once"
    assert row.unstable == ("the slowest is 60 % above the median",)
    result = analyse(results(measured(milliseconds=shaky)))
    assert make_cost_points(result, result.places[0])["pmnet"].hollow


def test_without_measurements_runs_stand_in_and_the_next_command_is_said() -> None:
    result = analyse(results())
    shown = make_cost_points(result, result.places[0])
    assert {name: point.costs["ms"] for name, point in shown.items()} == dict.fromkeys(shown, 41.0)
    told_costs = collect_costs(result)
    assert told_costs.tables == ()
    assert [row.label for row in told_costs.runs] == ["pmnet", "hsnet", "panet"]
    command = "fssbench bench -m pmnet -m hsnet -m panet --backbone resnet50 --size 400"
    assert told_costs.command == command
    page = render_page(results())
    assert command in page
    assert "Nothing was measured with" in page


def test_next_command_names_what_is_missing_only() -> None:
    assert collect_costs(analyse(results(measured("pmnet")))).command.startswith(
        "fssbench bench -m hsnet -m panet --b"
    )
    every = [measured(m) for m in ("pmnet", "hsnet", "panet")]
    assert collect_costs(analyse(results(*every))).command == ""


def test_next_command_has_the_settings_of_a_changed_method() -> None:
    def changed(
        method: str, label: str, passed: dict[str, str], ablations: tuple[str, ...] = ()
    ) -> RunResult:
        manifest = make_manifest(size=400, context={"config_passed": passed})
        return make_run(method, label=label, ablations=ablations, manifest=manifest)

    def command(*runs: RunResult) -> str:
        return collect_costs(analyse(Results(runs, tuple(make_cell([run]) for run in runs), 200, 0))).command

    narrow = changed("hsnet", "hsnet (width=64)", {"width": "64"})
    assert command(narrow).endswith("-m hsnet --backbone resnet50 --size 400 --set width=64")
    assert command(changed("pmnet", "pmnet (w/o b3dconv)", {}, ("b3dconv",))).endswith("--ablate b3dconv")
    assert command(narrow, changed("panet", "panet", {})).endswith("-m panet --backbone resnet50 --size 400")


def test_page_shows_costs_beside_scores() -> None:
    given_results = results(measured("pmnet"), measured("hsnet"), measured("panet", learnable=0))
    page = render_page(given_results)
    section = page[page.index('<section id="efficiency"') :].partition("</section>")[0]
    assert section.count("<svg") == 1
    for text in ("GFLOPs per episode", "peak memory (MiB)", "learnable parameters (M)", "ms per episode"):
        assert text in section
    assert "two per multiply-add" in section
    assert re.search(r"200 episodes per point, 95 % intervals, protocol published/1", section)
    (drawing,) = (d for d in list_drawings(given_results) if d.place == "efficiency")
    assert make_inline(drawing) == make_inline(replace(drawing))  # a second figure, drawn anew
    assert "mathdefault" not in section


def test_one_method_makes_no_figure() -> None:
    run = make_run()
    alone = Results((run,), (make_cell([run]),), 200, 0, efficiency=(measured(),))
    assert not [d for d in list_drawings(alone) if d.place == "efficiency"]
    assert "a CPU" in render_page(alone)


def test_runs_without_a_time_have_none() -> None:
    plain = share_results()
    cells = tuple(
        replace(c, folds={f: replace(r, seconds=math.nan) for f, r in c.folds.items()}) for c in plain.cells
    )
    silent = replace(plain, cells=cells)
    result = analyse(silent)
    assert all("ms" not in p.costs for p in make_cost_points(result, result.places[0]).values())
    assert {row.ms for row in collect_costs(result).runs} == {"–"}


@given(st.floats(1e-4, 1e6), st.floats(1.01, 1e6))
def test_ticks_are_few_round_and_within(low: float, factor: float) -> None:
    result = choose_ticks(low, low * factor)
    assert 1 <= len(result) <= 4
    assert result == sorted(set(result))
    for tick in result:
        assert low * 0.99 <= tick <= low * factor * 1.01


def test_names_from_files_stay_text() -> None:
    texts = ["<script>", '"><b>', "a|b", "`x`", "{{ 1 }}"]
    foreign = [measured(label=text, processor=text, device=text, backbone=text) for text in texts]
    page = render_page(results(*foreign))
    assert "<script" not in page
    assert '"><b>' not in page
    for text in texts:
        assert escape(text) in page.replace("&#34;", "&quot;")
