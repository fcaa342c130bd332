"""Draws a stored plan again and compares the episodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from fssbench.benchmarks.catalogue import find_plan_benchmark
from fssbench.contracts.episodes import Plan
from fssbench.contracts.marks import Mark, MarkKind
from fssbench.data.location import open_dataset
from fssbench.data.populations import is_of_own_data
from fssbench.episodes.plan_file import read_plan
from fssbench.episodes.sampling import PROTOCOLS, list_pool, plan as draw
from fssbench.errors import DataError, FssbenchError, UsageError
from fssbench.plugins.registry import DATASETS
from fssbench.plural import describe_count


class Outcome(StrEnum):
    """The outcome of a comparison of stored episodes with those drawn now."""

    EQUAL = "equal"
    DIFFERS = "differs"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Replay:
    """Result of comparing a stored plan with the episodes that are drawn now."""

    outcome: Outcome
    detail: str = ""

    def __str__(self) -> str:
        """Return the outcome and the detail as one sentence."""
        joint = {Outcome.EQUAL: "", Outcome.DIFFERS: " ", Outcome.NOT_COMPARED: ": "}[self.outcome]
        return f"{self.outcome}{joint}{self.detail}"


def require_known_data(plan: Plan) -> None:
    """Refuse a plan on a data set that is not known here, and name the option that makes it known.

    Raises:
        UsageError: if the data set is a folder of somebody's own, or comes from a plugin, and was not given.
    """
    if plan.dataset in DATASETS.names():
        return
    if is_of_own_data(plan):
        raise UsageError(
            f"the episodes are of own data, {plan.dataset!r}, and no folder of that name is known here. Next: give "
            f"--data-folder {plan.dataset}=DIR, with the folder that the author used"
        )
    raise UsageError(
        f"the data set {plan.dataset!r} is not known here. Next: give --plugin FILE, with the plugin that defines it, "
        f"or --data-folder {plan.dataset}=DIR for a folder of images and masks"
    )


def draw_again(stored: Plan, data: str | Path | None, splits: str | Path | None) -> Plan:
    """Draw the episodes of a stored plan again, with its cap and its input size.

    Raises:
        FssbenchError: if the plan cannot be drawn: another protocol version, missing data, an unknown benchmark.
    """
    name = stored.protocol.partition("/")[0]
    if PROTOCOLS.get(name) != stored.protocol:
        raise DataError(
            f"protocol {stored.protocol} is unknown here; fssbench draws {', '.join(PROTOCOLS.values())}"
        )
    require_known_data(stored)
    resolved = find_plan_benchmark(stored)
    return draw(
        resolved,
        fold=stored.fold,
        shot=stored.shot,
        protocol=name,
        data=data,
        splits=splits,
        seed=stored.seed,
        episodes=stored.asked,
        supports=stored.support_sets,
        size=stored.size,
    )


def compare_with_drawn(stored: Plan, data: str | Path | None, splits: str | Path | None) -> Replay:
    """Compare a stored plan with the episodes that are drawn now."""
    try:
        drawn = draw_again(stored, data, splits)
    except FssbenchError as error:
        return Replay(Outcome.NOT_COMPARED, str(error))
    for episode in stored:
        if episode.index >= len(drawn) or drawn[episode.index] != episode:
            return Replay(
                Outcome.DIFFERS,
                f"from index {episode.index} on: the plan was drawn from other files or lists "
                f"(then: {stored.lists}; now: {drawn.lists})",
            )
    return Replay(Outcome.EQUAL)


GIVEN = Mark(MarkKind.OTHER_EPISODES, "of a plan file")
"""Mark of a plan whose episodes come from a file and not from its protocol."""


def prepare_given_plan(path: Path, data: str | Path | None, splits: str | Path | None) -> Plan:
    """Read a stored plan and prepare it for the given data.

    If the same episodes are drawn here, the drawn plan is returned, with its identity.  Otherwise the plan gets a mark,
    because its episodes were not drawn by its protocol.

    Args:
        path: the file of the plan, such as `plan.json` of a run.
        data: folder of all data sets, as for `plan`.
        splits: folder of reference lists.

    Raises:
        DataError: if the file is not a plan, or names classes or items that the benchmark or the data do not have.
        UsageError: if its benchmark is not known here.
    """
    stored = read_plan(path)
    require_known_data(stored)
    resolved = find_plan_benchmark(stored)
    record = resolved.benchmark
    facts = {
        "version": record.version,
        "dataset": record.target,
        "split": record.split,
    }
    wrong = [f"{k} {getattr(stored, k)!r} (here {v!r})" for k, v in facts.items() if getattr(stored, k) != v]
    if not 0 <= stored.fold < len(resolved.folds):
        wrong.append(f"fold {stored.fold} (here 0 to {len(resolved.folds) - 1})")
    elif unknown := [c for c in stored.classes if c not in resolved.folds[stored.fold]]:
        wrong.append(f"classes {unknown[:5]}, which are not among those of fold {stored.fold}")
    if wrong:
        raise DataError(f"plan {path} does not fit benchmark {stored.benchmark!r}: {'; '.join(wrong)}")
    if not len(stored):
        raise DataError(f"plan {path} has no episodes. Next: `fssbench episodes {resolved.name} -o FILE`")
    drawn = draw_again(stored, data, splits)
    _require_items(stored, drawn, path)
    if drawn.episodes == stored.episodes and drawn.classes == stored.classes:
        return drawn
    return replace(
        drawn,
        episodes=stored.episodes,
        classes=stored.classes,
        class_names=tuple(
            name for c, name in zip(drawn.classes, drawn.class_names, strict=True) if c in stored.classes
        ),
        marks=(*drawn.marks, GIVEN),
    )


def _require_items(stored: Plan, drawn: Plan, path: Path) -> None:
    """Refuse a plan that names items that the data do not have, before the first episode."""
    dataset = open_dataset(drawn.dataset, data=drawn.data, splits=drawn.splits, variant=drawn.dataset_variant)
    pool = list_pool(dataset, drawn.split)
    present_pairs = {(entry.class_id, entry.item) for entry in pool.of_classes(drawn.classes)}
    named_pairs = dict.fromkeys((e.class_id, item) for e in stored for item in (e.query, *e.supports))
    missing = [pair for pair in named_pairs if pair not in present_pairs]
    absent = [c for c in stored.classes if c not in drawn.classes]
    if missing or absent:
        first = (
            f"the first is {missing[0][1]!r} of class {missing[0][0]}"
            if missing
            else f"class {absent[0]} has no image"
        )
        raise DataError(
            f"plan {path} names {describe_count(len(missing), 'pair')} of image and class that the data do not "
            f"have; {first}. "
            f"Next: `fssbench episodes --replay {path}`, or `fssbench data verify {drawn.dataset}`"
        )
