"""`fssbench compare` and `fssbench power`, on null runs, as a user types them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from messages import error_names
from null_harness import NullHarness

from fssbench.analysis.collect import collect
from fssbench.analysis.comparisons import compare_pairs, count_outcomes
from fssbench.cli import main


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def noisy(null: Any, name: str, noise: float) -> Any:
    """A method that is right but for some noise."""

    def logits(self: Any, q: Any, s: Any, m: torch.Tensor) -> torch.Tensor:
        fg = m.mean(dim=1) - 0.5 + noise * torch.randn(m[:, 0].shape)
        return torch.stack([-fg, fg], dim=1)

    return null.make_broken(name, logits=logits)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods on one benchmark at one and five shots; read-only by agreement."""
    null = NullHarness(tmp_path_factory.mktemp("compared"))
    for shot in (1, 5):
        methods = [noisy(null, m, n) for m, n in (("good", 0.3), ("fair", 0.5), ("poor", 2.0))]
        null.run("runs", null.plan(60, shot=shot), *methods, panels=0)
    return null.folder / "runs"


def tables(text: str) -> list[list[dict[str, str]]]:
    """Tab-separated tables, apart by an empty line."""
    result = []
    for block in text.strip("\n").split("\n\n"):
        head, *rows = (line.split("\t") for line in block.splitlines())
        result.append([dict(zip(head, row, strict=True)) for row in rows])
    return result


def test_all_methods_of_a_folder(runs: Any) -> None:
    answer = invoke("compare", "--runs", runs, "--resamples", 300)
    assert answer.exit_code == 0, answer.output
    differences, wins, ranks = tables(answer.stdout)
    truth = compare_pairs(collect([runs], resamples=0), resamples=300)
    assert len(differences) == 6
    for row, pair in zip(differences, truth, strict=True):
        assert (row["A"], row["B"], row["shot"]) == (*pair.methods, str(pair.shot))
        assert row["mIoU A"] == f"{pair.a.miou.value:.1f}"
        assert row["A - B"] == f"{pair.difference.value:+.2f}"
        assert row["interval"] == f"{pair.difference.low:+.2f} to {pair.difference.high:+.2f}"
        assert (row["A's"], row["episodes"]) == (pair.outcome, "60")
        assert row["marks"] == "; ".join(pair.a.marks)
    expected = {t.methods: (t.wins, t.ties, t.losses) for t in count_outcomes(truth)}
    counts = {(r["A"], r["B"]): tuple(int(r[k]) for k in ("A wins", "ties", "A loses")) for r in wins}
    assert counts == expected
    assert counts["fair", "poor"][0] > 0
    assert [r["method"] for r in ranks][-1] == "poor"
    assert {r["over"] for r in ranks} == {"2"}
    assert "300 resamples, seed 0" in answer.stderr


def test_two_methods_in_the_order_given(runs: Any) -> None:
    rows = {
        order: tables(invoke("compare", *order, "--runs", runs, "--resamples", 200).stdout)[0]
        for order in (("good", "poor"), ("poor", "good"))
    }
    there, back = rows["good", "poor"], rows["poor", "good"]
    assert [(r["A"], r["B"], r["A's"]) for r in there] == [("good", "poor", "win")] * 2
    assert [(r["A"], r["B"], r["A's"]) for r in back] == [("poor", "good", "loss")] * 2
    assert there[0]["A - B"].replace("+", "-") == back[0]["A - B"]


def test_run_folders_stand_for_what_is_in_them(runs: Any) -> None:
    cells = {next(iter(c.folds.values())).path: c for c in collect([runs], resamples=0).cells}
    one_shot = {c.label: path for path, c in cells.items() if c.shot == 1}
    answer = invoke("compare", one_shot["poor"], one_shot["fair"], "--json", "--resamples", 200)
    assert answer.exit_code == 0, answer.output
    (pair,) = [r for r in map(json.loads, answer.stdout.splitlines()) if r["kind"] == "pair"]
    assert pair["methods"] == ["poor", "fair"]
    assert pair["runs"] == [[one_shot["poor"].name], [one_shot["fair"].name]]


def test_json_is_unrounded(runs: Any) -> None:
    answer = invoke("compare", "--runs", runs, "--json", "--resamples", 200, "--seed", 4)
    rows = [json.loads(line) for line in answer.stdout.splitlines()]
    truth = compare_pairs(collect([runs], resamples=0), resamples=200, seed=4)
    result = [r for r in rows if r["kind"] == "pair"]
    assert [r["difference"] for r in result] == [p.difference.value for p in truth]
    assert [r["interval"] for r in result] == [[p.difference.low, p.difference.high] for p in truth]
    assert [r["holm_p"] for r in result] == [p.adjusted for p in truth]
    assert {(r["resamples"], r["bootstrap_seed"]) for r in result} == {(200, 4)}
    assert [r["kind"] for r in rows].count("tally") == 3
    (ranking,) = [r for r in rows if r["kind"] == "ranking"]
    assert ranking["methods"][-1] == "poor"


def test_other_plans_are_refused_and_compared_where_asked(null: Any) -> None:
    plan = null.plan(80)
    null.run("runs", plan, noisy(null, "a", 0.3))
    null.run("runs", plan.head(60), noisy(null, "b", 0.5))
    answer = invoke("compare", "a", "b", "--runs", null.folder / "runs", "--resamples", 200)
    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert (
        "error: a and b on nulldata, 1-shot cannot be compared: cap none against capped (60 of 80"
        in answer.stderr
    )
    assert " --shared --runs " in answer.stderr
    shared = invoke("compare", "a", "b", "--runs", null.folder / "runs", "--resamples", 200, "--shared")
    assert shared.exit_code == 0, shared.output
    (row,) = tables(shared.stdout)[0]
    assert row["episodes"] == "60"
    assert row["note"].startswith("compared on 60 shared episodes of plans that differ: cap none")
    assert row["marks"] == "capped (60 of 80 episodes)"


def test_refusals_do_not_hide_what_can_be_compared(null: Any) -> None:
    null.run("runs", null.plan(20), noisy(null, "a", 0.3), noisy(null, "b", 0.5))
    null.run("runs", null.plan(20, seed=1), noisy(null, "c", 0.5))
    answer = invoke("compare", "--runs", null.folder / "runs", "--resamples", 200)
    assert answer.exit_code == 2
    assert [(r["A"], r["B"]) for r in tables(answer.stdout)[0]] == [("a", "b")]
    assert answer.stderr.count("cannot be compared: seed 0 against 1") == 2


def test_a_size_that_only_one_method_has_is_named(null: Any) -> None:
    null.run("runs", null.plan(20), noisy(null, "a", 0.3), noisy(null, "b", 0.5))
    null.run("runs", null.plan(20, size=64), noisy(null, "a", 0.3))
    answer = invoke("compare", "--runs", null.folder / "runs", "--resamples", 200)
    assert answer.exit_code == 0, answer.output
    assert len(tables(answer.stdout)[0]) == 1
    (note,) = [line for line in answer.stderr.splitlines() if line.startswith("note: ")]
    assert error_names(note, "a, 64 px", "nulldata 1-shot", "--size")


@pytest.mark.parametrize(
    ("change", "named"),
    [({"shot": 2}, ("1-shot, seed 0", "2-shot, seed 0")), ({"seed": 1}, ("seed 0", "seed 1"))],
)
def test_runs_that_share_no_column_are_told_apart_by_their_columns(
    null: Any, change: dict[str, int], named: tuple[str, str]
) -> None:
    for more in ({}, change):
        null.run("runs", null.plan(20, **more), noisy(null, "a", 0.3))
    answer = invoke("compare", *sorted((null.folder / "runs").iterdir()))
    assert answer.exit_code == 2
    assert all(words in answer.stderr for words in named)


def test_the_mean_over_seeds_has_the_marks_of_its_figures(null: Any) -> None:
    for seed in (0, 1):
        plan = null.plan(80, seed=seed).head(4)
        null.run("runs", plan, noisy(null, "a", 0.3), noisy(null, "b", 0.5))
    answer = invoke("compare", "--runs", null.folder / "runs", "--resamples", 50)
    assert answer.exit_code == 0, answer.output
    head, *rows = (line.split("\t") for line in answer.stdout.rpartition("\n\n")[2].splitlines())
    seeds = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row["seeds"] for row in seeds] == ["2", "2"]
    assert {row["marks"] for row in seeds} == {"capped (4 of 80 episodes)"}
    assert {row["SE of one"] for row in seeds} == {"too few queries"}
    lines = map(json.loads, invoke("compare", "--runs", null.folder / "runs", "--json").stdout.splitlines())
    assert all("capped" in " ".join(line["marks"]) for line in lines if line["kind"] == "seeds")


def records(*arguments: object) -> list[dict[str, Any]]:
    answer = invoke(*arguments, "--json")
    assert answer.exit_code == 0, answer.output
    return [row for row in map(json.loads, answer.stdout.splitlines()) if row.get("kind", "pair") == "pair"]


def test_a_subset_has_the_verdicts_of_the_whole(runs: Any) -> None:
    every = {(*r["methods"], r["shot"]): r for r in records("compare", "--runs", runs)}
    assert {r["family"] for r in every.values()} == {3}
    for two in (("good", "fair"), ("fair", "poor")):
        few = records("compare", *two, "--runs", runs)
        assert len(few) == 2
        for row in few:
            other = every.get((*two, row["shot"])) or every[*two[::-1], row["shot"]]
            for key in ("p", "holm_p", "family", "resamples", "bootstrap_seed"):
                assert row[key] == other[key], key
    answer = invoke("compare", "good", "fair", "--runs", runs)
    assert "nulldata 1-shot 3, nulldata 5-shot 3" in answer.stderr
    assert "10,000 resamples, seed 0" in answer.stderr


def test_a_report_says_of_each_pair_what_compare_says(runs: Any) -> None:
    from fssbench.reports.content.analysis import Analysis
    from fssbench.reports.content.model import build_report

    results = collect([runs])
    told = {}
    for place, compared in Analysis(results).pairs.items():
        for pair in compared:
            told[(*sorted(pair.methods), place[1])] = (pair.difference.p, pair.adjusted, pair.family)
    rows = records("compare", "--runs", runs)
    said = {(*sorted(r["methods"]), r["shot"]): (r["p"], r["holm_p"], r["family"]) for r in rows}
    assert told == said
    outcomes = {(frozenset(r["methods"]), r["shot"]): r["outcome"] for r in rows}
    for cell in results.cells:
        top = next(c for c in results.cells if c.best and c.shot == cell.shot)
        if cell is not top:
            assert cell.tied is (outcomes[frozenset((cell.method, top.method)), cell.shot] == "tie")
    statistics = build_report(results).statistics
    assert "all pairs of methods on one benchmark and shot (3 pairs each in this report)" in statistics
    assert "10,000 resamples or more, seed 0" in statistics


def test_with_too_few_queries_there_is_no_verdict_anywhere(null: Any, tmp_path: Path) -> None:
    null.run("runs", null.plan(12), noisy(null, "good", 0.1), noisy(null, "poor", 3.0))
    folder = null.folder / "runs"
    answer = invoke("compare", "--runs", folder)
    (row,) = tables(answer.stdout)[0]
    assert (row["interval"], row["p"], row["Holm p"], row["family"]) == ("-", "-", "-", "0")
    assert row["A's"].startswith("too few queries (1")
    assert "larger --episodes" in answer.stderr
    (record,) = records("compare", "--runs", folder)
    assert (record["outcome"], record["p"]) == ("too few queries", None)
    power = invoke("power", "--diff", 1, folder)
    assert power.exit_code == 2
    assert "too few queries (1" in power.stderr
    scores = invoke("score", folder)
    assert scores.stdout.count("too few queries (1") == 2
    report = invoke("report", folder, "-o", tmp_path / "report")
    assert report.exit_code == 0, report.output
    assert report.stdout.count("too few queries (1") == 2
    assert " *" not in report.stdout
    for name in ("report.html", "report.md", "report.tex"):
        text = (tmp_path / "report" / name).read_text()
        assert "too few queries (1" in text, name
        assert "nan" not in text.split(), name
    page = (tmp_path / "report" / "report.html").read_text()
    assert "every paired comparison has too few queries" in page
    assert not re.search(r"<strong[^>]*>\s*[−+]?\d", page), "no figure and no difference is bold or dotted"
    table = (tmp_path / "report" / "results.csv").read_text().splitlines()
    cells = [dict(zip(table[0].split(","), line.split(","), strict=True)) for line in table[1:]]
    assert {(c["miou_low"], c["too_few_queries"]) for c in cells} == {("", "1")}
    assert {c["best"] for c in cells} <= {"0", ""}
    stored = json.loads((tmp_path / "report" / "results.json").read_text())
    assert all(cell["miou"][3].startswith("too few queries (1") for cell in stored["cells"])


def test_names_that_are_none(runs: Any) -> None:
    answer = invoke("compare", "god", "poor", "--runs", runs)
    assert answer.exit_code == 2
    assert "unknown method or folder of runs 'god'. Did you mean good?" in answer.stderr
    alone = invoke("compare", "good", "--runs", runs)
    assert alone.exit_code == 2
    assert "nothing to compare" in alone.stderr
    assert invoke("compare", "--runs", runs.parent / "none").exit_code == 3


def test_a_folder_without_runs_is_named(runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    for folder in ("missing", "empty"):
        answer = invoke("compare", folder)
        assert answer.exit_code == 3
        assert f"no runs found in runs, and no runs found in '{folder}'" in answer.stderr
    assert "no runs found in 'empty'" in (answer := invoke("compare", runs, "empty")).stderr
    assert answer.exit_code == 2
    # beside a folder of runs, the default folder is not missed
    assert "unknown method or folder of runs 'missing'" in invoke("compare", runs, "missing").stderr
    Path("good").mkdir()  # as a folder with the plugin of the method
    assert invoke("compare", "good", "poor", "--runs", runs, "--resamples", 50).exit_code == 0


def test_names_cannot_command_the_terminal(null: Any) -> None:
    for label in ("a\x1b[31m", "b\tc"):
        (run,) = null.run("runs", null.plan(12), noisy(null, "x" + str(len(label)), 0.3))
        manifest = json.loads((run.path / "manifest.json").read_text())
        manifest["context"]["label"] = label
        (run.path / "manifest.json").write_text(json.dumps(manifest))
    answer = invoke("compare", "--runs", null.folder / "runs", "--resamples", 100)
    assert answer.exit_code == 0, answer.output
    assert "\x1b" not in answer.output
    assert len({line.count("\t") for line in answer.stdout.split("\n\n")[0].splitlines()}) == 1


class TestPower:
    def test_table_and_json_agree(self, runs: Any) -> None:
        table = invoke("power", "--diff", 2, "--resamples", 300, runs)
        assert table.exit_code == 0, table.output
        (rows,) = tables(table.stdout)
        result = [
            json.loads(line)
            for line in invoke("power", "--diff", 2, "--resamples", 300, runs, "--json").stdout.splitlines()
        ]
        assert len(rows) == len(result) == 6
        for row, data in zip(rows, result, strict=True):
            assert [row["A"], row["B"]] == data["methods"]
            assert row["SE"] == f"{data['standard_error']:.2f}"
            assert row["episodes needed"] == str(data["episodes_needed"])
            assert (data["difference"], data["power"], data["episodes"]) == (2, 0.8, 60)
            assert row["queries"] == str(data["queries"])
        assert "More episodes with the same queries help little" in table.stderr

    def test_more_power_takes_more(self, runs: Any) -> None:
        needed = [
            json.loads(invoke("power", "--diff", 1, "--power", p, runs, "--json").stdout.splitlines()[0])[
                "episodes_needed"
            ]
            for p in (0.5, 0.8, 0.95)
        ]
        assert needed == sorted(set(needed))

    def test_nothing_to_tell_from(self, null: Any) -> None:
        null.run("runs", null.plan(20), noisy(null, "a", 0.3))
        null.run("runs", null.plan(20, seed=1), noisy(null, "b", 0.3))
        answer = invoke("power", "--diff", 1, null.folder / "runs")
        assert answer.exit_code == 2
        assert "no two methods have runs on the same episodes" in answer.stderr
        assert "a and b on nulldata: seed 0 against 1" in answer.stderr
        assert invoke("power", null.folder / "runs").exit_code == 2
        assert invoke("power", "--diff", 0, null.folder / "runs").exit_code == 2
