"""Draws episodes of a plan, from the files of its data set, through the reader that runs use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import TYPE_CHECKING

from fssbench.contracts.episodes import Episode, Plan
from fssbench.data.location import open_dataset
from fssbench.data.reader import Reader
from fssbench.drawing.figure import EpisodePictures, draw_episodes
from fssbench.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_plan(plan: Plan, episodes: int | Sequence[int] = 3) -> Figure:
    """Draw episodes of a plan.

    Args:
        plan: a plan that was made with `data`.
        episodes: how many of the first episodes, or the places of some in the plan.

    Raises:
        UsageError: if the plan has no such episode.
        DataError: if files are missing or damaged.
    """
    return _draw(plan, [plan[place] for place in choose_places(plan, episodes)])


def choose_places(plan: Plan, episodes: int | Sequence[int]) -> Sequence[int]:
    """Return the places of the episodes to draw.

    Args:
        plan: the plan.
        episodes: how many of the first episodes, or the places of some in the plan.

    Raises:
        UsageError: if the plan has no such episode.
    """
    try:
        places: Sequence[int] = (
            [index(place) for place in episodes]
            if isinstance(episodes, Iterable)
            else range(min(index(episodes), len(plan)))
        )
    except TypeError:
        raise UsageError(
            f"{episodes!r} names no episodes to draw. Next: plan.show(3), or plan.show([0, 7])"
        ) from None
    for place in places:
        if not 0 <= place < len(plan):
            raise UsageError(f"the plan has the episodes 0 to {len(plan) - 1}, and no episode {place}")
    if not places:
        raise UsageError(f"{episodes!r} names no episode to draw. Next: plan.show(3), or plan.show([0, 7])")
    return places


def draw_episode(episode: Episode) -> Figure:
    """Draw one episode of a plan.

    Raises:
        UsageError: if the episode belongs to no plan.
        DataError: if files are missing or damaged.
    """
    if episode.home is None:
        raise UsageError(
            "this episode belongs to no plan, so its images are not known. Next: plan.episodes[0].show()"
        )
    return _draw(episode.home, [episode])


def read_pictures(reader: Reader, episode: Episode, class_name: str) -> EpisodePictures:
    """Read the pictures of an episode at their stored sizes."""
    return EpisodePictures(
        title=f"episode {episode.index}: {class_name}",
        query=reader.image(episode.query),
        truth=reader.mask(episode.query, episode.class_id),
        supports=tuple(
            (reader.image(item), reader.mask(item, episode.class_id)) for item in episode.supports
        ),
    )


def _draw(plan: Plan, episodes: Sequence[Episode]) -> Figure:
    dataset = open_dataset(plan.dataset, data=plan.data, splits=plan.splits, variant=plan.dataset_variant)
    reader, names = Reader(dataset), dict(zip(plan.classes, plan.class_names, strict=True))
    pictures = [read_pictures(reader, episode, names[episode.class_id]) for episode in episodes]
    title = f"{plan.benchmark} fold {plan.fold}, {plan.shot}-shot, {plan.protocol}, seed {plan.seed}"
    return draw_episodes(pictures, title=title, marks=plan.marks)
