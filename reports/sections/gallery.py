"""Example episodes with the prediction of each method, as small embedded pictures.

Support, query and truth are shown once, followed by each method's prediction and error map.  The number and the bytes
of the examples are limited.  What is left out is counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fssbench.api import Cell, DataError, LegendMark, Pictures, mark_letters, row_title

from ..content.text import clean, format_count, format_percent
from . import overlays
from .gallery_choice import KINDS, Answer, Pick, choose_episodes

MOST = 24
"""Maximum number of episodes per benchmark and shot."""
BUDGET = 6_000_000
"""Maximum number of bytes of all embedded pictures, encoded."""
_SUPPORTS = 5


@dataclass(frozen=True)
class Picture:
    """One picture."""

    caption: str
    alt: str
    uri: str
    """A `data:` address."""
    over: bool = False
    """Whether the picture is transparent and is drawn over the query."""


@dataclass(frozen=True)
class ShownAnswer:
    """The prediction of one method."""

    method: int
    """Position among the group's methods."""
    caption: str
    marks: str
    pictures: tuple[Picture, ...]
    """Prediction and error map."""


@dataclass(frozen=True)
class Example:
    """One episode."""

    title: str
    reasons: tuple[str, ...]
    kinds: tuple[str, ...]
    class_number: int
    """Position among the group's classes."""
    query: str
    """Address of the photograph below the overlays."""
    pictures: tuple[Picture, ...]
    """Supports, query, truth."""
    answers: tuple[ShownAnswer, ...]


@dataclass(frozen=True)
class Group:
    """Examples of one benchmark and shot."""

    shot: int
    methods: tuple[str, ...]
    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    basis: str
    """The episodes that they were chosen from, in words."""


@dataclass
class Budget:
    """Bytes that are left for a whole page, and counts of what could not be shown."""

    left: int = BUDGET
    unreadable: int = 0
    dropped: int = 0


@dataclass
class _GroupBudget:
    """Bytes that are left for one group, and the classes that it shows so far."""

    left: int
    classes: list[str] = field(default_factory=list)


def make_galleries(
    sections: Sequence[Sequence[Cell]], legend: dict[str, LegendMark], budget: Budget
) -> list[tuple[Group, ...]]:
    """Make the examples of every benchmark within the budget.

    Args:
        sections: cells by benchmark.
        legend: letters of the report's marks.
        budget: bytes for all benchmarks and shots, which share them evenly.  It is updated.

    Returns:
        For each benchmark one group per shot.  Groups without stored pictures are left out.
    """
    groups = [
        [[c for c in cells if c.shot == shot] for shot in sorted({c.shot for c in cells})]
        for cells in sections
    ]
    groups_left = sum(map(len, groups))
    galleries = []
    for of_benchmark in groups:
        shown_groups = []
        for cells in of_benchmark:
            group = _make_group(cells, legend, budget, budget.left // groups_left)
            groups_left -= 1
            if group is not None:
                shown_groups.append(group)
        galleries.append(tuple(shown_groups))
    return galleries


def _make_group(cells: list[Cell], legend: dict[str, LegendMark], budget: Budget, share: int) -> Group | None:
    names = _name_methods(cells)
    picks, stored = choose_episodes(cells, names)
    group_budget = _GroupBudget(share)
    examples = []
    for pick in picks[:MOST]:
        example = _make_example(pick, names, legend, budget, group_budget)
        if example is not None:
            examples.append(example)
    budget.dropped += len(picks[MOST:])
    if not examples:
        return None
    counted = sum(
        max(c.folds[f].episodes for c in cells if f in c.folds) for f in {f for c in cells for f in c.folds}
    )
    basis = (
        ("the only episode" if stored == 1 else f"all {format_count(stored)} episodes")
        if stored >= counted
        else f"the {format_count(stored)} of {format_count(counted)} episodes whose pictures are stored. They are "
        "spread evenly over the plan and are the same for every method"
    )
    return Group(cells[0].shot, tuple(names), tuple(group_budget.classes), tuple(examples), basis)


def _name_methods(cells: list[Cell]) -> list[str]:
    """Return the label of each method, with what distinguishes it from the others."""
    titles = [clean(row_title(cell)) for cell in cells]
    backbones = [clean(cell.backbone) for cell in cells]
    for names in (titles, [f"{two[0]}, {two[1]}" for two in zip(titles, backbones, strict=True)]):
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({n})" for n, name in enumerate(names, start=1)]


def _make_example(
    pick: Pick, names: list[str], legend: dict[str, LegendMark], budget: Budget, group_budget: _GroupBudget
) -> Example | None:
    shared: Pictures | None = None
    readable = []
    for answer in pick.answers:
        try:
            pictures = answer.panel.pictures()
            kinds = overlays.classify_pixels(pictures)
        except (DataError, ValueError):
            budget.unreadable += 1
            continue
        if shared is None:
            shared = pictures
        if pictures.query.size == shared.query.size:  # an overlay of another shape fits no query
            readable.append((answer, pictures, kinds))
        else:
            budget.unreadable += 1
    if shared is None:
        return None
    query = overlays.draw_photo(shared.query)
    class_name = clean(pick.answers[0].panel.class_name)
    where = f"fold {pick.fold}, episode {pick.index}"
    photos = _make_photos(shared, query, class_name)
    size = len(query) + sum(len(p.uri) for p in photos)
    answers = []
    for answer, pictures, kinds in readable:
        if size > group_budget.left:
            break  # the rest need not be drawn
        answers.append(_show_answer(answer, names[answer.method], pictures, kinds, legend))
        size += sum(len(p.uri) for p in answers[-1].pictures)
    if size > group_budget.left:
        budget.dropped += 1
        return None
    group_budget.left -= size
    budget.left -= size
    if class_name not in group_budget.classes:
        group_budget.classes.append(class_name)
    return Example(
        title=f"{class_name} ({where})",
        reasons=tuple(dict.fromkeys(wording for _, wording in pick.reasons)),
        kinds=tuple(dict.fromkeys(kind for kind, _ in pick.reasons)),
        class_number=group_budget.classes.index(class_name),
        query=query,
        pictures=photos,
        answers=tuple(answers),
    )


def _make_photos(shared: Pictures, query: str, class_name: str) -> tuple[Picture, ...]:
    several = len(shared.supports) > 1
    supports = [
        Picture(
            f"support {n}" if several else "support",
            f"Support {n}: {class_name} tinted",
            overlays.draw_photo(image, foreground),
        )
        for n, (image, foreground) in enumerate(shared.supports[:_SUPPORTS], start=1)
    ]
    ignored = shared.truth == overlays.IGNORE
    truth = overlays.draw_mask(shared.truth == 1, ignored if ignored.any() else None)
    share = f"{100 * np.mean(shared.truth == 1):.0f} % of the query"
    return (
        *supports,
        Picture("query", "Query", query),
        Picture("truth", f"Truth: {class_name}, {share}, tinted", truth, over=True),
    )


def _show_answer(
    answer: Answer,
    name: str,
    pictures: Pictures,
    kinds: NDArray[np.uint8],
    legend: dict[str, LegendMark],
) -> ShownAnswer:
    counted = max(1, int(np.count_nonzero(kinds != overlays.VOID)))
    right, false, missed = (
        f"{100 * np.count_nonzero(kinds == kind) / counted:.0f} %"
        for kind in (overlays.RIGHT, overlays.FALSE, overlays.MISSED)
    )
    iou = "" if math.isnan(answer.panel.iou) else f", IoU {format_percent(answer.panel.iou)}"
    return ShownAnswer(
        method=answer.method,
        caption=f"{name}{iou}",
        marks=mark_letters(answer.run.marks, legend) if iou else "",
        pictures=(
            Picture(
                "prediction", f"Prediction of {name}{iou}", overlays.draw_mask(pictures.prediction), over=True
            ),
            Picture(
                "errors",
                f"Error map of {name}: {right} of the pixels found, {false} false, {missed} missed",
                overlays.draw_error_map(kinds),
                over=True,
            ),
        ),
    )


def make_gallery_parts(groups: Sequence[tuple[Group, ...]]) -> dict[str, Any]:
    """Return what the page's template needs: groups by benchmark, rules of the filters, key of error maps."""
    return {
        "galleries": groups,
        "kinds": [(f"-{kind}", kind) for kind in KINDS],
        "filters": Markup(_write_filters([group for of_benchmark in groups for group in of_benchmark])),
        "error_key": [(meaning, overlays.draw_swatch(kind)) for kind, meaning in overlays.MEANINGS.items()],
    }


def _write_filters(groups: list[Group]) -> str:
    """Write the style rules by which the inputs of a gallery hide examples.  The page needs no script."""
    hide = "{display:none}"
    classes = max((len(group.classes) for group in groups), default=0)
    methods = max((len(group.methods) for group in groups), default=0)
    names = [f"k-{kind}" for kind in KINDS] + [f"c{n}" for n in range(classes)]
    return "\n".join(
        [f".gallery:has(.f-{name}:checked) .example:not(.{name}){hide}" for name in names]
        + [f".gallery:has(.f-m{n}:not(:checked)) .m{n}{hide}" for n in range(methods)]
    )
