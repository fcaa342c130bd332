"""`fssbench run --first N --show`: prints and draws the first episodes, and stores no run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fssbench.cli.output import emit_json, to_one_line
from fssbench.errors import UsageError
from fssbench.plural import describe_count

if TYPE_CHECKING:
    from fssbench.cli.progress import Progress
    from fssbench.errors import FssbenchError
    from fssbench.evaluation.suite import Request
    from fssbench.inspection.episodes import ShownEpisode

FIRST = 4
"""Number of episodes of `--show` without `--first`."""


def inspect_episodes(
    request: Request, progress: Progress, *, first: int, folder: Path | None, as_json: bool
) -> None:
    """Evaluate the first episodes in a temporary folder, and print and draw them.

    Args:
        request: what `fssbench run` was asked for.
        progress: the lines and the bar of the command.
        first: number of episodes of each plan.
        folder: where pictures and the page are written; None for no pictures.
        as_json: whether standard output is JSON.

    Raises:
        UsageError: for options that only a stored run has.
        FssbenchError: if a method breaks its contract; the other methods are shown before.
    """
    from fssbench.evaluation.engine import evaluate_all
    from fssbench.evaluation.request import raise_broken
    from fssbench.evaluation.settings import make_cache
    from fssbench.evaluation.suite import prepare
    from fssbench.files.writable import require_writable
    from fssbench.inspection.episodes import Inspection

    _refuse_options_of_runs(request)
    if folder is not None:
        require_writable(folder, "--show-out")
    broken: list[FssbenchError] = []
    inspection = Inspection(with_pictures=folder is not None)
    with tempfile.TemporaryDirectory(prefix="fssbench-inspect-") as place:
        settings = replace(request.settings, out=Path(place), panels=0, sensitivity=0, inspect=inspection.see)
        prepared = prepare(replace(request, episodes=first, settings=settings), tell=progress.say)
        for note in prepared.notes:
            progress.say(f"note: {note}")
        cache = make_cache(settings)
        with progress.over(prepared.episodes):
            for task in prepared.tasks:
                watch = progress.watch_plan(task.plan)
                _, failed = evaluate_all(task.methods, task.plan, settings, cache=cache, watch=watch)
                broken.extend(error for _, error in failed)
    _show(inspection.episodes, progress, folder, as_json=as_json)
    raise_broken(broken)


def _refuse_options_of_runs(request: Request) -> None:
    given = {
        "--episodes": request.episodes is not None,
        "--shard": request.settings.shard is not None,
        "--save-masks": request.settings.save_masks,
    }
    for option, is_given in given.items():
        if is_given:
            raise UsageError(
                f"--first and --show look at episodes and store no run, so {option} has no meaning. "
                f"Next: leave out {option}, or --first and --show"
            )


def _show(
    episodes: Sequence[ShownEpisode], progress: Progress, folder: Path | None, *, as_json: bool
) -> None:
    page = None
    if folder is not None and episodes:
        from fssbench.inspection.pages import write_pages

        progress.say("drawing")
        page = write_pages(episodes, folder)
    if as_json:
        emit_json(_as_record(shown, folder) for shown in episodes)
    else:
        _print_episodes(episodes, progress)
    where = (
        f". The pictures are in {folder}; open {page}" if page else ". Next: add --show for pictures and maps"
    )
    progress.say(
        f"{describe_count(len(episodes), 'episode was', 'episodes were')} inspected; no run was stored{where}"
    )


def _print_episodes(episodes: Sequence[ShownEpisode], progress: Progress) -> None:
    place = None
    for shown in episodes:
        if shown.place != place:
            place = shown.place
            progress.result(to_one_line(place))
            marks = "; ".join(map(str, shown.marks)) or "none"
            progress.result(f"  marks: {to_one_line(marks)}")
        progress.result(f"  {to_one_line(shown.title)}")
        progress.result(f"    query: {to_one_line(shown.episode.query)}")
        for support in shown.episode.supports:
            progress.result(f"    support: {to_one_line(support)}")
        for name, maps in shown.maps.items():
            progress.result(f"    map: {to_one_line(name)}, {' x '.join(map(str, maps.shape))}")


def _as_record(shown: ShownEpisode, folder: Path | None) -> dict[str, Any]:
    from fssbench.drawing.figure import find_range
    from fssbench.inspection.pages import name_picture

    return {
        "stored": False,
        "label": shown.label,
        "benchmark": shown.plan.benchmark,
        "fold": shown.plan.fold,
        "shot": shown.plan.shot,
        "seed": shown.plan.seed,
        "episode": shown.episode.index,
        "class_id": shown.episode.class_id,
        "class": shown.class_name,
        "query": shown.episode.query,
        "supports": list(shown.episode.supports),
        "iou": shown.iou,
        "inter": list(shown.inter),
        "union": list(shown.union),
        "marks": list(map(str, shown.marks)),
        "maps": {
            name: {"shape": list(maps.shape), "range": list(find_range(maps))}
            for name, maps in shown.maps.items()
        },
        "picture": None if folder is None else folder / name_picture(shown),
    }
