"""What a data folder holds: each data set with its populations, how much of them is there, and how to get the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fssbench.benchmarks.catalogue import BENCHMARKS, Resolved, find_benchmark, find_benchmarks_on
from fssbench.contracts.datasets import Dataset, Pool
from fssbench.contracts.episodes import Episode
from fssbench.data.fetch import list_unfinished, read_provenance
from fssbench.data.hash_records import digest_hashes, hash_files
from fssbench.data.location import find_data_folder, is_miniature, open_dataset
from fssbench.data.populations import find_pool_marks
from fssbench.data.reader import Reader
from fssbench.data.reference_lists import find_list_folder
from fssbench.episodes.sampling import LEAST, list_pool
from fssbench.errors import DataError, FssbenchError
from fssbench.plugins.downloads import find_downloads
from fssbench.plugins.registry import DATASETS
from fssbench.verification.data_set import find_refused_folds, name_few_classes

TRAINING = "trn"
MISSING = "missing"
REFUSED = "refused"
WHOLE = "complete"
UNLISTED = "cannot be listed"
_SHOWN_DIGITS = 16


@dataclass(frozen=True, slots=True)
class PopulationState:
    """One population of a data set: what a split of a variant holds here."""

    variant: str | None
    split: str
    entries: int = 0
    """(image, class) pairs that are here."""
    images: int = 0
    published_entries: int | None = None
    published_images: int | None = None
    state: str = WHOLE
    """`complete`, the marks that runs would have, or `cannot be listed`."""
    problem: str | None = None
    """Why it cannot be listed."""
    source: str = ""
    """Where the list comes from."""
    fingerprint: str | None = None
    """sha256 of the list of entries in its order; None if there is none."""


@dataclass
class DatasetState:
    """One data set in a data folder."""

    name: str
    place: Path | None
    """Its folder; None if it is missing."""
    problem: str | None = None
    """Why it is missing or cannot be opened."""
    populations: list[PopulationState] = field(default_factory=list)
    files: int | None = None
    files_fingerprint: str | None = None
    """sha256 of the hashes of all files, as `data verify --record` writes it; None if it was not asked for."""
    provenance: dict[str, Any] | None = None
    """Where it came from, if `data fetch` got it."""
    refusals: dict[str, str] = field(default_factory=dict)
    """Why `run` refuses benchmarks on it, by their ids."""
    hints: list[str] = field(default_factory=list)
    """Next commands, each in a sentence."""

    def add_unlisted(self, label: str, split: str, dataset: Dataset, error: str) -> None:
        """Add a population that cannot be listed, with the step that helps.

        `data verify` looks at tested splits alone, so it has nothing to say about images for training.
        """
        problem, _, following = error.partition(" Next: ")
        problem = problem.rstrip(".")
        self.populations.append(PopulationState(dataset.variant, split, state=UNLISTED, problem=problem))
        if split == TRAINING:
            problem += ". Only training needs it"
        if not following or "`fssbench data verify" in following:
            more = f"get more of the data set from {dataset.card.url}"
            following = more if split == TRAINING else f"`fssbench data verify {label}`"
        hint = f"{label} {split}: {problem}. Next: {following}"
        if hint not in self.hints:
            self.hints.append(hint)

    def add_refusals(self, label: str, refusals: dict[str, str]) -> None:
        """Add the benchmarks that `run` refuses, with one hint per problem."""
        self.refusals |= refusals
        for problem in dict.fromkeys(refusals.values()):
            names = ", ".join(name for name, each in refusals.items() if each == problem)
            self.hints.append(f"{names}: refused by `run`: {problem}. Next: `fssbench data verify {label}`")

    def as_record(self) -> dict[str, Any]:
        """Return the state as JSON."""
        return {
            "dataset": self.name,
            "place": str(self.place) if self.place else None,
            "problem": self.problem,
            "populations": [
                {slot: getattr(each, slot) for slot in PopulationState.__slots__} for each in self.populations
            ],
            "files": self.files,
            "files_fingerprint": self.files_fingerprint,
            "fetched": self.provenance,
            "refusals": self.refusals,
            "hints": self.hints,
        }

    def as_rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a table: one per population, or one that says that the data set is missing."""
        if not self.populations:
            yield self.name, "", "", "", "", MISSING if self.place is None else str(self.problem), ""
        for each in self.populations:
            yield (
                self.name,
                each.variant or "",
                each.split,
                _compare(each.entries, each.published_entries),
                _compare(each.images, each.published_images),
                each.state,
                (each.fingerprint or "")[:_SHOWN_DIGITS],
            )
        if self.files_fingerprint is not None:
            yield (
                self.name,
                "",
                "all files",
                f"{self.files:,}",
                "",
                "",
                self.files_fingerprint[:_SHOWN_DIGITS],
            )


def _compare(count: int, published: int | None) -> str:
    return f"{count:,}" if published is None else f"{count:,} of {published:,}"


def collect_states(data: str | None, splits: str | None, *, hashes: bool = False) -> list[DatasetState]:
    """Look at every registered data set.

    Args:
        data: the data folder, as for `find_data_folder`.
        splits: folder of reference lists, or None.
        hashes: whether every file is read for the fingerprint of all files.

    Raises:
        DataError: if no data folder was given or it does not exist.
    """
    root = find_data_folder(data)
    if root is None:
        raise DataError(
            "no data folder was given. Next: give --data DIR, set FSSBENCH_DATA or use --data mini"
        )
    return [_look(name, data, root, splits, hashes) for name in DATASETS.names()]


def _look(name: str, data: str | None, root: Path, splits: str | None, hashes: bool) -> DatasetState:
    state = DatasetState(name, None)
    try:
        cls: type[Dataset] = DATASETS.get(name)
        dataset = open_dataset(name, data=data, splits=splits)
    except FssbenchError as error:
        state.problem = str(error).partition(" Next: ")[0]
        state.hints += _suggest(name, root)
        return state
    state.place = dataset.root
    for variant in cls.card.variants or (None,):
        opened = open_dataset(name, data=data, splits=splits, variant=variant)
        label = f"{name}:{variant}" if variant else name
        try:
            read_splits = _list_splits(name, variant)
        except FssbenchError as error:
            state.problem = str(error).partition(" Next: ")[0]
            return state
        for split in read_splits:
            try:
                pool = list_pool(opened, split)
            except FssbenchError as error:
                state.add_unlisted(label, split, opened, str(error))
                continue
            state.populations.append(_describe_population(opened, split, pool))
            state.add_refusals(label, _find_refusals(opened, split, pool))
    if not is_miniature(root) and cls.home is None:
        state.provenance = read_provenance(name, root)
        if cls.list_formats and find_list_folder(Path(splits) if splits else None, root) is None:
            state.hints.append(
                f"{name}: the reference lists are missing, so its pools are made from the files. "
                "Next: `fssbench data fetch splits`"
            )
    if hashes:
        try:
            all_hashes = hash_files(dataset, root / ".")
            state.files, state.files_fingerprint = len(all_hashes), digest_hashes(all_hashes)
        except DataError as error:
            state.problem = str(error)
    return state


def _list_splits(name: str, variant: str | None) -> list[str]:
    """List the splits of a data set that a benchmark tests on or trains on."""
    tested = {resolved.benchmark.split for resolved in find_benchmarks_on(name, variant)}
    trains = any(record.trained_on.dataset == name for record in BENCHMARKS.values())
    return sorted(tested | ({TRAINING} if trains else set()))


def _find_refusals(dataset: Dataset, split: str, pool: Pool) -> dict[str, str]:
    """Find the benchmarks that `run` would refuse: classes with too few images, or whose first pair cannot be read."""
    on_it = find_benchmarks_on(dataset.card.name, dataset.variant)
    benchmarks = [resolved for resolved in on_it if resolved.benchmark.split == split]
    tested = {class_id for resolved in benchmarks for fold in resolved.folds for class_id in fold}
    first = {entry.class_id: entry for entry in reversed(pool.entries) if entry.class_id in tested}
    reader = Reader(dataset)
    unreadable: dict[int, str] = {}
    for class_id, entry in sorted(first.items()):
        try:
            reader.doubts(Episode(0, class_id, entry.item, ()))
        except FssbenchError as error:
            unreadable[class_id] = str(error).partition(" Next: ")[0].rstrip(".")
    refusals: dict[str, str] = {}
    for resolved in benchmarks:
        refused = [*find_refused_folds(dataset, resolved, pool)]
        problems = [text for i, text in unreadable.items() if any(i in fold for fold in resolved.folds)]
        if refused:
            few = {name: count for _, counts, _ in refused for name, count in counts.items()}
            folds = ", ".join(str(fold) for fold, _, _ in refused)
            lacking = f"fewer than {LEAST} images of {name_few_classes(few)}" if few else refused[0][2]
            refusals[resolved.id] = f"fold {folds}: {lacking}"
        elif problems:
            refusals[resolved.id] = problems[0]
    return refusals


def _describe_population(dataset: Dataset, split: str, pool: Pool) -> PopulationState:
    published = pool.population
    marks = find_pool_marks(pool, {entry.class_id for entry in pool.entries})
    return PopulationState(
        dataset.variant,
        split,
        entries=len(pool.entries),
        images=len({entry.item for entry in pool.entries}),
        published_entries=published.entries if published else None,
        published_images=published.images if published else None,
        state="; ".join(map(str, marks)) or WHOLE,
        source=pool.source,
        fingerprint=fingerprint_pool(pool),
    )


def fingerprint_pool(pool: Pool) -> str:
    """Return the sha256 of the entries of a pool in their order, on which every draw of episodes depends."""
    lines = (f"{entry.class_id}\t{entry.item}\n" for entry in pool.entries)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _suggest(name: str, root: Path) -> list[str]:
    """Return the next command for a missing data set."""
    record = find_downloads(name)
    if record is None:
        return []
    command = f"fssbench data fetch {name}"
    if not record.open:
        return [f"{name}: needs a download by you; `{command}` says how"]
    begun = list_unfinished(name, root)
    done = f" A download has begun ({', '.join(begun)})." if begun else ""
    return [f"{name}: missing.{done} Next: `{command}`"]


def collect_benchmark_states(states: Sequence[DatasetState]) -> list[dict[str, Any]]:
    """Say of each built-in benchmark, in each variant, whether its data are there.

    Args:
        states: the data sets, as `collect_states` returns them.
    """
    by_name = {state.name: state for state in states}
    rows = []
    for record in BENCHMARKS.values():
        ids = [f"{record.id}:{variant.name}" for variant in record.variants] or [record.id]
        for resolved in map(find_benchmark, ids):
            rows.append(_describe_benchmark(resolved, by_name))
    return rows


def _describe_benchmark(resolved: Resolved, by_name: dict[str, DatasetState]) -> dict[str, Any]:
    benchmark = resolved.benchmark
    state = by_name.get(benchmark.target)
    variant = resolved.dataset_variant
    populations = [
        each
        for each in (state.populations if state else [])
        if each.split == benchmark.split and (variant is None or each.variant == variant)
    ]
    refusal = state.refusals.get(resolved.id) if state else None
    problem = refusal or (populations[0].problem if populations else None)
    return {
        "benchmark": resolved.id,
        "dataset": f"{benchmark.target}:{variant}" if variant else benchmark.target,
        "split": benchmark.split,
        "ready": bool(populations) and problem is None,
        "state": REFUSED if refusal else populations[0].state if populations else MISSING,
        "problem": problem,
        "fingerprint": populations[0].fingerprint if populations else None,
    }
