"""Reports from Python: what `fssbench report` does, without printing.

Example:
    >>> from fssbench.reporting import collect_results, write_reports
    >>> results = collect_results("runs")  # doctest: +SKIP
    >>> write_reports(results, "report", ["html", "csv"]).files  # doctest: +SKIP
    (PosixPath('report/report.html'), PosixPath('report/results.csv'), PosixPath('report/episodes.csv'))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fssbench.contracts.resamples import RESAMPLES
from fssbench.errors import DataError, FssbenchError, UsageError
from fssbench.files.writable import require_writable
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.registry import REPORTERS

if TYPE_CHECKING:
    from fssbench.contracts.results import Reporter, Results


@dataclass(frozen=True)
class Selection:
    """The selected reporters, and the reasons why others are not selected."""

    reporters: dict[str, type[Reporter]]
    """Classes by name."""
    skipped: dict[str, str]
    """Reporters whose library is missing, with what to install."""
    broken: dict[str, str]
    """Reporters that do not load, with the reason."""


@dataclass
class WrittenReport:
    """The files that `write_reports` wrote, and the reporters that wrote none."""

    files: tuple[Path, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    """Reporters whose library is missing, with what to install."""
    broken: dict[str, str] = field(default_factory=dict)
    """Reporters that do not load or failed, with the reason; the files of all others are whole."""


def collect_results(
    runs: str | Path | Sequence[str | Path] = "runs",
    *,
    compare_to: str | Path | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Results:
    """Collect stored runs into the results that reporters receive.

    Args:
        runs: a folder of a run or of runs, or several.
        compare_to: a folder of runs, or an earlier report, since which changes are listed.
        resamples: bootstrap resamples of the intervals.
        seed: seed of the bootstrap.

    Raises:
        DataError: if there is no run, or a stored run is damaged.
    """
    from fssbench.analysis.changes import add_changes, read_other
    from fssbench.analysis.collect import collect

    paths = [Path(runs)] if isinstance(runs, str | Path) else list(map(Path, runs))
    results = collect(paths, resamples=resamples, seed=seed)
    if not results.runs:
        left_out = "".join(f" {note}." for note in results.notes[:5])
        raise DataError(
            f"there are no runs in {', '.join(map(str, paths))}.{left_out} "
            "Next: `fssbench run --method pmnet --suite cross-domain --data mini`"
        )
    if compare_to is None:
        return results
    other = Path(compare_to)
    before = read_other(other, resamples=resamples, seed=seed)
    return add_changes(results, before, against=other.name or str(other))


def select_reporters(formats: Sequence[str] | None = None, style: str | None = None) -> Selection:
    """Load reporters before anything is computed.

    Args:
        formats: names of reporters, which must load.  By default all are selected except those marked "on request";
            then those with a missing library are skipped and broken ones are returned with their reason.
        style: a style that one of the reporters must know, such as `paper`.

    Raises:
        UsageError: for an unknown name, a missing library of a named reporter, or a style that none knows.
        PluginError: if a named reporter does not load.
    """
    selection = _select_all() if formats is None else _select_named(formats)
    reporters = selection.reporters
    if style is not None and not any(style in reporter.styles for reporter in reporters.values()):
        known = [f"{s} ({name})" for name, reporter in reporters.items() for s in reporter.styles]
        raise UsageError(
            f"none of the reporters {', '.join(reporters)} has the style {style!r}. Known styles: "
            f"{', '.join(known) or 'none'}. Next: `fssbench list reporters`"
        )
    return selection


def _select_named(formats: Sequence[str]) -> Selection:
    if isinstance(formats, str):
        raise UsageError(
            f"formats must be a list of names, but is the text {formats!r}. Next: give formats=[{formats!r}]"
        )
    names = list(dict.fromkeys(formats))
    if not names:
        raise UsageError(f"--format names no reporter. Known reporters: {', '.join(REPORTERS.names())}")
    reporters: dict[str, type[Reporter]] = {name: REPORTERS.get(name) for name in names}
    for name, reporter in reporters.items():
        with plugin_call(f"reporter {name!r}:"):
            lacking = reporter.lacking()
        if lacking:
            raise UsageError(lacking)
    return Selection(reporters, {}, {})


def _select_all() -> Selection:
    selection = Selection({}, {}, {})
    for name in REPORTERS.names():
        try:
            reporter: type[Reporter] = REPORTERS.get(name)
            with plugin_call(""):
                lacking = reporter.lacking()
        except FssbenchError as error:
            selection.broken[name] = str(error)
            continue
        if lacking:
            selection.skipped[name] = lacking
        elif not reporter.on_request:
            selection.reporters[name] = reporter
    return selection


def write_reports(
    results: Results, folder: str | Path, formats: Sequence[str] | None = None, *, style: str | None = None
) -> WrittenReport:
    """Write results in several formats; a reporter that fails does not stop the others.

    Notes are written without names of users and hosts.

    Args:
        results: the results of `collect_results`.
        folder: output folder; it is made if it does not exist.
        formats: names of reporters, see `select_reporters`.
        style: an additional style, for the reporters that have it.

    Raises:
        UsageError: see `select_reporters`.
        PluginError: if a named reporter does not load.
        DataError: if the folder cannot be written.
    """
    from fssbench.runs.redaction import redact_text

    selection = select_reporters(formats, style)
    require_writable(Path(folder), "-o")
    published = replace(results, notes=tuple(map(redact_text, results.notes)))
    report = WrittenReport(skipped=selection.skipped, broken=selection.broken)
    for name, reporter in selection.reporters.items():
        options: dict[str, Any] = {"style": style} if style in reporter.styles else {}
        try:
            with plugin_call(""):
                report.files += tuple(map(Path, reporter().write(published, Path(folder), **options)))
        except FssbenchError as error:
            report.broken[name] = str(error)
    return report
