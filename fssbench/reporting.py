"""Reports from Python: what `fssbench report` does, without printing.

Example:
    >>> import fssbench
    >>> drawn = fssbench.plan("pascal-to-chestxray", data="mini", episodes=2, size=96)
    >>> evaluation = fssbench.evaluate(fssbench.load_method("panet", plan=drawn), drawn, out="runs")
    >>> report = fssbench.report("runs", formats=["markdown", "csv"])
    >>> [file.name for file in report.files]
    ['report.md', 'results.csv', 'episodes.csv']
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fssbench.contracts.arguments import check_arguments
from fssbench.contracts.resamples import RESAMPLES
from fssbench.errors import DataError, FssbenchError, PluginError, UsageError
from fssbench.files.staged_output import is_storage_error, stage_output
from fssbench.files.writable import require_writable, writable_folder
from fssbench.forks import MANY_RUNS, Fork
from fssbench.markup import make_table
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.registry import REPORTERS
from fssbench.plural import describe_count

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


@dataclass(repr=False)
class WrittenReport:
    """The files that `write_reports` wrote, and the reporters that wrote none."""

    files: tuple[Path, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    """Reporters whose library is missing, with what to install."""
    broken: dict[str, str] = field(default_factory=dict)
    """Reporters that do not load or failed, with the reason; the files of all others are whole."""
    results: Results | None = None
    """Results that the report shows."""

    @property
    def page(self) -> Path | None:
        """The page to open, or the first file if no page is among them; None if nothing was written."""
        pages = (path for path in self.files if path.suffix == ".html")
        return next(pages, self.files[0] if self.files else None)

    def __repr__(self) -> str:
        failed = f", {describe_count(len(self.broken), 'reporter')} failed" if self.broken else ""
        return f"<WrittenReport: {self.page}, {describe_count(len(self.files), 'file')}{failed}>"

    def _repr_html_(self) -> str:
        """Show the figures of the report in a notebook, and where its files are."""
        from fssbench.analysis.figure_table import FIGURE_COLUMNS, explain_figures, list_figures

        failed = [f"reporter {name} failed: {reason}" for name, reason in self.broken.items()]
        if self.results is None:
            return make_table(("file",), [(path,) for path in self.files], failed)
        notes = [
            f"open {self.page} ({describe_count(len(self.files), 'file')})",
            *failed,
            *explain_figures(self.results),
        ]
        return make_table(FIGURE_COLUMNS, list_figures(self.results), [*notes, *self.results.notes])


@check_arguments
def report(
    *runs: str | Path,
    out: str | Path = "report",
    formats: Sequence[str] | None = None,
    style: str | None = None,
    compare_to: str | Path | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    plugins: str | Path | Sequence[str | Path] = (),
) -> WrittenReport:
    """Write the comparison of stored runs, as `fssbench report` does.

    Args:
        runs: folders of a run or of runs, `runs` by default.
        out: folder to write to; it is made if it does not exist.
        formats: names of reporters; by default all formats except those that are written on request.
        style: an additional style of a reporter, such as `paper`.
        compare_to: a folder of runs, or an earlier report, since which changes are listed.
        resamples: bootstrap resamples of the intervals.
        seed: seed of the bootstrap.
        plugins: plugin files, folders or modules with reporters, to be loaded first.

    Returns:
        The files; a notebook shows the figures with their intervals and marks.  What was left out is a warning.

    Raises:
        UsageError: for an unknown format or style, or a number that is not allowed.
        DataError: if there is no run, a stored run is damaged, or the folder cannot be written.
        PluginError: if a named reporter does not load, or one fails; the files of all others are whole.

    Example:
        >>> import fssbench
        >>> drawn = fssbench.plan("pascal-to-chestxray", data="mini", episodes=2, size=96)
        >>> evaluation = fssbench.evaluate(fssbench.load_method("panet", plan=drawn), drawn, out="runs")
        >>> fssbench.report("runs", formats=["markdown"]).page.name
        'report.md'
    """
    from fssbench.plugins.registry import load_plugins

    if resamples < 1 or seed < 0:
        raise UsageError(f"resamples must be 1 or more and seed 0 or more; got {resamples} and {seed}")
    load_plugins(plugins)
    written = report_runs(
        runs or ("runs",),
        Path(out),
        formats,
        style=style,
        compare_to=compare_to,
        resamples=resamples,
        seed=seed,
        tell=_warn,
    )
    if written.broken:
        reasons = "; ".join(f"reporter {name} failed: {reason}" for name, reason in written.broken.items())
        raise PluginError(f"{reasons}. The other files are in {out}")
    return written


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=5)  # the line that called `report`


def report_runs(
    runs: Sequence[str | Path],
    out: Path,
    formats: Sequence[str] | None,
    *,
    style: str | None,
    compare_to: str | Path | None,
    resamples: int,
    seed: int,
    tell: Callable[[str], None],
) -> WrittenReport:
    """Check reporters and folder, collect the runs, and write the report; see `report`.

    Args:
        runs: folders of a run or of runs.
        out: folder to write to.
        formats: names of reporters, None for all.
        style: an additional style of a reporter.
        compare_to: a folder of runs, or an earlier report.
        resamples: bootstrap resamples of the intervals.
        seed: seed of the bootstrap.
        tell: called with each reporter that is skipped and what was left out, before the report is written.

    Returns:
        The files and the results; reporters that failed are in `broken`.
    """
    for name, lacking in select_reporters(formats, style).skipped.items():
        tell(f"reporter {name} is skipped: {lacking}")
    with writable_folder(out, "-o"):
        results = collect_results(runs, compare_to=compare_to, resamples=resamples, seed=seed)
        for note in results.notes:
            tell(note)
        return write_reports(results, out, formats, style=style)


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

    The files are written beside those of an earlier report and replace them together at the end.  A file that has
    nothing to say now is removed.  If the disk is full or the process is killed, the earlier files stay; so do those
    of a reporter that fails.  Notes are written without names of users and hosts.

    Args:
        results: the results of `collect_results`.
        folder: output folder; it is made if it does not exist.
        formats: names of reporters, see `select_reporters`.
        style: an additional style, for the reporters that have it.

    Raises:
        UsageError: see `select_reporters`.
        PluginError: if a named reporter does not load.
        DataError: if the files cannot be written; the earlier ones are unchanged.
    """
    from fssbench.runs.redaction import redact_text

    selection = select_reporters(formats, style)
    require_writable(Path(folder), "-o")
    published = replace(results, notes=tuple(map(redact_text, results.notes)))
    report = WrittenReport(skipped=selection.skipped, broken=selection.broken, results=results)
    with stage_output(Path(folder)) as output:
        numbers = {name: number for number, name in enumerate(selection.reporters)}
        parts = {name: output.make_part(number) for name, number in numbers.items()}

        def write(names: Iterable[str]) -> dict[str, list[Path] | str]:
            return {
                name: _try_to_write(selection.reporters[name], published, parts[name], style)
                for name in names
            }

        def write_apart() -> dict[str, list[Path] | str]:
            paths = write(apart)
            for name in apart:  # the largest files; the other process still computes
                output.bring_part_to_disk(numbers[name])
            return paths

        apart = [name for name, reporter in selection.reporters.items() if reporter.apart]
        with Fork(write_apart, wanted=bool(apart) and len(results.runs) >= MANY_RUNS) as others:
            # a page comes before the files of its figures: it draws them while another process draws its examples
            written = write(name for name in sorted(selection.reporters, reverse=True) if name not in apart)
            written |= others.result()
        for name, number in numbers.items():
            paths = written[name]
            if isinstance(paths, str):
                report.broken[name] = paths
                output.drop_part(number)
            else:
                report.files += tuple(map(output.locate, paths))
                output.retire(selection.reporters[name].sometimes)
    return report


def _try_to_write(
    reporter: type[Reporter], results: Results, folder: Path, style: str | None
) -> list[Path] | str:
    """Write one format; return its files, or why the reporter failed."""
    try:
        return _write_one(reporter, results, folder, {"style": style} if style in reporter.styles else {})
    except FssbenchError as error:
        return str(error)


def _write_one(
    reporter: type[Reporter], results: Results, folder: Path, options: dict[str, Any]
) -> list[Path]:
    """Write one format.

    Raises:
        OSError: if the disk is full or the folder cannot be written, which is not a mistake of the reporter.
        FssbenchError: if the reporter fails.
    """
    with plugin_call(""):
        try:
            return [Path(path) for path in reporter().write(results, folder, **options)]
        except OSError as error:
            if not is_storage_error(error):
                raise
            storage_error = error
    raise storage_error
