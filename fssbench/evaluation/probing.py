"""Asks some episodes of a run a second time, with supports of another class, and stores the counts beside the run.

A first answer that another process gave is computed again, and must give the counts that the run has stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fssbench.contracts.episodes import Episode, Plan
from fssbench.contracts.methods import Method
from fssbench.contracts.support_probes import SupportProbe
from fssbench.data.reader import Target
from fssbench.errors import DatasetContractError, FssbenchError, PluginError, RunFolderError
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.method_run import MethodRun
from fssbench.evaluation.settings import Settings, select_part
from fssbench.evaluation.support_effect import Replacements, choose_probed_episodes, count_agreement
from fssbench.metrics import count
from fssbench.runs.probe_log import StoredProbes
from fssbench.runs.support_probes import SUPPORT_PROBES


def probe_supports(
    runs: Sequence[MethodRun], plan: Plan, settings: Settings, inputs: Inputs
) -> list[tuple[Method, FssbenchError]]:
    """Probe the episodes that each run has counted and that the settings name.

    Returns:
        The methods that broke with their error.
    """
    if not settings.sensitivity:
        return []
    part = {episode.index for episode in select_part(plan, settings)}
    chosen = part.intersection(choose_probed_episodes(plan, settings.sensitivity))
    if settings.probe_only is not None:
        chosen &= settings.probe_only
    replacements = Replacements(plan)
    return probe_each(
        runs, lambda run: _probe_run(run, sorted(chosen & run.writer.done.keys()), replacements, inputs)
    )


def probe_each(
    runs: Sequence[MethodRun], probe: Callable[[MethodRun], None]
) -> list[tuple[Method, FssbenchError]]:
    """Probe each run that is active; a method that breaks ends alone.

    Returns:
        The methods that broke with their error.
    """
    failed: list[tuple[Method, FssbenchError]] = []
    for run in (run for run in runs if run.is_active):
        try:
            probe(run)
        except DatasetContractError:
            raise
        except (PluginError, RunFolderError) as error:
            run.broken = error
            failed.append((run.method, error))
    return failed


def _probe_run(run: MethodRun, indices: Sequence[int], replacements: Replacements, inputs: Inputs) -> None:
    stored = StoredProbes(SUPPORT_PROBES, run.path)
    try:
        for index in indices:
            if index not in stored.done:
                stored.append(_probe_episode(run, index, replacements, inputs))
    finally:
        stored.close()


def _probe_episode(run: MethodRun, index: int, replacements: Replacements, inputs: Inputs) -> SupportProbe:
    episode = run.plan[index]
    replacement = replacements.find(episode)
    target = inputs.target(episode, original=run.score_size == "original")
    first = find_stored_mask(run, episode, inputs, target)
    second = run.predict_mask(
        replacement.episode, inputs, target, named=episode.class_id, inverted=replacement.inverted
    )
    run.guard.check_episode()
    counted = ~target.ignored if target.ignored is not None else None
    both = (first, second) if counted is None else (first & counted, second & counted)
    same, either = count_agreement(*both)
    inter, union = count_pixels(second, target)
    return SupportProbe(
        index=index,
        class_id=replacement.episode.class_id,
        inverted=replacement.inverted,
        supports=replacement.episode.supports,
        inter=inter,
        union=union,
        same=same,
        either=either,
    )


def find_stored_mask(run: MethodRun, episode: Episode, inputs: Inputs, target: Target) -> NDArray[np.bool_]:
    """Find the mask (H, W) of a counted episode; it is predicted again if this process did not predict it.

    Raises:
        RunFolderError: if its counts are not those that the run has stored.
    """
    mask = run.answers.get(episode.index)
    if mask is None:
        mask = run.predict_mask(episode, inputs, target)
    record = run.writer.done[episode.index]
    if count_pixels(mask, target) != (record.inter, record.union):
        raise RunFolderError(
            f"{run.path.name}: episode {episode.index} is counted otherwise now than in the stored run, perhaps "
            "because that was made on another machine. It cannot be asked again here. Next: choose another --out"
        )
    return mask


def count_pixels(mask: NDArray[np.bool_], target: Target) -> tuple[tuple[int, int], tuple[int, int]]:
    """Count intersection and union of an answer (H, W) and the truth, each for background and foreground."""
    inter, union = count(mask, target.foreground, target.ignored)
    return (int(inter[0]), int(inter[1])), (int(union[0]), int(union[1]))
