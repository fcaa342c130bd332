"""What `fssbench run` prints: the marks once, a line per run without them, and one table that holds every figure."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given, settings, strategies as st
from places import NULL_PLUGIN
from report_factory import make_cell, make_run
from rich.console import Console

import fssbench
from fssbench.analysis.collect import collect
from fssbench.analysis.row_names import name_rows
from fssbench.api import Estimate
from fssbench.cli import main
from fssbench.cli.results_table import Figure, Grid, break_name, choose_layout, explain_mark, print_results
from fssbench.evaluation.suite import execute
from fssbench.runs.mark_legend import build_legend

PLUGIN = NULL_PLUGIN
BROKEN = """
from fssbench.api import ImageMethod, MethodCard
class Odd(ImageMethod):
    card = MethodCard(name="odd", title="t", paper="p", year=2026, kind="other", backbone="none", size=32,
                      trained=False, reference="none", licence="none")
    def logits(self, query, support, support_mask):
        raise ValueError("no")
"""


@pytest.fixture
def run(null):
    """Run `fssbench run` on the null data, in this process."""

    def call(*more: object, width: int = 100):
        given = [
            "run",
            "--plugin",
            PLUGIN,
            "--data",
            null.data,
            "--device",
            "cpu",
            "-o",
            null.folder / "runs",
        ]
        arguments = [*given, "-m", "null", "-b", "nulldata", "--size", 64, "--panels", 0, *more]
        return CliRunner(env={"COLUMNS": str(width)}).invoke(main, [str(a) for a in arguments])

    return call


def named(*cells):
    """Cells as `collect` gives them: with names, and with an interval around every figure."""
    estimates = [Estimate(cell.miou.value, cell.miou.value - 1.5, cell.miou.value + 2) for cell in cells]
    return name_rows(replace(cell, miou=miou) for cell, miou in zip(cells, estimates, strict=True))


def printed(cells, width, capsys):
    print_results(cells, Console(width=width))
    return capsys.readouterr().out


# --- the course of a run ------------------------------------------------------------------------


def test_marks_are_said_once_and_runs_have_a_line_without_them(run):
    result = run("-k", 1, "-k", 2, "--seed", 0, "--seed", 1, "--episodes", 6, "--size", 400)
    lines = result.stdout.splitlines()
    runs = [line for line in lines if "FB-IoU" in line]
    assert len(runs) == 4
    assert not any("capped" in line or "[" in line for line in runs)
    before, after = result.stdout.split(runs[0])[0], result.stdout.split(runs[-1])[1]
    assert before.count("capped (6 of 600 episodes)") == 1
    assert re.search(r"^C +capped \(6 of 600 episodes\)", after, flags=re.MULTILINE)
    assert re.search(r"\d C\b", after), "a figure of the table lacks its mark"


def test_table_has_the_figures_of_the_json(run, null):
    shown = run("-k", 1, "-k", 5, "--episodes", 60, "--set", "bias=0.3")
    rows = null.parse_json_lines(
        run("-k", 1, "-k", 5, "--episodes", 60, "--set", "bias=0.3", "--json").stdout
    )
    table = shown.stdout.rpartition("FB-IoU")[2]
    assert len(rows) == 2
    for row in rows:
        assert f"{row['miou']:.1f}" in table
    (cell, _) = collect([null.folder / "runs"]).cells
    assert f"[{cell.miou.low:.1f}, {cell.miou.high:.1f}]" in table


def test_what_other_supports_change_is_said_below_the_table(run, null):
    assert "of the answer changes" not in run("-k", 1, "--episodes", 6).stdout
    shown = run("-k", 1, "--episodes", 6, "--sensitivity", 4).stdout
    (row,) = fssbench.results(null.folder / "runs").sensitivity.itertuples()
    assert row.episodes == 4
    assert f"{row.changed:.1f} % of the answer changes (4 episodes; too few queries)" in shown


def test_json_has_nothing_but_json(run, null):
    result = run("-k", 1, "--episodes", 4, "--json")
    assert [set(json.loads(line)) >= {"run", "miou", "marks"} for line in result.stdout.splitlines()] == [
        True
    ]


def test_too_few_queries_have_no_interval_and_nobody_is_best(run):
    after = run("-k", 1, "--episodes", 4).stdout.rpartition("FB-IoU")[2]
    assert "too few queries" in after
    assert "[" not in after.split("mIoU in %")[0]
    assert "*" not in after


def test_a_method_that_broke_leaves_no_figure_and_is_counted(run, null):
    (null.folder / "odd.py").write_text(BROKEN)
    result = run("-m", "odd", "--plugin", null.folder / "odd.py", "-k", 1, "--episodes", 6)
    assert result.exit_code == 4
    assert "null" in result.stdout.rpartition("FB-IoU")[2]
    assert "1 of 2 runs are not complete" in result.stderr


def test_without_a_complete_run_the_next_step_is_not_a_report(null):
    (null.folder / "odd.py").write_text(BROKEN)
    arguments = [
        "run",
        "--plugin",
        null.folder / "odd.py",
        "--plugin",
        PLUGIN,
        "--data",
        null.data,
        "-m",
        "odd",
    ]
    arguments += ["-b", "nulldata", "--episodes", 2, "--shot", 1, "-o", null.folder / "none", "--panels", 0]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 4
    assert "fssbench report" not in result.stderr
    assert "--pdb" in result.stderr


def test_shards_end_with_the_command_that_joins_them(run, null):
    result = run("-k", 1, "--episodes", 6, "--shard", "1/2")
    assert result.exit_code == 0
    assert "mIoU in %" not in result.stdout
    assert f"fssbench merge {null.folder / 'runs'}" in result.stderr


def test_interrupted_says_what_is_left(run, null, monkeypatch):
    def stop_after_one(*arguments, **more):
        yield next(execute(*arguments, **more))
        raise KeyboardInterrupt

    monkeypatch.setattr("fssbench.evaluation.suite.execute", stop_after_one)
    result = run("-k", 1, "-k", 2, "--episodes", 4)
    assert result.exit_code == 130
    assert "1 of 2 runs are complete; 4 of 8 episodes are stored" in result.stderr
    assert f"fssbench report {null.folder / 'runs'}" in result.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_a_resumed_run_begins_with_what_is_stored(run, null, monkeypatch, as_json):
    def stop_at_two(label, done, planned):
        if done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fssbench.progress.Progress.watch", lambda self, task: stop_at_two)
        first = run("-k", 1, "--episodes", 4)
    assert first.exit_code == 130
    assert "already stored" not in first.stderr
    again = run("-k", 1, "--episodes", 4, *(["--json"] if as_json else []))
    lines = again.stderr.splitlines()
    told = lines.index("nulldata f0 1-shot null: 2 of 4 episodes are already stored")
    assert "1 run, 4 episodes at" in lines[told - 1]
    assert "already stored" not in again.stdout
    assert len(again.stdout.splitlines()) == 1 or not as_json


# --- the table ----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [30, 40, 80, 100, 200])
@pytest.mark.parametrize("methods", [1, 3, 15])
def test_every_figure_appears_once_in_any_width(table, capsys, methods, width):
    names = [f"method{i}" for i in range(methods)]
    benchmarks = ("pascal-to-chestxray:lung566", "coco20i", "pascal5i-to-suim:suim7")
    runs = [
        table.make_run(name, benchmark, shot=shot, skill=0.3 + 0.013 * i)
        for i, name in enumerate(names)
        for benchmark in benchmarks
        for shot in (1, 5)
    ]
    cells = named(*map(table.make_cell, runs))
    text = printed(cells, width, capsys)
    body = text.split("mIoU in %")[0]
    figures = re.findall(r"\b\d+\.\d\b", re.sub(r"\[[^]]*]", "", body))
    assert sorted(figures) == sorted(f"{cell.miou.value:.1f}" for cell in cells)
    assert body.count("[") == len(cells)
    assert max(map(len, text.splitlines())) <= width


def test_signs_are_those_of_the_cells(table, capsys):
    cells = named(*(table.make_cell(table.make_run(name)) for name in "abc"))
    places = [replace(cells[0], tied=True), replace(cells[1], best=True), cells[2]]
    text = printed(places, 100, capsys)
    for cell, sign in zip(cells, ("=", "\\*", " "), strict=True):
        assert re.search(rf"^{cell.name} +{cell.miou.value:.1f}{sign} ", text, flags=re.MULTILINE)
    assert "significantly" in text
    assert "significantly" not in printed(cells, 100, capsys)


def test_backbones_are_named_if_there_are_several(table, capsys):
    runs = [table.make_run("a"), table.make_run("a", backbone="vgg16"), table.make_run("b")]
    text = printed(named(*map(table.make_cell, runs)), 100, capsys)
    assert "vgg16" in text
    assert "b, resnet50" in text


def test_seeds_are_columns(table, capsys):
    runs = [table.make_run(m, seed=s, block={"seed": s}) for m in "ab" for s in (0, 1)][:3]
    text = printed(named(*map(table.make_cell, runs)), 100, capsys)
    assert "seed 0" in text
    assert "seed 1" in text
    assert re.search(r"^b .* -$", text, flags=re.MULTILINE), "b was not measured with seed 1"


NAMES = st.text("ab-:/, é中", min_size=1, max_size=40).filter(str.strip)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(NAMES, min_size=1, max_size=6, unique=True),
    columns=st.lists(NAMES, min_size=1, max_size=8, unique=True),
    measured=st.booleans(),
    width=st.integers(20, 200),
)
def test_layout_holds_every_column_once(rows, columns, measured, width):
    figure = Figure("12.3", "*", "[10.0, 14.9]" if measured else "", "MC")
    figures = {(r, c): figure for r in range(len(rows)) for c in range(len(columns))}
    layout = choose_layout(Grid(tuple(rows), tuple(columns), figures), width)
    placed = [i for block in layout.blocks for i in block]
    assert placed == list(range(len(layout.grid.columns)))
    for block in layout.blocks:
        used = layout.label_width + len(block) * (layout.column_width + 2)
        assert used <= width or len(block) == 1


@given(name=NAMES, width=st.integers(1, 50))
def test_broken_names_lose_nothing(name, width):
    lines = break_name(name, width)
    assert "".join("".join(lines).split()) == "".join(name.split())


def test_wordings_of_one_kind_are_joined():
    marks = [f"part-trained ({n} steps)" for n in range(5)]
    (mark,) = build_legend(marks).values()
    assert explain_mark(mark).startswith("part-trained (0 steps; 1 steps; 2 steps; and 2 more): ")
    (capped,) = build_legend(["capped (1 of 2 episodes)"]).values()
    assert explain_mark(capped).startswith("capped (1 of 2 episodes): ")
    (odd,) = build_legend(["odd (thing)", "odd (other)"]).values()
    assert explain_mark(odd) == "odd (thing; other)"


def test_wordings_that_differ_by_method_name_their_methods(capsys):
    effects = {
        "panet": ("batch (8 episodes together; mIoU +0.00)", "batch (8 episodes together; mIoU +0.10)"),
        "pmnet": ("batch (8 episodes together; mIoU -0.20)",),
    }
    cells = [
        replace(make_cell([make_run(method)]), marks=("capped (8 of 600 episodes)", *marks))
        for method, marks in effects.items()
    ]
    legend = printed(cells, 160, capsys).partition("batch: ")[2].splitlines()
    panet, pmnet = (line.strip() for line in legend[1:3])
    assert panet.startswith("panet: (8 episodes together; mIoU +0.00), (8 episodes together; mIoU +0.10)")
    assert pmnet == "pmnet: 8 episodes together; mIoU -0.20"
    assert "capped (8 of 600 episodes): " in printed(cells, 160, capsys)
