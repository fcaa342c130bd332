"""Figures do not mislead: gaps, axes, looks that differ without colour, equal text for equal results."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from fssbench.reports.content.breakdown import split_by_class
from fssbench.reports.figures import bars, dots, radar, scatter, sizes, style
from fssbench.reports.figures.drawing import Drawing, make_slug
from fssbench.reports.figures.svg import make_inline
from fssbench.reports.sections.drawings import list_drawings, select_classes
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from report_factory import make_cell, make_run

from fssbench.api import Estimate, Results


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 2, value + 2)


def lines(figure: object) -> int:
    return sum(len(axes.lines) for axes in figure.axes)  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", range(radar.FEWEST_AXES, radar.MOST_AXES + 1))
def test_a_missing_number_is_a_gap_in_the_radar(count: int) -> None:
    names = [f"b{i}" for i in range(count)]
    whole = [estimate(50.0 + i) for i in range(count)]
    with style.apply_style():
        full = lines(radar.draw(names, {"a": whole}, 80))
        gap = lines(radar.draw(names, {"a": [None, *whole[1:]]}, 80))
    # one marker, one interval and the two edges that meet there; nothing is drawn at zero
    assert full - gap == 4


def test_the_radar_has_one_scale_and_says_so() -> None:
    assert [radar.find_end(v) for v in ([10.0], [20.0], [20.1], [97.0], [120.0], [float("nan")], [])] == [
        20, 20, 40, 100, 100, 20, 20,
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "drawn"), [(2, False), (3, False), (4, True), (5, True)])
def test_a_radar_has_four_axes_or_more(count: int, drawn: bool) -> None:
    cells = [make_cell([make_run(m, f"pascal-to-{i}")]) for i in range(count) for m in ("pmnet", "panet")]
    runs = tuple(run for cell in cells for run in cell.folds.values())
    names = [d.name for d in list_drawings(Results(runs, tuple(cells), 200, 0)) if d.place == "summary/1"]
    assert names == ["radar-1-shot", "dots-1-shot"][not drawn :]


def test_things_differ_in_more_than_colour() -> None:
    looks = [style.pick_look(i) for i in range(style.MOST)]
    assert len({look.colour for look in looks}) == len({look.marker for look in looks}) == style.MOST
    assert style.pick_look(style.MOST) == looks[0]


def test_seven_methods_are_drawn_and_the_others_are_told() -> None:
    cells = [make_cell([make_run(f"method{i}")]) for i in range(9)]
    results = Results(tuple(r for c in cells for r in c.folds.values()), tuple(cells), 200, 0)
    summary = next(d for d in list_drawings(results) if d.place.startswith("summary"))
    assert "7 of 9 methods" in summary.caption


def test_a_figure_is_one_element_with_a_name() -> None:
    made = Drawing(
        "x-1",
        "p",
        "A <title>",
        "A & caption",
        lambda: dots.draw(["r"], {"a": [dots.Dot(estimate(5), hollow=True)]}),
    )
    svg = make_inline(made)
    assert svg == make_inline(replace(made))  # a second figure, drawn anew
    assert svg.startswith("<svg")
    assert '<title id="x-1-title">A &lt;title&gt;</title>' in svg
    assert 'role="img"' in svg
    assert "currentColor" in svg
    assert style.INK not in svg
    assert not re.search(r"xmlns|<\?xml|<metadata|width=\"\d+pt", svg)
    assert all(name.startswith("x-1-") for name in re.findall(r'\sid="([^"]+)"', svg))


def test_points_of_a_scatter_are_never_chosen_by_value() -> None:
    for count in (1, 399, 400, 401, 1000, 12345):
        rows = scatter.choose_points(count)
        assert len(rows) <= scatter.MOST
        assert len(set(np.diff(rows).tolist())) <= 1
    assert scatter.choose_points(400).tolist() == list(range(400))


def test_bars_and_sizes_leave_out_what_is_not_there() -> None:
    nothing = Estimate(float("nan"), float("nan"), float("nan"))
    with style.apply_style():
        figure = bars.draw(["a", "b"], {"m": [estimate(5), None], "n": [nothing, estimate(7)]})
        assert len(figure.axes[0].patches) == 2
        by_shot = {1: {"m": [estimate(5), nothing, estimate(6)]}}
        panel = sizes.draw(["below 1 %", "1 to 5 %", "5 to 15 %"], {1: [3, 0, 4]}, by_shot, ["m"]).axes[0]
        assert len(panel.lines) == 4  # two whiskers of line and marker; no line across the gap
        assert panel.get_ylim()[0] == 0


def test_parts_follow_from_the_counts() -> None:
    """Against sums written out by hand."""
    run = make_run()
    (classes,) = split_by_class([make_cell([run])], resamples=50, seed=0)
    for part in classes:
        rows = [i for i in range(run.episodes) if run.class_ids[i] == part.key]
        expected = 100 * sum(int(run.inter[i, 1]) for i in rows) / sum(int(run.union[i, 1]) for i in rows)
        assert part.iou.value == pytest.approx(expected, abs=1e-9)
        assert part.episodes == len(rows)
        assert part.iou.low < part.iou.value < part.iou.high


def test_of_many_classes_the_lowest_and_highest_are_picked() -> None:
    run = make_run()
    (parts,) = split_by_class([make_cell([run])], resamples=10, seed=0)
    order = sorted(parts, key=lambda p: p.iou.value)
    kept = select_classes([parts], 4)
    assert {key for key, _ in kept} == {p.key for p in (*order[:2], *order[-2:])}
    assert len(select_classes([parts], 99)) == len(parts)


def test_names_are_safe_in_ids_and_files() -> None:
    assert make_slug("../a b:c\n<d>") == "a-b-c-d"
    assert make_slug("日本") == "x"


def draw_axes(limits: tuple[float, float], up: style.Scale) -> Axes:
    figure = style.make_figure(2.0, [])
    axes = figure.add_subplot()
    axes.set_ylim(*limits)
    style.draw_scales(axes, style.Scale("across", ticks=([0.2, 0.8], ["low", "high"])), up)
    return axes


def test_a_scale_shows_the_ticks_it_is_given() -> None:
    with style.apply_style():
        axes = draw_axes((0, 1), style.Scale("up", texts=False, grid=False))
    texts = {text.get_text(): text.get_position() for text in axes.texts}
    assert texts == {"low": (0.2, 0), "high": (0.8, 0), "across": (0.5, 0), "up": (0, 0.5)}
    (grid,) = axes.collections
    assert [line[0][0] for line in grid.get_segments()] == [0.2, 0.8]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "limits", [(0, 100), (37.2, 41.9), (45.0001, 45.0003), (100, 0), (0, 3e-7), (0, 2e8)]
)
def test_the_texts_of_a_scale_are_the_values_at_their_places(limits: tuple[float, float]) -> None:
    """No text is short for a sum or a product, and no tick lies outside."""
    with style.apply_style():
        axes = draw_axes(limits, style.Scale())
    shown = [
        (t.get_position()[1], t.get_text()) for t in axes.texts if t.get_ha() == "right" and t.get_text()
    ]
    assert len(shown) > 1
    for place, text in shown:
        assert min(limits) <= place <= max(limits)
        assert float(text.replace("\N{MINUS SIGN}", "-")) == pytest.approx(place, rel=1e-9, abs=1e-15)


def test_a_legend_names_each_thing_once_without_overlap() -> None:
    names = ["pmnet", "a method with a long name", "hsnet (width=64)", "x", "日本語の方法", "ssp", "vat"]
    with style.apply_style():
        figure = style.make_figure(2.0, names)
        style.draw_legend(figure, names, [style.pick_look(m) for m in range(len(names))], lines=True)
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = {text.get_text(): text.get_window_extent(renderer) for text in figure.texts}
    assert list(boxes) == style.shorten_labels(names, 24)
    assert len(figure.get_children()) == 1 + 2 * len(names)  # the background; a line and a name each
    every = list(boxes.values())
    assert not [(a, b) for n, a in enumerate(every) for b in every[n + 1 :] if a.overlaps(b)]
    top = figure.bbox.height * figure.subplotpars.top
    assert all(top < box.y0 and box.y1 <= figure.bbox.height for box in every)
