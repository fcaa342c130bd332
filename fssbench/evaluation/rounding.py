"""Computes some episodes of a run in bfloat16 again in float32, and of a run in batches again at batch 1.

The counts are stored beside the run.  They say how much bfloat16, or the batch, changes the figures of this method on
these data; the marks of the run contain it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fssbench.contracts.episodes import Plan
from fssbench.contracts.methods import Method
from fssbench.contracts.rounding_probes import RoundingProbe
from fssbench.errors import FssbenchError
from fssbench.evaluation.batched_run import BatchedRun
from fssbench.evaluation.batches import select_batch
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.method_run import MethodRun
from fssbench.evaluation.probing import count_pixels, find_stored_mask, probe_each
from fssbench.evaluation.settings import Settings, select_part
from fssbench.evaluation.support_effect import choose_probed_episodes
from fssbench.runs.probe_log import StoredProbes
from fssbench.runs.rounding_probes import FLOAT32, REFERENCES, Reference

EPISODES = 20
"""Number of episodes that are computed in the exact way too: 2 % of a plan of 1,000."""


def choose_rounding_episodes(plan: Plan, batch: int) -> tuple[int, ...]:
    """Choose the episodes that are computed in the exact way too; everybody chooses the same ones.

    At batch 1 each has another query.  Otherwise they are those of as few batches as are needed, because each costs the
    prediction of its batch.

    Args:
        plan: the plan.
        batch: episodes that the run predicts together.

    Returns:
        Indices in ascending order.
    """
    if batch == 1:
        return choose_probed_episodes(plan, EPISODES)
    chosen: set[int] = set()
    for number in range(1, EPISODES + 1):
        first = choose_probed_episodes(plan, number)
        chosen = {mate.index for index in first for mate in select_batch(plan, index, batch)}
        if len(chosen) >= EPISODES:
            break
    return tuple(sorted(chosen)[:EPISODES])


def list_rounding_episodes(run: MethodRun, plan: Plan) -> tuple[int, ...]:
    """List the episodes of a run that are computed in an exact way too; none if the run itself is exact."""
    if not any(reference.applies_to(run.manifest.block) for reference in REFERENCES):
        return ()
    return choose_rounding_episodes(plan, run.batch)


def probe_rounding(
    runs: Sequence[MethodRun], plan: Plan, settings: Settings, inputs: Inputs, exact: Inputs
) -> list[tuple[Method, FssbenchError]]:
    """Compute the chosen episodes that each run has counted in the exact way too.

    Args:
        runs: one per method, each with its folder open.
        plan: the full plan.
        settings: those of the runs.
        inputs: the source of the episodes as the runs read them.
        exact: a source of the same episodes in float32.

    Returns:
        The methods that broke with their error.
    """
    part = {episode.index for episode in select_part(plan, settings)}

    def probe(run: MethodRun) -> None:
        chosen = part.intersection(list_rounding_episodes(run, plan)) & run.writer.done.keys()
        for reference in REFERENCES:
            if reference.applies_to(run.manifest.block):
                _probe_run(run, reference, sorted(chosen), inputs, exact)

    return probe_each(runs, probe)


def _probe_run(
    run: MethodRun, reference: Reference, indices: Sequence[int], inputs: Inputs, exact: Inputs
) -> None:
    stored = StoredProbes(reference.log, run.path)
    missing = [index for index in indices if index not in stored.done]
    if reference is FLOAT32:
        exact.expect([run.method], [run.plan[index] for index in missing], run.batch)
    try:
        for index in missing:
            stored.append(_probe_episode(run, reference, index, inputs, exact))
    finally:
        stored.close()


def _probe_episode(
    run: MethodRun, reference: Reference, index: int, inputs: Inputs, exact: Inputs
) -> RoundingProbe:
    episode = run.plan[index]
    target = inputs.target(episode, original=run.score_size == "original")
    rounded = find_stored_mask(run, episode, inputs, target)
    if reference is FLOAT32:
        second = run.predict_mask(episode, exact, target, precision="float32")
    else:
        assert isinstance(run, BatchedRun)  # no other run has more than one episode in a batch
        second = run.predict_mask_alone(episode, inputs, target)
    run.guard.check_episode()
    differing = rounded != second
    if target.ignored is not None:
        differing &= ~target.ignored
    inter, union = count_pixels(second, target)
    return RoundingProbe(index, inter, union, int(np.count_nonzero(differing)))
