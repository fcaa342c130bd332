"""Computes some episodes of a run in bfloat16 again in float32, and stores the counts beside the run.

They say how much bfloat16 changes the figures of this method on these data; the mark of the run contains it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fssbench.contracts.episodes import Plan
from fssbench.contracts.methods import Method
from fssbench.contracts.rounding_probes import RoundingProbe
from fssbench.errors import DatasetContractError, FssbenchError, PluginError, RunFolderError
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.method_run import MethodRun
from fssbench.evaluation.probing import count_pixels, predict_stored_mask
from fssbench.evaluation.settings import Settings, select_part
from fssbench.evaluation.support_effect import choose_probed_episodes
from fssbench.runs.probe_log import StoredProbes
from fssbench.runs.rounding_probes import ROUNDING_PROBES

EPISODES = 20
"""Number of episodes that are computed in float32 too, each of another query: 2 % of a plan of 1,000."""


def probe_rounding(
    runs: Sequence[MethodRun], plan: Plan, settings: Settings, inputs: Inputs, exact: Inputs
) -> list[tuple[Method, FssbenchError]]:
    """Compute the chosen episodes that each run has counted in float32 too.

    Args:
        runs: one per method, in bfloat16, each with its folder open.
        plan: the full plan.
        settings: those of the runs.
        inputs: the source of the episodes as the runs read them.
        exact: a source of the same episodes in float32.

    Returns:
        The methods that broke with their error.
    """
    failed: list[tuple[Method, FssbenchError]] = []
    part = {episode.index for episode in select_part(plan, settings)}
    chosen = sorted(part.intersection(choose_probed_episodes(plan, EPISODES)))
    for run in (run for run in runs if run.is_active):
        try:
            _probe_run(run, [index for index in chosen if index in run.writer.done], inputs, exact)
        except DatasetContractError:
            raise
        except (PluginError, RunFolderError) as error:
            run.broken = error
            failed.append((run.method, error))
    return failed


def _probe_run(run: MethodRun, indices: Sequence[int], inputs: Inputs, exact: Inputs) -> None:
    stored = StoredProbes(ROUNDING_PROBES, run.path)
    missing = [index for index in indices if index not in stored.done]
    exact.expect([run.method], [run.plan[index] for index in missing])
    try:
        for index in missing:
            stored.append(_probe_episode(run, index, inputs, exact))
    finally:
        stored.close()


def _probe_episode(run: MethodRun, index: int, inputs: Inputs, exact: Inputs) -> RoundingProbe:
    episode = run.plan[index]
    target = inputs.target(episode, original=run.score_size == "original")
    rounded = predict_stored_mask(run, episode, inputs, target)
    single = run.predict_mask(episode, exact, target, precision="float32")
    run.guard.check_episode()
    differing = rounded != single
    if target.ignored is not None:
        differing &= ~target.ignored
    inter, union = count_pixels(single, target)
    return RoundingProbe(index, inter, union, int(np.count_nonzero(differing)))
