"""All figures of a report, in the order in which they are shown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np

from fssbench.api import (
    Cell,
    Estimate,
    Results,
    RunResult,
    Split,
    compute_episode_ious,
    describe_count,
    name_strata,
)

from ..content.analysis import Analysis, Place, analyse, describe_protocols
from ..content.breakdown import Part
from ..content.text import clean, describe_span, format_count, format_difference, format_difference_interval
from ..figures import bars, costs, dots, radar, scatter, sizes
from ..figures.drawing import Drawing, make_slug
from ..figures.style import MOST
from .efficiency import describe_cost_source, make_cost_points

CLASSES = 20
"""Number of classes in one figure.  If there are more, those with the lowest and the highest IoU are shown."""
_INTERVALS = ", 95 % intervals"
_PARTS = f" in all{_INTERVALS}"
METHODS = 3
"""Number of methods in figures that have many numbers per method."""


_LISTED: WeakKeyDictionary[Analysis, tuple[Drawing, ...]] = WeakKeyDictionary()


def list_drawings(results: Results) -> tuple[Drawing, ...]:
    """Return every figure of the results.

    The reporters of one report share them, so that each is drawn once.
    """
    analysis = analyse(results)
    if analysis not in _LISTED:
        _LISTED[analysis] = (
            *_draw_summary(analysis),
            *_draw_benchmarks(analysis),
            *_draw_classes(analysis),
            *_draw_scatters(analysis),
            *(drawing for split in Split for drawing in _draw_strata(analysis, split)),
            *_draw_costs(analysis),
        )
    return _LISTED[analysis]


def describe_basis(cells: Iterable[Cell], what: str = f" per point{_INTERVALS}") -> str:
    """Describe what a figure is based on: episodes, interval, protocol, and the marks of its numbers."""
    listed = list(cells)
    episodes = describe_span({cell.episodes for cell in listed}, "episode")
    protocols = describe_protocols(listed)
    marks = dict.fromkeys(clean(m).partition(" (")[0] for cell in listed for m in cell.marks)
    warning = f" Not benchmark figures: {', '.join(marks)}." if marks else ""
    shortages = [cell.miou.shortage for cell in listed if cell.miou.shortage]
    reasons = list(dict.fromkeys(shortages))
    listed_reasons = f"{', '.join(reasons[:3])}{' and others' if len(reasons) > 3 else ''}"
    lacking = f" Missing intervals: {listed_reasons}." if reasons else ""
    if len(shortages) == len(listed) and _INTERVALS in what:
        what = what.replace(_INTERVALS, "")
        lacking = f" There is no interval: {listed_reasons}."
    return f"{episodes}{what}, protocol {protocols}.{lacking}{warning}"


def _describe_left_out(names: tuple[str, ...], most: int) -> str:
    """Return how many methods the figure shows, if it does not show all."""
    left = len(names) - most
    return (
        f" {most} of {len(names)} methods are shown, those with the highest mean mIoU; the tables contain all."
        if left > 0
        else ""
    )


def _draw_summary(analysis: Analysis) -> Iterator[Drawing]:
    ids = list(analysis.benchmarks)
    estimates = [
        p.cells[n].miou for p in analysis.places for n in analysis.methods_in_figures if n in p.cells
    ]
    ends = [v for e in estimates for v in (e.value, e.low, e.high) if np.isfinite(v)]
    end = radar.find_end(ends)
    span = (5 * np.floor(min(ends, default=0) / 5) - 1, 5 * np.ceil(max(ends, default=100) / 5) + 1)
    for shot in analysis.shots:
        place_by_benchmark = {p.benchmark: p for p in analysis.places if p.shot == shot}
        rows = [i for i in ids if i in place_by_benchmark]
        cells = [
            c
            for p in place_by_benchmark.values()
            for n, c in p.cells.items()
            if n in analysis.methods_in_figures
        ]
        names = tuple(
            n for n in analysis.methods_in_figures if any(n in p.cells for p in place_by_benchmark.values())
        )
        further = f" {analysis.describe_not_shown()}" if analysis.cells_not_shown else ""
        basis = describe_basis(cells) + _describe_left_out(analysis.methods, MOST) + further
        if len(rows) >= radar.FEWEST_AXES:
            spokes = rows[: radar.MOST_AXES]
            beyond = (
                f" The first {len(spokes)} of {len(rows)} benchmarks are shown."
                if len(rows) > len(spokes)
                else ""
            )
            yield Drawing(
                name=f"radar-{shot}-shot",
                place=f"summary/{shot}",
                title=f"Radar of mIoU over benchmarks, {shot}-shot",
                caption=(
                    f"mIoU, {shot}-shot. Every axis runs from 0 to {end} %. Pale bars are intervals. A missing number "
                    f"is a gap in the line. Areas have no meaning. {basis}{beyond}"
                ),
                make=partial(
                    radar.draw,
                    [_break_title(analysis.benchmarks[i]) for i in spokes],
                    {n: [_find_miou(place_by_benchmark[i], n) for i in spokes] for n in names},
                    end,
                ),
            )
        yield Drawing(
            name=f"dots-{shot}-shot",
            place=f"summary/{shot}",
            title=f"mIoU of each method on each benchmark, {shot}-shot",
            caption=f"mIoU with its interval, {shot}-shot. A hollow dot is a figure with a mark. {basis}",
            make=partial(
                dots.draw,
                [analysis.benchmarks[i] for i in rows],
                {n: [_make_dot(place_by_benchmark[i].cells.get(n)) for i in rows] for n in names},
                span=span,
            ),
        )


def _draw_benchmarks(analysis: Analysis) -> Iterator[Drawing]:
    """Yield one figure per benchmark.  A single benchmark has none, because the summary already shows it."""
    for n, (benchmark, title) in enumerate(
        analysis.benchmarks.items() if len(analysis.benchmarks) > 1 else (), start=1
    ):
        place_by_shot = {p.shot: p for p in analysis.places if p.benchmark == benchmark}
        names = [m for m in analysis.methods_in_figures if any(m in p.cells for p in place_by_shot.values())]
        cells = [c for p in place_by_shot.values() for m, c in p.cells.items() if m in names]
        yield Drawing(
            name=f"benchmark-{n}-{make_slug(benchmark)}",
            place=f"benchmark/{benchmark}",
            title=f"mIoU of each method on {title}, by shot",
            caption=(
                f"mIoU by shot. A hollow dot is a figure with a mark. {describe_basis(cells)}"
                f"{_describe_left_out(analysis.methods, MOST)}"
            ),
            make=partial(
                dots.draw,
                names,
                {
                    f"{shot}-shot": [_make_dot(p.cells.get(m)) for m in names]
                    for shot, p in sorted(place_by_shot.items())
                },
            ),
        )


def _draw_classes(analysis: Analysis) -> Iterator[Drawing]:
    for n, benchmark in enumerate(analysis.benchmarks, start=1):
        place = next(
            (
                p
                for p in analysis.places
                if p.benchmark == benchmark and (benchmark, p.shot) in analysis.classes
            ),
            None,
        )
        if place is None:
            continue
        parts = analysis.classes[benchmark, place.shot]
        names = list(parts)[:METHODS]
        shown_classes = select_classes(list(parts.values()), CLASSES)
        class_count = len({p.key for parts_of_method in parts.values() for p in parts_of_method})
        selection = (
            f" {len(shown_classes)} of {class_count} classes are shown, those with the lowest and the highest IoU."
            if class_count > len(shown_classes)
            else ""
        )
        yield Drawing(
            name=f"classes-{n}-{make_slug(benchmark)}",
            place="comparison/classes",
            title=f"IoU of each class on {analysis.benchmarks[benchmark]}, {place.shot}-shot",
            caption=(
                f"{analysis.benchmarks[benchmark]}, {place.shot}-shot: foreground IoU of each class, averaged over "
                f"the folds that test it.{selection} {describe_basis((place.cells[m] for m in names), _PARTS)}"
                f"{_describe_left_out(tuple(parts), METHODS)}"
            ),
            make=partial(
                bars.draw,
                [name for _, name in shown_classes],
                {m: [_find_part(parts[m], key) for key, _ in shown_classes] for m in names},
            ),
        )


def select_classes(parts: list[tuple[Part, ...]], most: int) -> list[tuple[int, str]]:
    """Return the classes to show by id: all, or those with the lowest and the highest mean IoU of the methods."""
    values: dict[tuple[int, str], list[float]] = {}
    for parts_of_method in parts:
        for part in parts_of_method:
            values.setdefault((part.key, part.name), []).append(part.iou.value)
    keys = sorted(values)
    if len(keys) <= most:
        return keys
    order = sorted(keys, key=lambda k: (float(np.nan_to_num(np.mean(values[k]))), k))
    return sorted({*order[: most // 2], *order[-(most - most // 2) :]})


def _draw_scatters(analysis: Analysis) -> Iterator[Drawing]:
    for n, benchmark in enumerate(analysis.benchmarks, start=1):
        place = next((p for p in analysis.places if p.benchmark == benchmark), None)
        names = [m for m in analysis.methods if place is not None and m in place.cells][:2]
        if place is None or len(names) < 2:
            continue
        points = _pair_ious(place.cells[names[0]], place.cells[names[1]])
        if not len(points):
            continue
        rows = scatter.choose_points(len(points))
        share = (
            "each"
            if len(rows) == len(points)
            else f"every {len(points) // len(rows) + (len(points) % len(rows) > 0)}th"
        )
        above = int((points[:, 1] > points[:, 0]).sum())
        yield Drawing(
            name=f"episodes-{n}-{make_slug(benchmark)}",
            place="comparison/episodes",
            title=f"{names[0]} against {names[1]} on {analysis.benchmarks[benchmark]}, episode by episode",
            caption=(
                f"{analysis.benchmarks[benchmark]}, {place.shot}-shot: foreground IoU of {share} of "
                f"{describe_count(len(points), 'shared episode')}. {names[1]} is higher in "
                f"{format_count(above)} of all. "
                "IoU per episode is secondary: mIoU is not its mean, but a ratio of sums. "
                f"{_describe_gap(analysis, place, names)}{describe_basis((place.cells[m] for m in names), '')}"
            ),
            make=partial(scatter.draw, points[rows, 0], points[rows, 1], (names[0], names[1])),
        )


def _describe_gap(analysis: Analysis, place: Place, two: list[str]) -> str:
    """Return the difference of the two methods' mIoU with its interval, or nothing if they were not compared."""
    for pair in analysis.pairs[place.benchmark, place.shot]:
        sign = {(two[0], two[1]): 1, (two[1], two[0]): -1}.get((analysis.name(pair.a), analysis.name(pair.b)))
        if sign:
            d = pair.difference
            ends = (d.low, d.high) if sign > 0 else (-d.high, -d.low)
            interval = (
                f"{format_difference_interval(*ends)} points" if not d.shortage else f"points, {d.shortage}"
            )
            return f"mIoU of {two[0]} minus {two[1]}: {format_difference(sign * d.value)} {interval}. "
    return ""


def _pair_ious(a: Cell, b: Cell) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the IoUs (N, 2) of the episodes that both cells have counted, if both IoUs are finite."""
    pieces = [np.empty((0, 2))]
    for fold in sorted(set(a.folds) & set(b.folds)):
        one, other = a.folds[fold], b.folds[fold]
        if one.plan_sha256 == other.plan_sha256:
            x, y = _compute_ious(one), _compute_ious(other)
            pieces.append(np.array([(x[i], y[i]) for i in sorted(x.keys() & y.keys())]).reshape(-1, 2))
    ious = np.concatenate(pieces)
    return ious[np.isfinite(ious).all(axis=1)]


def _compute_ious(run: RunResult) -> dict[int, float]:
    return dict(zip(run.indices.tolist(), compute_episode_ious(run).tolist(), strict=True))


@dataclass(frozen=True)
class _StrataLook:
    """How a figure of strata names itself."""

    name: str
    title: str
    axis: str
    """Label of the axis below the strata."""
    meaning: str
    """Sentence of the caption that explains the strata."""


_STRATA = {
    Split.SIZE: _StrataLook(
        "sizes",
        "mIoU against object size",
        "share of the image that the object covers (%)",
        "Strata are shares of the valid pixels that the object covers.",
    ),
    Split.DIFFICULTY: _StrataLook(
        "difficulty",
        "mIoU against difficulty",
        "episodes of each class, by their mean IoU",
        "Strata are thirds of the episodes of each class, ranked by the mean IoU of all methods; these results choose "
        "the strata and fill them, so they describe these episodes alone.",
    ),
    Split.SUPPORT_SIZE: _StrataLook(
        "support-sizes",
        "mIoU against the object's size beside the support's",
        "object's share, divided by the supports'",
        "Strata are the share of the image that the object covers, divided by that of the supports' object.",
    ),
}


def _draw_strata(analysis: Analysis, split: Split) -> Iterator[Drawing]:
    """Yield one figure per benchmark.  Only object sizes have one without any interval."""
    look, bins = _STRATA[split], list(name_strata(split))
    for n, (benchmark, title) in enumerate(analysis.benchmarks.items(), start=1):
        places = analysis.strata[split]
        by_shot = {shot: places[benchmark, shot] for shot in analysis.shots if (benchmark, shot) in places}
        names = [m for m in analysis.methods_in_figures if any(m in strata for strata in by_shot.values())][
            :METHODS
        ]
        intervals = (
            s.miou.low for strata in by_shot.values() for m in strata for s in strata[m] if m in names
        )
        if not by_shot or (split != Split.SIZE and not any(map(np.isfinite, intervals))):
            continue
        cells = [
            p.cells[m] for p in analysis.places if p.benchmark == benchmark for m in names if m in p.cells
        ]
        yield Drawing(
            name=f"{look.name}-{n}-{make_slug(benchmark)}",
            place="difficulty",
            title=f"{look.title} on {title}, by shot",
            caption=(
                f"{title}: {look.title}. {look.meaning} The figure of a stratum is mIoU of its n episodes, over the "
                "classes with enough queries there. A stratum without an interval is a gap. "
                f"{describe_basis(cells, _PARTS)}{_describe_left_out(analysis.methods, METHODS)}"
            ),
            make=partial(
                sizes.draw,
                bins,
                {
                    shot: [max(s.episodes for s in same) for same in zip(*strata.values(), strict=True)]
                    for shot, strata in by_shot.items()
                },
                {
                    shot: {m: [s.miou for s in strata[m]] for m in names if m in strata}
                    for shot, strata in by_shot.items()
                },
                names,
                label=look.axis,
            ),
        )


_LINE = 24
"""Characters of a title that fit on one line beside the radar plot."""


def _find_miou(place: Place, name: str) -> Estimate | None:
    return place.cells[name].miou if name in place.cells else None


def _make_dot(cell: Cell | None) -> dots.Dot | None:
    return None if cell is None else dots.Dot(cell.miou, bool(cell.marks))


def _find_part(parts: tuple[Part, ...], key: int) -> Estimate | None:
    return next((p.iou for p in parts if p.key == key), None)


def _break_title(title: str) -> str:
    """Break a title into two lines between source and target, or a longer one into lines that fit beside the plot.

    Examples:
        >>> _break_title("PASCAL to Chest X-ray").splitlines()
        ['PASCAL to', 'Chest X-ray']
        >>> _break_title("Two kinds of skin lesions (own, my-skin@a9c6d4298f21)").splitlines()
        ['Two kinds of skin', 'lesions (own,', 'my-skin@a9c6d4298f21)']
    """
    broken = title.replace(" to ", " to\n", 1)
    if max(map(len, broken.splitlines()), default=0) <= _LINE:
        return broken
    return "\n".join(textwrap.wrap(title, _LINE, break_long_words=False, break_on_hyphens=False))


def _draw_costs(analysis: Analysis) -> Iterator[Drawing]:
    """Yield one figure per benchmark, at its lowest number of shots."""
    for n, (benchmark, title) in enumerate(analysis.benchmarks.items(), start=1):
        place = min((p for p in analysis.places if p.benchmark == benchmark), key=lambda p: p.shot)
        points = make_cost_points(analysis, place)
        if len(points) < 2:
            continue
        cells = [place.cells[name] for name in points]
        yield Drawing(
            name=f"efficiency-{n}-{make_slug(benchmark)}",
            place="efficiency",
            title=f"mIoU of each method against its costs on {title}, {place.shot}-shot",
            caption=(
                f"{title}, {place.shot}-shot: mIoU against costs, on logarithmic axes. A hollow dot is a figure "
                f"with a mark or with unstable times. {describe_cost_source(analysis, place)} "
                f"{describe_basis(cells)}{_describe_left_out(analysis.methods, MOST)}"
            ),
            make=partial(costs.draw, points),
        )
