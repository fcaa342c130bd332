"""Marks that are known before the first episode: those of the weights, of their training and of the supports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fssbench.benchmarks.catalogue import find_plan_benchmark
from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.contracts.companions import list_networks
from fssbench.contracts.episodes import Plan
from fssbench.contracts.marks import Mark, MarkKind
from fssbench.data.location import open_dataset
from fssbench.data.picture_names import Pictures, count_queries_among_supports
from fssbench.data.populations import is_of_own_data
from fssbench.errors import FssbenchError
from fssbench.loading.checkpoints import find_changed_checkpoint
from fssbench.loading.contamination import SELECTED_ON_TEST, count_seen_images, find_seen_classes

if TYPE_CHECKING:
    from fssbench.contracts.methods import Method


def make_method_marks(method: Method) -> list[Mark]:
    """Return the marks of a method that is not what its name promises, such as an untrained one."""
    own = []
    if method.provenance.untrained:
        own.append(Mark(MarkKind.UNTRAINED))
    if random := [name for name, network in list_networks(method).items() if network.weights == "random"]:
        own.append(Mark(MarkKind.RANDOM_BACKBONE, "" if "backbone" in random else ", ".join(random)))
    if further := method.card.further_information:
        own.append(Mark(MarkKind.MORE_INFORMATION, ", ".join(further)))
    if checkpoint := find_changed_checkpoint(method):
        own.append(Mark(MarkKind.LOCAL_WEIGHTS, f"changed after {checkpoint} was loaded"))
    return [*own, *method.provenance.marks]


def make_size_marks(method: Method, size: int) -> list[Mark]:
    """Return the mark of a method whose input is larger or smaller than that of the protocol, `size` pixels."""
    own = method.card.input_size
    return (
        [Mark(MarkKind.OWN_INPUT_SIZE, f"{own} px, protocol: {size} px")] if own not in (None, size) else []
    )


def make_training_marks(method: Method, plan: Plan, pictures: Pictures | None = None) -> list[Mark]:
    """Return the marks that concern the training of the method's checkpoint.

    Args:
        method: the loaded method.
        plan: the plan that is measured.
        pictures: the pictures of the plan, if they were read before.
    """
    manifest = method.provenance.training
    if manifest is None:
        return []
    own = []
    if manifest.selection == SELECTED_ON_TEST:
        own.append(Mark(MarkKind.SELECTED_ON_TEST))
    own += _make_source_marks(manifest, plan)
    classes = find_seen_classes(manifest, plan.dataset, plan.classes, plan.class_names)
    if classes:
        own.append(Mark(MarkKind.TRAINED_ON_TEST_CLASSES, str(len(classes))))
    if pictures is None:
        pictures = read_plan_pictures(plan)
    queries = (episode.query for episode in plan.episodes)
    images = count_seen_images(manifest, plan.dataset, queries, pictures=pictures)
    if images:
        own.append(Mark(MarkKind.TRAINED_ON_TEST_IMAGES, f"{images} of {len(plan.episodes)} queries"))
    return own


def make_support_marks(plan: Plan, pictures: Pictures) -> list[Mark]:
    """Return the mark of episodes in which the query is among the supports; none if there are no such episodes."""
    count = count_queries_among_supports(plan.episodes, pictures.names)
    return [Mark(MarkKind.QUERY_AMONG_SUPPORTS, f"{count} of {len(plan.episodes)} episodes")] if count else []


def make_copy_marks(plan: Plan, pictures: Pictures) -> list[Mark]:
    """Return the mark of queries on own data that show the same picture under several names; none if there are none.

    Each name counts as a query, so intervals and verdicts rest on fewer pictures than they say.
    """
    if not is_of_own_data(plan):
        return []
    queries = {(episode.class_id, episode.query) for episode in plan}
    different = {(class_id, pictures.names.get(query) or query) for class_id, query in queries}
    copies = len(queries) - len(different)
    return [Mark(MarkKind.COPIED_QUERIES, f"{copies} of {len(queries)} queries")] if copies else []


def read_plan_pictures(plan: Plan) -> Pictures:
    """Read the names of the pictures of a plan; none if its data are not on this machine."""
    try:
        dataset = open_dataset(plan.dataset, data=plan.data, splits=plan.splits, variant=plan.dataset_variant)
    except FssbenchError:
        return Pictures()
    return Pictures.of_plan(dataset, plan)


_DOUBTS = {
    MarkKind.AS_PUBLISHED_MASKS,
    MarkKind.AS_PUBLISHED_TRAINING_MASKS,
    MarkKind.DOUBTFUL_MASKS,
    MarkKind.DOUBTFUL_TRAINING_MASKS,
}
_WHOLE = _DOUBTS | {MarkKind.OWN_DATA}
"""Kinds that training data can have although they are the complete source."""


def make_training_data_marks(manifest: TrainingManifest) -> list[Mark]:
    """Return the marks of training data that are doubtful or only a part of the source data."""
    own = [mark for mark in manifest.marks if mark.kind in _DOUBTS]
    if any(mark.kind not in _WHOLE for mark in manifest.marks):
        others = "".join(f"; {mark}" for mark in manifest.marks if mark.kind.startswith("other "))
        own.append(Mark(MarkKind.PART_TRAINED, f"{manifest.steps} steps on {manifest.images} images{others}"))
    return own


def _make_source_marks(manifest: TrainingManifest, plan: Plan) -> list[Mark]:
    """Return the marks of training data that are not the complete source data of the benchmark."""
    own = make_training_data_marks(manifest)
    resolved = find_plan_benchmark(plan)
    if is_of_own_data(plan) and resolved.id == resolved.benchmark.target:
        return own  # the benchmark that a folder of the user's own is by itself defines no source
    source = resolved.trained_on.dataset
    if manifest.dataset not in (None, source):
        own.append(Mark(MarkKind.OTHER_SOURCE, f"{manifest.dataset} instead of {source}"))
    return own
