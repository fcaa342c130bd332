"""What `fssbench run` prints: one line per run, the marks once, and one table at the end.

Figures go to standard output, everything else to standard error.  With `--json` standard output has one
JSON object per run and nothing else.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.benchmarks.catalogue import find_plan_benchmark
from fssbench.cli.hints import compose_next_command
from fssbench.cli.output import emit_json, to_one_line
from fssbench.errors import FssbenchError
from fssbench.plural import describe_count
from fssbench.runs.identity import make_label
from fssbench.runs.mark_legend import mark_kind
from fssbench.runs.masks import FOLDER as MASKS

if TYPE_CHECKING:
    from fssbench.cli.progress import Progress
    from fssbench.contracts.results import Results
    from fssbench.evaluation.settings import Evaluation
    from fssbench.evaluation.suite import CheckedRequest, Task
    from fssbench.runs.store import StoredRun

_FIGURES_WIDTH = 46
"""Characters of the figures of a run with up to 9,999 episodes."""
PLAIN_WIDTH = 100
"""Characters per line if standard output is not a terminal and `COLUMNS` is not set."""


class RunOutput:
    """Prints the output of one `fssbench run`.

    Args:
        prepared: the planned runs.
        progress: the lines and the bar of the command.
        as_json: whether standard output is JSON.
    """

    def __init__(self, prepared: CheckedRequest, progress: Progress, *, as_json: bool) -> None:
        self.prepared = prepared
        self.progress = progress
        self.as_json = as_json
        self._evaluations: list[Evaluation] = []
        self._announced: set[str] = set()
        """Kinds of marks that were printed."""
        names = [_name_run(task, make_label(method)) for task in prepared.tasks for method in task.methods]
        self._runs = len(names)
        longest = max(map(len, names), default=0)
        self._name_width = longest if longest + _FIGURES_WIDTH <= find_width() else 0

    def announce(self) -> None:
        """Print the number of runs and episodes, and notes about them."""
        for note in self.prepared.notes:
            self.progress.say(f"note: {note}")
        protocols = ", ".join(dict.fromkeys(task.plan.protocol for task in self.prepared.tasks))
        sizes = " and ".join(dict.fromkeys(f"{task.plan.size}" for task in self.prepared.tasks))
        self.progress.say(
            f"{describe_count(self._runs, 'run')}, {describe_count(self.prepared.episodes, 'episode')} at "
            f"{sizes} px, device {self.prepared.settings.device}, protocol {protocols}"
        )

    def print_run(self, task: Task, evaluation: Evaluation) -> None:
        """Print the figures of one run that is complete."""
        from fssbench.runs.store import read_run

        run = read_run(evaluation.path)
        name = run.manifest.context.label
        self._evaluations.append(evaluation)
        if self.as_json:
            emit_json([_as_record(task, evaluation, name, run)])
            return
        self._announce_marks(evaluation.marks)
        score = evaluation.score
        if not evaluation.computed:
            self.progress.skip(str(evaluation.path), score.episodes)
        state = "episodes" if evaluation.computed else "already stored"
        self.progress.result(
            f"{_name_run(task, name):<{self._name_width}}  mIoU {score.miou:4.1f}  FB-IoU {score.fb_iou:4.1f}  "
            f"{score.episodes}/{evaluation.planned} {state}"
        )

    def _announce_marks(self, marks: Sequence[str]) -> None:
        """Print the marks whose kinds were not printed before."""
        new = [mark for mark in marks if mark_kind(mark) not in self._announced]
        if new:
            which = "more marks" if self._announced else "marks, as letters in the table at the end"
            self.progress.result(f"{which}: {to_one_line('; '.join(new))}")
            self._announced.update(map(mark_kind, new))

    def print_table(self) -> None:
        """Print the table of all runs that are complete."""
        if self.as_json or not self._evaluations or self.prepared.settings.shard:
            return
        from rich.console import Console

        from fssbench.analysis.collect import collect
        from fssbench.cli.results_table import print_results

        self.progress.say("computing intervals and comparisons")
        order = {evaluation.identity: i for i, evaluation in enumerate(self._evaluations)}
        try:
            results = collect([evaluation.path for evaluation in self._evaluations])
        except FssbenchError as error:  # the runs are stored even if the table fails
            self.progress.say(f"note: the table cannot be made: {error}")
            return
        cells = sorted(
            results.cells, key=lambda cell: min(order[run.identity] for run in cell.folds.values())
        )
        click.echo()
        print_results(cells, Console(highlight=False, width=find_width()))
        _print_sensitivity(results)

    def conclude(self, out: Path, seconds: float) -> None:
        """Print how long it took, where the runs are, and the next command."""
        if self.prepared.settings.save_masks and self._evaluations:
            self.progress.say(f"The predicted masks are in the folder `{MASKS}` of each run")
        self.progress.say(
            f"finished in {seconds:.0f} s{self._count_missing()}. The runs are in {out}. "
            f"Next: {self._next_command(out)}"
        )

    def conclude_early(self, out: Path) -> None:
        """Print what an interrupted command has stored, and how to resume."""
        report = (
            f", or `{compose_next_command('report', out)}` for the complete runs" if self._evaluations else ""
        )
        self.progress.say(
            f"{len(self._evaluations)} of {self._runs} runs are complete; {self.progress.done:,} of "
            f"{describe_count(self.prepared.episodes, 'episode')} are stored. The runs are in {out}. "
            f"Next: the same command again, which resumes{report}"
        )

    def _count_missing(self) -> str:
        missing = self._runs - len(self._evaluations)
        return f", {missing} of {self._runs} runs are not complete" if missing else ""

    def _next_command(self, out: Path) -> str:
        if not self._evaluations:
            return "see the errors below; with --pdb the same command opens the debugger where a plugin fails"
        if self.prepared.settings.shard:
            return f"`{compose_next_command('merge', out)}` after all shards are complete"
        return f"`{compose_next_command('report', out)}` writes report{os.sep}report.html"


def _print_sensitivity(results: Results) -> None:
    """Print for each cell that was asked again with other supports how much of the answer changed."""
    from fssbench.analysis.row_names import full_name
    from fssbench.analysis.sensitivity import compute_sensitivity

    for each in compute_sensitivity(results):
        cell, changed = each.cell, each.changed
        interval = "" if math.isnan(changed.low) else f" [{changed.low:.1f}, {changed.high:.1f}]"
        click.echo(
            to_one_line(
                f"{cell.benchmark} {cell.shot}-shot {full_name(cell)}: with {each.replaced_by}, {changed.value:.1f} % "
                f"of the answer changes{interval} ({describe_count(each.episodes, 'episode')}; {each.dependence})"
            )
        )


def find_width() -> int:
    """Return the number of characters per line of standard output."""
    if sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) > 0 else PLAIN_WIDTH


def _name_run(task: Task, name: str) -> str:
    """Name a run; the fold is left out if there is only one, and the seed if none was chosen."""
    plan = task.plan
    fold = f" fold {plan.fold}" if len(find_plan_benchmark(plan).folds) > 1 else ""
    seed = f" seed {plan.seed}" if plan.seed else ""
    return to_one_line(f"{plan.benchmark}{fold} {plan.shot}-shot{seed} {name}")


def _as_record(task: Task, evaluation: Evaluation, name: str, run: StoredRun) -> dict[str, Any]:
    """Return one run as a JSON object, unrounded."""
    from fssbench.runs.summary import collect_run_evidence

    evidence, score = collect_run_evidence(run), evaluation.score
    return {
        "run": str(evaluation.path),
        "identity": evaluation.identity,
        "benchmark": task.plan.benchmark,
        "fold": task.plan.fold,
        "shot": task.plan.shot,
        "seed": task.plan.seed,
        "protocol": task.plan.protocol,
        "method": name,
        "miou": score.miou,
        "fb_iou": score.fb_iou,
        "episodes": score.episodes,
        "planned": evaluation.planned,
        "computed": evaluation.computed,
        "queries": evidence.queries,
        "shortage": evidence.shortage,
        "marks": list(evaluation.marks),
    }
