"""The presentation model: what is printed, where, and what it says of itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from fssbench.reports.content.comparison import Comparison, compare_with_paper as compare_with
from fssbench.reports.content.model import Report, build_report
from fssbench.reports.content.text import (
    clean,
    format_difference,
    format_interval,
    format_parameters,
    format_percent,
)
from manifests import make_manifest
from report_factory import make_cell, make_results, make_run, share_results

from fssbench.api import MARK_MEANINGS, Cell, Estimate, Results, build_legend, mark_kind, mark_letters
from fssbench.runs.marks import make_counted_marks


def compare(cell: Cell) -> list[Comparison]:
    return compare_with(cell, build_legend(m for run in cell.folds.values() for m in run.marks))


@pytest.fixture(scope="module")
def report() -> Report:
    return build_report(share_results(("capped (200 of 1000 episodes)",)))


def test_sections_rows_and_columns(report: Report) -> None:
    assert [s.id for s in report.sections] == ["pascal5i", "pascal-to-isic2018:isic1"]
    names = [(c.shot, c.name) for c in report.sections[0].columns]
    folds = ["Fold 0", "Fold 1", "Fold 2", "Fold 3", "mIoU", "FB-IoU", "Episodes"]
    assert names == [(shot, name) for shot in (1, 5) for name in folds]
    assert [c.name for c in report.sections[1].columns] == ["mIoU", "FB-IoU", "Episodes"] * 2
    for section in report.sections:
        assert [row.label for row in section.rows] == ["pmnet", "hsnet", "panet"]
        assert all(len(row.entries) == len(section.columns) for row in (*section.rows, *section.published))


def test_numbers_carry_interval_marks_and_count() -> None:
    results = share_results(("capped (200 of 1000 episodes)",))
    row = build_report(results).sections[0].rows[1]
    cell = next(c for c in results.cells if c.method == "hsnet" and c.shot == 1)
    mean, episodes = row.entries[4], row.entries[6]
    assert mean.text == f"{cell.miou.value:.1f}"
    assert mean.interval == f"[{cell.miou.low:.1f}, {cell.miou.high:.1f}]"
    assert mean.marks == "CU"
    assert episodes.text == "800"
    assert row.learnable == "2.57 M"
    assert "published/1" in row.detail


def test_best_and_tied_are_bold_in_the_mean_only(report: Report) -> None:
    best = report.sections[0].rows[0].entries
    assert [e.bold for e in best] == [False] * 4 + [True, False, False] + [False] * 4 + [True, False, False]
    results = share_results()
    tied = replace(results, cells=tuple(replace(c, best=False, tied=True) for c in results.cells))
    assert all(row.entries[4].bold for row in build_report(tied).sections[0].rows)


def test_legend_counts_and_explains(report: Report) -> None:
    assert (report.marked, report.total) == (30, 30)
    assert {m.letter: m.kind for m in report.legend} == {"C": "capped", "U": "untrained"}
    assert report.legend[0].wordings == ("capped (200 of 1000 episodes)",)
    assert build_report(share_results()).legend == ()


def test_missing_folds_mark_the_mean() -> None:
    cell = make_cell([make_run(fold=f) for f in (0, 2)], missing=(1, 3))
    report = build_report(Results(tuple(cell.folds.values()), (cell,), 200, 0))
    entries = report.sections[0].rows[0].entries
    assert [e.text for e in entries[1:4:2]] == ["–", "–"]
    assert entries[4].marks == "F"
    assert entries[0].marks == ""
    assert report.legend[0].wordings == ("folds (mean over 0, 2; 1, 3 not run)",)


def test_published_rows_stand_beside(report: Report) -> None:
    pascal, isic = (s.published for s in report.sections)
    pmnet = next(r for r in pascal if r.label == "PMNet")
    assert [e.text for e in pmnet.entries[:7]] == ["67.3", "72.0", "62.4", "59.9", "65.4", "–", "–"]
    assert pmnet.learnable == "0.68 M"
    assert len(pascal) == 13  # eleven of Table 1 and the two ablations
    assert {r.backbone for r in pascal} == {"resnet50"}
    patnet = next(r for r in isic if r.label == "PATNet")
    assert "variant isic3" in patnet.detail
    assert any("PANet" in note for note in patnet.notes)


def test_published_rows_of_resnet50_where_ours_has_another_backbone() -> None:
    results = make_results(backbone="efficientnet-lite0")
    section = build_report(results).sections[0]
    assert {r.backbone for r in section.published} == {"resnet50"}
    assert all("backbone" in c.reasons[0] for c in section.comparisons)


def test_second_cell_of_a_shot_is_not_swallowed() -> None:
    full, capped = make_cell([make_run()]), make_cell([make_run(slug="again", marks=("capped (3 of 9)",))])
    report = build_report(Results((full.folds[0], capped.folds[0]), (full, capped), 200, 0))
    assert len(report.sections[0].rows) == 2


def test_comparison_of_like_with_like() -> None:
    (beside,) = compare(make_cell([make_run("hsnet", fold=f) for f in range(4)]))
    assert (beside.printed, beside.fold, beside.same, beside.reasons) == ("64.0", "mean", True, ())
    assert beside.difference == format_difference(
        float(make_cell([make_run("hsnet", fold=f) for f in range(4)]).miou.value) - 64
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"backbone": "vgg16"}, "backbone vgg16, the paper's is resnet50"),
        ({"protocol": "fssbench/1"}, "protocol fssbench/1"),
        ({"score_size": "original"}, "scored at original size"),
        ({"marks": ("untrained",)}, "untrained"),
    ],
)
def test_comparison_names_every_difference(change: dict[str, str], reason: str) -> None:
    (beside,) = compare(make_cell([make_run("hsnet", fold=f, **change) for f in range(4)]))
    assert not beside.same
    assert beside.marks == ("U" if "marks" in change else "")
    assert any(reason in r for r in beside.reasons)


@pytest.mark.parametrize(
    "mark",
    [
        "other lists (pascal val fold 0: 20 entries, the reference has 346)",
        "other population (3,694 entries, published 2,594)",
        "query among its supports (3 of 1000 episodes)",
    ],
)
def test_other_lists_and_populations_are_no_same_measurement(mark: str) -> None:
    (beside,) = compare(make_cell([make_run("hsnet", fold=f, marks=(mark,)) for f in range(4)]))
    assert not beside.same
    assert mark in beside.reasons
    assert next(c for c in beside.checks if c.name == "data and training").same is False


def test_what_published_figures_contain_too_is_marked_and_the_same_measurement() -> None:
    (mark,) = make_counted_marks(Counter(["resized"]), 2)
    (beside,) = compare(make_cell([make_run("hsnet", fold=f, marks=(mark,)) for f in range(4)]))
    assert beside.same
    assert beside.marks == "A"
    (doubtful,) = make_counted_marks(Counter(["full"]), 2)
    (beside,) = compare(make_cell([make_run("hsnet", fold=f, marks=(doubtful,)) for f in range(4)]))
    assert not beside.same


def test_every_known_kind_of_mark_has_a_letter_of_its_own_and_a_meaning() -> None:
    legend = build_legend(MARK_MEANINGS)
    assert len({m.letter for m in legend.values()}) == len(legend) == len(MARK_MEANINGS)


def test_marks_that_begin_with_other_are_told_apart() -> None:
    marks = ["other lists (a: b)", "other population (3 entries)", "other source (coco instead of pascal)"]
    legend = build_legend(marks)
    assert len({m.letter for m in legend.values()}) == 3
    assert all(m.meaning for m in legend.values())
    assert mark_kind("other") == "other"


def test_comparison_across_variants_is_none() -> None:
    (isic3,) = compare(make_cell([make_run("pmnet", "pascal-to-isic2018:isic3")]))
    assert not isic3.same
    assert "variant isic3, the paper's is isic1" in isic3.reasons
    (isic1,) = compare(make_cell([make_run("pmnet", "pascal-to-isic2018:isic1")]))
    assert isic1.same


def test_comparison_fold_by_fold_where_folds_are_missing() -> None:
    beside = compare(make_cell([make_run(fold=f) for f in (1, 3)], missing=(0, 2)))
    assert [(b.fold, b.printed) for b in beside] == [("1", "72.0"), ("3", "59.9")]


def test_ablations_find_their_row() -> None:
    cell = make_cell(
        [make_run(fold=f, ablations=("b3dconv",), label="pmnet (w/o b3dconv)") for f in range(4)]
    )
    assert [b.printed for b in compare(cell)] == ["64.0"]


def test_unknown_method_or_benchmark_has_no_counterpart() -> None:
    assert compare(make_cell([make_run("mine")])) == []
    cell = make_cell([make_run(benchmark="my-plugin-data")])
    section = build_report(Results((cell.folds[0],), (cell,), 200, 0)).sections[0]
    assert (section.title, section.facts, section.published) == ("my-plugin-data", (), ())


def test_provenance_has_classes_and_environment(report: Report) -> None:
    run = report.sections[0].runs[0]
    assert [name for name, _ in run.classes] == ["aeroplane", "bicycle", "bird", "boat", "bottle"]
    assert len(run.identity) == len(run.plan) == 12
    assert run.episodes == "200 of 200"
    assert dict(report.environment) == {"python": "3.11.7", "packages.torch": "2.13.0", "threads": "1"}


def test_values_that_differ_between_runs_are_all_listed() -> None:
    cells = [
        make_cell([make_run(m, manifest=make_manifest(context={"threads": n}))])
        for m, n in (("pmnet", 1), ("hsnet", 8))
    ]
    results = Results(tuple(c.folds[0] for c in cells), tuple(cells), 200, 0)
    assert dict(build_report(results).environment) == {"threads": "1; 8"}


def test_marks_of_one_kind_share_a_letter() -> None:
    legend = build_legend(
        ["sample (3 of 9 items)", "sample (4 of 9 items)", "odd (one)", "even", "odd (two)"]
    )
    assert [m.letter for m in legend.values()] == ["S", "a", "c"]  # b is the letter of batches
    assert mark_letters(["odd (two)", "sample (4 of 9 items)", "odd (one)"], legend) == "aS"
    assert mark_kind("") == "marked"


def test_how_numbers_are_written() -> None:
    assert [format_percent(v) for v in (64.05, 0.0, 100.0, float("nan"))] == ["64.0", "0.0", "100.0", "–"]
    assert format_interval(Estimate(1, float("nan"), 2)) == ""
    assert [format_difference(v) for v in (1.25, -1.25, 0.0)] == ["+1.2", "−1.2", "+0.0"]
    assert [format_parameters(n) for n in (0, 999, 7_174, 675_362, 2_573_794)] == [
        "0",
        "999",
        "7.2 k",
        "0.68 M",
        "2.57 M",
    ]
    assert clean("a\u202eb\x00c\n d") == "a⟨202E⟩b⟨00⟩c  d"
