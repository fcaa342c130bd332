"""Class lists of benchmark files: from names to ids, and the test classes on which a source is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from fssbench.benchmarks.class_twins import find_class_twins, simplify_class_name
from fssbench.contracts.benchmarks import Folds, Resolved
from fssbench.errors import DataError, UsageError, make_unknown_error
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.registry import DATASETS
from fssbench.plural import describe_count

_SHOWN = 8


@dataclass(frozen=True)
class ClassNames:
    """The classes of a data set, as far as they are known without its files."""

    dataset: str
    names: dict[int, str] = field(default_factory=dict)
    """Names by class id; empty if they are known only with the files."""

    @classmethod
    def of_dataset(cls, dataset: str, variant: str | None) -> ClassNames:
        """Look up the classes of a data set in its plugin.

        Raises:
            UsageError: if it has no such variant.
            PluginError: if the plugin does not load or raises anything else.
        """
        plugin = DATASETS.get(dataset)
        try:
            with plugin_call(f"data set {dataset!r} cannot name its classes:"):
                return cls(dataset, dict(sorted(plugin(None, variant=variant).classes().items())))
        except DataError:  # the folders of FSS-1000 are the names of its classes
            return cls(dataset)

    def find_id(self, given: int | str, place: str) -> int:
        """Find the id of a class that is given by id or by name.

        Raises:
            UsageError: if there is no such class, or more than one.
        """
        if isinstance(given, int):
            if given < 0 or (self.names and given not in self.names):
                known = _list_ids(self.names) if self.names else "0 and larger"
                raise UsageError(
                    f"key {place} has class {given}, but the class ids of {self.dataset!r} are {known}. "
                    f"Next: `fssbench show {self.dataset}` lists them"
                )
            return given
        if not self.names:
            raise UsageError(
                f"key {place} has class {given!r}, but {self.dataset!r} names its classes only with its files. "
                "Next: give class ids"
            )
        ids = [number for number, name in self.names.items() if name == given]
        if not ids:
            hint = f"Next: `fssbench show {self.dataset}` lists them with their ids"
            raise make_unknown_error(
                f"class of {self.dataset!r} in {place}", given, self.names.values(), hint=hint
            )
        if len(ids) > 1:
            raise UsageError(
                f"key {place} has class {given!r}, but {len(ids)} classes of {self.dataset!r} have this name. "
                f"Next: give its id, one of {', '.join(map(str, ids))}"
            )
        return ids[0]


def parse_classes(value: Any, classes: ClassNames, place: str, *, may_be_empty: bool = False) -> Folds:
    """Turn the class lists of a file into ids, ascending.

    Args:
        value: one list of class ids or names per fold, or `all` for one fold of all classes.
        classes: the classes of the data set.
        place: key of the file, for messages.
        may_be_empty: whether a fold may have no class.

    Raises:
        UsageError: for a class that does not exist or is named twice, or a fold without a class.
    """
    if isinstance(value, str):
        if value != "all":
            raise UsageError(
                f"key {place} is {value!r}, but must be one list of classes per fold, such as [[0, 1], [2, 3]], "
                'or "all" for one fold of all classes. Next: write one list per fold'
            )
        if not classes.names:
            raise UsageError(
                f'key {place} is "all", but {classes.dataset!r} knows its classes only with its files. '
                "Next: give class ids, one list per fold"
            )
        return (tuple(classes.names),)
    folds = []
    for number, fold in enumerate(value):
        ids = [classes.find_id(given, place) for given in fold]
        if not ids and not may_be_empty:
            raise UsageError(
                f"key {place}: fold {number} has no class. Next: name its classes, or leave it out"
            )
        twice = sorted({c for c in ids if ids.count(c) > 1})
        if twice:
            raise UsageError(
                f"key {place}: fold {number} has the classes {', '.join(map(str, twice))} twice. Next: name each once"
            )
        folds.append(tuple(sorted(ids)))
    return tuple(folds)


def find_leaks(resolved: Resolved) -> Iterator[str]:
    """Yield a sentence per fold whose test classes are among the classes of its training.

    Within one data set this is always an error.  Between two data sets, their table of twins decides, or, without a
    table, equal names, as for the marks of a run; such classes may be tested if the definition says so in `seen`.
    """
    source, target = resolved.trained_on, resolved.benchmark.target
    same = source.dataset == target
    twins = _match_classes(chain(*resolved.folds), target, resolved.dataset_variant, source.dataset)
    for number, tested in enumerate(resolved.folds):
        trained = None if source.folds is None else set(source.folds[number])
        leaked = [c for c in tested if (c in twins if trained is None else twins.get(c, set()) & trained)]
        declared = resolved.seen[number] if resolved.seen and not same else ()
        undeclared = [c for c in leaked if c not in declared]
        if not undeclared:
            continue
        shown = ", ".join(map(str, undeclared[:_SHOWN])) + (" ..." if len(undeclared) > _SHOWN else "")
        remedy = (
            'give the source the other classes (folds = "others"), or another data set'
            if same
            else f"leave them out of one of the two, or state them in seen, where fold {number} has {leaked}"
        )
        count = describe_count(len(undeclared), "class", "classes")
        yield (
            f"fold {number} tests {count} that its source {source.dataset!r} is trained on "
            f"(ids {shown}), so its figures would not be few-shot figures. Next: {remedy}"
        )


def _match_classes(
    classes: Iterable[int], target: str, variant: str | None, source: str
) -> dict[int, set[int]]:
    """Match classes of two data sets, or of one with itself: ids of the source by ids of the target."""
    if source == target:
        return {c: {c} for c in classes}
    tested = ClassNames.of_dataset(target, variant).names
    table = find_class_twins(target, source)
    if table:
        return {mine: {theirs} for mine, theirs in table.items()}
    trained = ClassNames.of_dataset(source, None).names
    by_name: dict[str, set[int]] = {}
    for number, name in trained.items():
        by_name.setdefault(simplify_class_name(name), set()).add(number)
    simple = {c: simplify_class_name(name) for c, name in tested.items()}
    return {c: by_name[name] for c, name in simple.items() if name in by_name}


def _list_ids(names: dict[int, str]) -> str:
    """List ids, as a range if they are one."""
    ids = sorted(names)
    if ids == list(range(ids[0], ids[-1] + 1)):
        return f"{ids[0]} to {ids[-1]}"
    return ", ".join(map(str, ids[:20])) + (" ..." if len(ids) > 20 else "")
