"""Which of the published lists a user's list is, by a hash of its entries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fssbench.contracts.lists import ListFormat, PublishedList
from fssbench.errors import ListError


def list_sha256(lines: Iterable[str]) -> str:
    """Hash the lines of a list, which `ListFormat.hashed_lines` gives."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ListJudgement:
    """What is known about a list in its place."""

    name: str
    """The place with the family, such as `pascal val fold 0`."""
    problem: str | None = None
    """Why it is not the reference list; None if nothing speaks against it."""
    proven: bool = False
    """Whether its hash is that of the reference list."""


def judge_list(
    form: ListFormat[Any], split: str, fold: int | None, lines: Sequence[str], path: Path | None = None
) -> ListJudgement:
    """Compare a list with the published list of its place.

    Args:
        form: the format of the list.
        split: split that the list stands for.
        fold: fold that it stands for; None for a data set without folds.
        lines: what `form.hashed_lines` gives.
        path: the file, to be named in the error.

    Raises:
        ListError: if it is the published list of another split.  Images or classes that were trained
            on, or that serve for validation, would then be tested: this is always a mistake.
    """
    expected = form.published_list(split, fold)
    name = f"{form.family} {expected.place}"
    sha256 = list_sha256(lines)
    known = next((each for each in form.published if each.sha256 == sha256), None)
    if known is expected:
        return ListJudgement(name, proven=True)
    if known is not None and known.split != split:
        raise ListError(
            f"{path or f'the list {name}'} holds the {known.entries:,} {form.unit[1]} of the reference's "
            f"{known.place}: {form.mixed_up} of one split would be taken for those of another. "
            f"Next: put the list of that name there again ({form.origin})"
        )
    if known is not None:
        return ListJudgement(name, f"the reference's {known.place}")
    return ListJudgement(name, _find_difference(form, expected, lines))


def _find_difference(form: ListFormat[Any], expected: PublishedList, lines: Sequence[str]) -> str | None:
    """Say how a list differs from the published one; None if only the length is known and is equal."""
    one, many = form.unit
    if len(lines) != expected.entries:
        owner = dict(expected.other_lengths).get(len(lines))
        return (
            f"{len(lines):,} {one if len(lines) == 1 else many}, the reference has {expected.entries:,}"
            f"{f' (as many as {owner})' if owner else ''}"
        )
    if expected.sha256 is None:
        return None
    if list_sha256(sorted(lines)) == expected.set_sha256:
        return f"the reference's {many} in another order"
    return f"{len(lines):,} {many} as in the reference, but other ones"
