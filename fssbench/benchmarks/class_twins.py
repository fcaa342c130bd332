"""Classes that two data sets share under different ids."""

from __future__ import annotations

from collections.abc import Mapping

from fssbench.contracts.datasets import Dataset
from fssbench.errors import FssbenchError
from fssbench.plugins.registry import DATASETS


def find_class_twins(dataset: str, other: str) -> dict[int, int]:
    """Map class ids of a data set to the ids of the same classes in another one.

    Either of the two data sets may state the table.

    Args:
        dataset: id of the first data set.
        other: id of the second data set.

    Returns:
        Class ids of `other` by class ids of `dataset`; empty if neither states a table, or is not installed.
    """
    own = _read_class_twins(dataset).get(other)
    if own is not None:
        return dict(own)
    return {mine: theirs for theirs, mine in _read_class_twins(other).get(dataset, {}).items()}


def _read_class_twins(dataset: str) -> Mapping[str, Mapping[int, int]]:
    try:
        cls: type[Dataset] = DATASETS.get(dataset)
    except FssbenchError:  # a checkpoint may name a data set that is not installed here
        return {}
    return cls.class_twins


def simplify_class_name(name: str) -> str:
    """Simplify a class name, so that two spellings of one name are equal.

    Example:
        >>> simplify_class_name("Potted plant") == simplify_class_name("pottedplant")
        True
    """
    return "".join(c for c in name.casefold() if c.isalnum())
