"""Examples: which are chosen, what is drawn of them, and how the page shows and filters them."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fssbench.reports.formats.html import render_page
from fssbench.reports.sections import gallery as gallery_module, overlays
from fssbench.reports.sections.gallery import Budget, Group, make_galleries
from fssbench.reports.sections.gallery_choice import choose_episodes
from hypothesis import given, strategies as st
from PIL import Image
from report_factory import add_panels, make_cell, make_run

from fssbench.api import Cell, DataError, Panel, Pictures, Results, build_legend

TRUTH = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [255, 255, 255, 255]], np.uint8)
FOUND = np.array([[0, 1, 0, 1], [0, 1, 0, 1], [0, 1, 0, 1]], bool)


def cell(method: str, scores: dict[int, float], *, fold: int = 0, miou: float = 50.0, sha: str = "s") -> Cell:
    """A cell of one run that keeps some episodes, of given IoU."""
    panels = tuple(Panel(i, f"class {i % 2}", iou, lambda: 1 / 0) for i, iou in scores.items())
    made = _base()
    run = replace(made.folds[0], method=method, label=method, fold=fold, plan_sha256=sha, panels=panels)
    return replace(made, label=method, folds={fold: run}, miou=replace(made.miou, value=miou))


@cache
def _base() -> Cell:
    return make_cell([make_run(episodes=40)])


def told(cells: list[Cell]) -> list[tuple[int, list[str]]]:
    picks, _ = choose_episodes(cells, [c.label for c in cells])
    return [(p.index, [wording for _, wording in p.reasons]) for p in picks]


# --- choice ---------------------------------------------------------------------------------------


def test_best_median_worst_of_the_best_method_then_the_disputed_then_the_others():
    a = cell("a", {0: 10, 1: 90, 2: 50, 3: 60, 4: 40}, miou=40)
    b = cell("b", {0: 20, 1: 95, 2: 55, 3: 5, 4: 45}, miou=60)
    assert told([a, b]) == [
        (1, ["best of b", "disputed, IoU differs by 5.0", "best of a"]),
        (4, ["median of b"]),
        (3, ["worst of b", "disputed, IoU differs by 55.0"]),
        (0, ["disputed, IoU differs by 10.0", "worst of a"]),
        (2, ["median of a"]),
    ]
    assert choose_episodes([a, b], "ab")[1] == 5


def test_one_method_has_nothing_disputed():
    assert told([cell("a", {3: 10, 7: 20, 9: 30})]) == [
        (9, ["best of a"]),
        (7, ["median of a"]),
        (3, ["worst of a"]),
    ]
    assert told([cell("a", {3: 10, 7: 20})]) == [(7, ["best of a"]), (3, ["worst of a"])]
    assert told([cell("a", {3: 10})]) == [(3, ["best of a"])]


def test_equal_methods_are_not_disputed_and_equal_episodes_are_taken_in_order():
    both = [cell(name, dict.fromkeys(range(4), 50.0)) for name in ("a", "b")]
    assert all("disputed" not in w for _, wordings in told(both) for w in wordings)
    assert told(both)[0][0] == 0


def test_episodes_without_an_iou_are_never_chosen():
    nan = float("nan")
    cells = [cell("a", {0: nan, 1: 30, 2: 60}), cell("b", {0: nan, 1: nan, 2: 10})]
    assert {index for index, _ in told(cells)} == {1, 2}
    assert choose_episodes([cell("a", {0: nan})], ["a"])[0] == []
    assert choose_episodes([cell("a", {})], ["a"]) == ([], 0)


def test_folds_and_plans_are_other_episodes():
    cells = [cell("a", {0: 10}, fold=0), cell("b", {0: 90}, fold=1), cell("c", {0: 50}, fold=0, sha="other")]
    picks, kept = choose_episodes(cells, "abc")
    assert kept == 3
    assert all(len(pick.answers) == 1 for pick in picks)
    assert not any("disputed" in wording for pick in picks for _, wording in pick.reasons)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=30))
def test_extremes_are_the_extremes(scores):
    cells = [
        cell(name, {i: pair[n] for i, pair in enumerate(scores)}, miou=9 - n) for n, name in enumerate("ab")
    ]
    picks, _ = choose_episodes(cells, "ab")
    by_reason = {wording: pick.index for pick in picks for _, wording in pick.reasons}
    for n, name in enumerate("ab"):
        mine = [pair[n] for pair in scores]
        assert mine[by_reason[f"best of {name}"]] == max(mine)
        if len(set(mine)) > 1:
            assert mine[by_reason[f"worst of {name}"]] == min(mine)
        if f"median of {name}" in by_reason:
            middle = mine[by_reason[f"median of {name}"]]
            assert sum(m > middle for m in mine) <= len(mine) / 2
            assert sum(m < middle for m in mine) <= len(mine) / 2
    gaps = sorted((abs(a - b) for a, b in scores), reverse=True)
    disputed = [i for w, i in by_reason.items() if w.startswith("disputed")]
    for index in disputed:
        assert abs(scores[index][0] - scores[index][1]) >= gaps[min(2, len(gaps) - 1)]


# --- drawing --------------------------------------------------------------------------------------


def opened(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(int)


def pictures(truth=TRUTH, prediction=FOUND) -> Pictures:
    query = Image.new("RGB", truth.shape[::-1], (0, 0, 255))
    return Pictures(query, truth, prediction, ((query, truth == 1),))


def test_error_map_is_made_of_the_masks():
    kinds = overlays.classify_pixels(pictures())
    o, r, f, m, v = overlays.OUTSIDE, overlays.RIGHT, overlays.FALSE, overlays.MISSED, overlays.VOID
    assert kinds.tolist() == [[o, f, m, r], [o, f, m, r], [v, v, v, v]]
    perfect = overlays.classify_pixels(pictures(prediction=TRUTH == 1))
    assert not set(np.unique(perfect)) & {f, m}


def test_error_kinds_differ_in_colour_in_grey_and_in_pattern():
    shown = {kind: opened(overlays.draw_error_map(np.full((30, 30), kind, np.uint8))) for kind in range(5)}
    colours = {kind: {tuple(c) for c in pixels.reshape(-1, 4)} for kind, pixels in shown.items()}
    assert [len(colours[k]) for k in range(5)] == [1, 1, 2, 2, 1]
    assert not any(colours[a] & colours[b] for a in range(5) for b in range(a))
    assert (shown[overlays.FALSE][..., 0] > 200).mean() > 0.5  # most of it in its own colour
    # red and green weigh little for who cannot tell them apart: blue, or lightness, must differ as well
    plain = [
        np.array(max(colours[k], key=lambda c: (shown[k].reshape(-1, 4) == c).all(1).sum()))
        for k in (1, 2, 3)
    ]
    for n, one in enumerate(plain):
        for other in plain[:n]:
            light = abs((one - other)[:3] @ (0.3, 0.6, 0.1))
            assert max(light, abs(one - other)[2]) > 60


def test_overlays_let_the_query_through_and_keep_its_shape():
    drawn = opened(overlays.draw_mask(TRUTH == 1, TRUTH == 255))
    assert drawn.shape == (3, 4, 4)
    assert (drawn[..., 3] > 0).all()
    assert drawn[0, 0, 3] < 255
    assert len({tuple(drawn[2, x]) for x in range(4)}) == 1
    assert tuple(drawn[2, 0]) != tuple(drawn[0, 0])


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 7)])
def test_pictures_of_few_colours_are_whole_png_files(size: tuple[int, int]) -> None:
    values = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size) % 16
    colours = {n: (n, 2 * n, 255 - n, 9 * n) for n in range(16)}
    file = base64.b64decode(overlays._encode_png(values, colours).partition(",")[2])
    Image.open(io.BytesIO(file)).verify()
    drawn = np.asarray(Image.open(io.BytesIO(file)).convert("RGBA"))
    assert drawn.tolist() == [[list(colours[int(n)]) for n in row] for row in values]


def test_foreground_of_a_support_is_tinted():
    foreground = np.zeros((32, 32), bool)
    foreground[:, :16] = True
    shown = opened(overlays.draw_photo(Image.new("RGB", (32, 32), (0, 0, 255)), foreground))
    assert shown[16, 4, 0] > 90 > shown[16, 4, 2] - 90
    assert shown[16, 28, 2] > 200
    assert len(overlays.draw_swatch(overlays.FALSE)) < 400


# --- groups ---------------------------------------------------------------------------------------


def one(cells, budget=None, legend=None) -> Group:
    ((group,),) = make_galleries([cells], legend or {}, budget or Budget())
    return group


def test_examples_line_methods_up(tmp_path: Path) -> None:
    runs = [add_panels(make_run(m, fold=f), tmp_path) for m in ("pmnet", "hsnet") for f in (0, 1)]
    budget = Budget()
    group = one([make_cell(runs[i : i + 2]) for i in (0, 2)], budget)
    assert group.methods == ("pmnet", "hsnet")
    assert {e.title.split("(")[1][:6] for e in group.examples} == {"fold 0", "fold 1"}
    for example in group.examples:
        assert [p.caption for p in example.pictures] == ["support", "query", "truth"]
        assert [f.method for f in example.answers] == [0, 1]
        assert [[p.caption for p in f.pictures] for f in example.answers] == [["prediction", "errors"]] * 2
        assert all(re.fullmatch(r"(pm|hs)net, IoU \d+\.\d", f.caption) for f in example.answers)
        assert all(p.alt for p in (*example.pictures, *(p for f in example.answers for p in f.pictures)))
    assert (budget.unreadable, budget.dropped) == (0, 0)
    assert group.basis.startswith("the 6 of 400 episodes whose pictures are stored")


def test_numbers_of_the_alternative_text_are_those_of_the_masks(tmp_path: Path) -> None:
    run = add_panels(make_run(), tmp_path, 1, **vars(pictures()))
    (example,) = one([make_cell([run])]).examples
    _, errors = example.answers[0].pictures
    assert errors.alt == "Error map of pmnet: 25 % of the pixels found, 25 % false, 25 % missed"
    assert example.pictures[-1].alt == "Truth: aeroplane, 33 % of the query, tinted"


def test_all_episodes_kept_is_said(tmp_path: Path) -> None:
    run = add_panels(make_run(episodes=3), tmp_path, 3)
    assert one([make_cell([run])]).basis == "all 3 episodes"


def test_iou_of_an_example_carries_its_marks(tmp_path: Path) -> None:
    run = add_panels(make_run(marks=("untrained", "miniature")), tmp_path)
    assert one([make_cell([run])], legend=build_legend(run.marks)).examples[0].answers[0].marks == "UM"


def test_methods_of_one_label_are_told_apart(tmp_path: Path) -> None:
    runs = [add_panels(make_run(backbone=b), tmp_path) for b in ("resnet50", "vgg16")]
    assert one([make_cell([run]) for run in runs]).methods == ("pmnet, resnet50", "pmnet, vgg16")
    assert one([make_cell([runs[0]])] * 2).methods[1].endswith("(2)")


def test_examples_stay_within_their_budget(tmp_path: Path) -> None:
    cell = make_cell([add_panels(make_run(), tmp_path)])
    whole = Budget()
    one([cell], whole)
    spent = gallery_module.BUDGET - whole.left
    for share in range(0, spent, spent // 5):
        budget = Budget(left=share)
        (groups,) = make_galleries([[cell]], {}, budget)
        shown = sum(len(g.examples) for g in groups)
        assert budget.left >= 0
        assert budget.dropped == 3 - shown
    exact = Budget(left=spent)
    one([cell], exact)
    assert (exact.left, exact.dropped) == (0, 0)


def test_benchmarks_share_the_budget(tmp_path: Path) -> None:
    cells = [make_cell([add_panels(make_run(benchmark=b, shot=k), tmp_path)]) for b in "xy" for k in (1, 5)]
    budget = Budget()
    ((one_shot, five_shot), second) = make_galleries([cells[:2], cells[2:]], {}, budget)
    needed = gallery_module.BUDGET - budget.left
    scarce = Budget(left=needed * 2 // 3)
    shown = make_galleries([cells[:2], cells[2:]], {}, scarce)
    assert all(len(groups) == 2 for groups in shown)
    assert scarce.dropped > 0
    assert (one_shot.shot, five_shot.shot, len(second)) == (1, 5, 2)


def test_number_of_episodes_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_module, "MOST", 2)
    budget = Budget()
    group = one([make_cell([add_panels(make_run(), tmp_path, 9)])], budget)
    assert (len(group.examples), budget.dropped) == (2, 1)


def test_damaged_pictures_are_told_and_stop_nothing(tmp_path: Path) -> None:
    def damaged() -> Pictures:
        raise DataError("damaged")

    run, other = (add_panels(make_run(m), tmp_path) for m in ("pmnet", "hsnet"))
    panels = tuple(replace(p, pictures=damaged) if p.index == 0 else p for p in run.panels)
    run = replace(run, panels=panels)
    cells = (make_cell([run]), make_cell([other]))
    page = render_page(Results((run, other), cells, 200, 0))
    assert re.search(r"1 example picture could not be read", page)
    budget = Budget()
    assert {len(e.answers) for e in one(list(cells), budget).examples} == {1, 2}
    nothing = replace(run, panels=panels[:1])
    assert make_galleries([[make_cell([nothing])]], {}, budget) == [()]


def test_overlay_of_another_shape_is_not_laid_over_the_query(tmp_path: Path) -> None:
    run = add_panels(make_run(), tmp_path, 1)
    other = add_panels(make_run("hsnet"), tmp_path, 1, **vars(pictures()))
    budget = Budget()
    (example,) = one([make_cell([run]), make_cell([other])], budget).examples
    assert (len(example.answers), budget.unreadable) == (1, 1)


# --- the page -------------------------------------------------------------------------------------


def test_page_has_filters_and_no_script(whole_page: Path) -> None:
    page = whole_page.read_text(encoding="utf-8")
    start = page.index('<section id="episodes"')
    section = page[start : page.index("</section>", start)]
    assert section.count('<details class="gallery"') == 4
    assert section.count('<details class="gallery" open') == 1
    assert section.count('type="checkbox" checked') == 4 * 3
    names = re.findall(r'type="radio" name="([^"]+)"', section)
    assert len(set(names)) == 8  # choice and class of each group
    assert ".gallery:has(.f-m2:not(:checked)) .m2{display:none}" in section
    assert ".gallery:has(.f-k-disputed:checked) .example:not(.k-disputed){display:none}" in section
    used = set(re.findall(r'class="f-([\w-]+)"', section))
    ruled = set(re.findall(r"\.f-([\w-]+):", section))
    assert used <= ruled
    assert not re.search(r"<img (?![^>]*alt=)", section)
    assert "<script" not in page


def test_page_without_pictures_has_no_gallery() -> None:
    run = make_run()
    assert 'id="episodes"' not in render_page(Results((run,), (make_cell([run]),), 200, 0))


@pytest.mark.timeout(120)
def test_full_gallery_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is the dearest picture there is; the cap holds whatever comes."""
    draw = np.random.default_rng(0)
    noisy = draw.random((128, 128)) < 0.5
    photo = Image.fromarray(draw.integers(0, 256, (128, 128, 3), dtype=np.uint8))
    dear = {
        "query": photo,
        "truth": noisy.astype(np.uint8),
        "prediction": ~noisy,
        "supports": ((photo, noisy),),
    }
    cells = [
        make_cell([add_panels(make_run(f"m{m}", f"b{b}"), tmp_path, 10, **dear)])
        for b in range(2)
        for m in range(7)
    ]
    monkeypatch.setattr(gallery_module, "BUDGET", 400_000)
    budget = Budget(400_000)
    by_benchmark = [[c for c in cells if c.benchmark == f"b{b}"] for b in range(2)]
    shown = make_galleries(by_benchmark, {}, budget)
    assert all(shown)
    assert budget.left >= 0
    assert budget.dropped > 0
    embedded = sum(
        len(e.query) + sum(len(p.uri) for p in (*e.pictures, *(p for f in e.answers for p in f.pictures)))
        for (group,) in shown
        for e in group.examples
    )
    assert embedded == 400_000 - budget.left
    assert Budget().left == 6_000_000
