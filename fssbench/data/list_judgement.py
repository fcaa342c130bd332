"""A comparison of a user's list with the published lists, by a hash of its entries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fssbench.contracts.lists import ListFormat, PublishedList
from fssbench.errors import ListError


def hash_list(lines: Iterable[str]) -> str:
    """Hash the lines of a list, which are the output of `ListFormat.hashed_lines`."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ListJudgement:
    """The result of comparing a list with the published one."""

    name: str
    """Family, split and fold, such as `pascal val fold 0`."""
    problem: str | None = None
    """Why it is not the reference list; None if no difference is known."""
    proven: bool = False
    """Whether its hash is that of the reference list."""


def judge_list(
    form: ListFormat[Any], split: str, fold: int | None, lines: Sequence[str], path: Path | None = None
) -> ListJudgement:
    """Compare a list with the published list of its place.

    Args:
        form: the format of the list.
        split: split of the list.
        fold: fold of the list; None for a data set without folds.
        lines: the output of `form.hashed_lines`.
        path: the file, for the error.

    Raises:
        ListError: if it is the published list of another split.  Images or classes that were trained
            on, or that are used for validation, would then be tested, which is always a mistake.
    """
    expected = form.published_list(split, fold)
    name = f"{form.family} {expected.place}"
    sha256 = hash_list(lines)
    known = next((each for each in form.published if each.sha256 == sha256), None)
    if known is expected:
        return ListJudgement(name, proven=True)
    if known is not None and known.split != split:
        raise ListError(
            f"{path or f'the list {name}'} must be the list {expected.place}, but holds the {known.entries:,} "
            f"{form.unit[1]} of the reference's {known.place}: {form.mixed_up} of one split would be used for "
            f"another. Next: put the right list there ({form.origin})"
        )
    if known is not None:
        return ListJudgement(name, f"the reference's {known.place}")
    return ListJudgement(name, _find_difference(form, expected, lines))


def _find_difference(form: ListFormat[Any], expected: PublishedList, lines: Sequence[str]) -> str | None:
    """Describe how a list differs from the published one; None if only the length is known and is equal."""
    one, many = form.unit
    if len(lines) != expected.entries:
        owner = dict(expected.other_lengths).get(len(lines))
        return (
            f"{len(lines):,} {one if len(lines) == 1 else many}, the reference has {expected.entries:,}"
            f"{f' (as many as {owner})' if owner else ''}"
        )
    if expected.sha256 is None:
        return None
    if hash_list(sorted(lines)) == expected.set_sha256:
        return f"the reference's {many} in another order"
    return f"{len(lines):,} {many} as in the reference, but other ones"
