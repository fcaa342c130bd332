"""Suites: named lists of benchmarks, built in or defined in a file, as `--suite` accepts them.

A suite only chooses what is run.  It is no part of a run's identity: a run of one benchmark is the same measurement
whichever suite named it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fssbench.benchmarks.catalogue import BENCHMARKS, find_benchmark
from fssbench.benchmarks.toml_tables import Id, Line, Table, is_file_name, read_table
from fssbench.contracts.arguments import Shot
from fssbench.contracts.benchmarks import Resolved
from fssbench.contracts.records import Items, Record
from fssbench.errors import FssbenchError, UsageError, make_unknown_error

FORMAT = "fssbench-suite/1"
START = "Next: `fssbench show cross-domain --toml` prints a complete suite to start from"

_CATEGORIES = ("cross-category", "cross-dataset", "cross-domain")
SUITES: dict[str, tuple[str, ...]] = {
    **{c: tuple(b.id for b in BENCHMARKS.values() if b.category == c) for c in _CATEGORIES},
    "paper": tuple(BENCHMARKS),
}
"""Benchmark ids of the built-in suites."""


class Member(Record):
    """A benchmark of a suite, with what is run of it."""

    name: str
    """Name of the benchmark as the suite gives it."""
    benchmark: Resolved
    folds: tuple[int, ...] = ()
    """Empty for all folds."""
    shots: tuple[int, ...] = ()
    """Empty for the shots of the benchmark."""

    def __str__(self) -> str:
        """Return the name, with folds and shots if they are chosen."""
        chosen = {"folds": self.folds, "shots": self.shots}
        parts = [f"{key} {', '.join(map(str, value))}" for key, value in chosen.items() if value]
        return self.name + (f" ({'; '.join(parts)})" if parts else "")


class Suite(Record):
    """A list of benchmarks."""

    id: str
    title: str = ""
    members: tuple[Member, ...]


class _MemberTable(Table):
    name: Line
    folds: Items[Annotated[int, Field(ge=0)]] = ()
    shots: Items[Shot] = ()


def _read_member(value: Any) -> Any:
    """Accept the name of a benchmark in place of a table with its name, folds and shots."""
    return {"name": value} if isinstance(value, str) else value


class _SuiteFile(Table):
    """The keys of a suite file."""

    format: str
    id: Id
    title: Line = "a suite of benchmarks"
    folds: Items[Annotated[int, Field(ge=0)]] = ()
    shots: Items[Shot] = ()
    benchmarks: Annotated[Items[Annotated[_MemberTable, BeforeValidator(_read_member)]], Field(min_length=1)]


def find_suite(name: str | Path) -> Suite:
    """Find a suite by its name, or by its file, which ends in `.toml`.

    Raises:
        UsageError: for an unknown suite, with similar names, or a file that does not define a suite.
        DataError: if the file, or that of one of its benchmarks, cannot be read.
        PluginError: if the data set of a benchmark does not load.
    """
    if is_file_name(name):
        return _read_suite_file(Path(name))
    if str(name) not in SUITES:
        raise make_unknown_error("suite", str(name), SUITES, hint="Next: `fssbench list suites`")
    members = tuple(Member(name=each, benchmark=find_benchmark(each)) for each in SUITES[str(name)])
    return Suite(id=str(name), members=members)


def _read_suite_file(path: Path) -> Suite:
    """Read a suite; benchmark files that it names lie relative to it."""
    table = read_table(path, _SuiteFile, FORMAT, START)
    if table.id in SUITES:
        raise UsageError(
            f"{path} has the id {table.id!r} of a built-in suite. Next: give it an id of its own, such as "
            f'id = "my-{table.id}"'
        )
    members = []
    for entry in table.benchmarks:
        named = str(path.parent / entry.name) if is_file_name(entry.name) else entry.name
        try:
            resolved = find_benchmark(named)
        except FssbenchError as error:
            raise type(error)(f"{path}: {error}") from None
        folds, shots = entry.folds or table.folds, entry.shots or table.shots
        wrong = [fold for fold in folds if fold >= len(resolved.folds)]
        if wrong:
            raise UsageError(
                f"{path}: {entry.name} has no fold {wrong[0]}: its folds are 0 to {len(resolved.folds) - 1}. "
                "Next: name folds that it has, or none for all"
            )
        members.append(Member(name=entry.name, benchmark=resolved, folds=folds, shots=shots))
    return Suite(id=table.id, title=table.title, members=tuple(members))
