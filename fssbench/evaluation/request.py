"""Evaluates methods by their names: `fssbench.run` from Python, with the rules of `fssbench run`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, overload

import numpy as np

from fssbench.contracts.arguments import build_from_arguments, check_arguments
from fssbench.errors import FssbenchError, make_unknown_error
from fssbench.evaluation.settings import Evaluation, Settings, make_settings
from fssbench.evaluation.suite import Request, execute, prepare
from fssbench.loading.settings import refuse_reserved
from fssbench.markup import make_table
from fssbench.plugins.registry import load_plugins
from fssbench.plural import describe_count
from fssbench.progress import Progress

_SEVERAL = {
    "benchmark": "benchmarks",
    "fold": "folds",
    "shot": "shots",
    "seed": "seeds",
    "plan": "plan_files",
    "ablate": "ablate",
}
"""Arguments that take one value or several, and the field of `Request` that holds them."""


@dataclass(frozen=True, repr=False)
class Evaluations(Sequence[Evaluation]):
    """The results of several methods on several plans, in the order in which they were completed."""

    evaluations: tuple[Evaluation, ...]
    notes: tuple[str, ...] = ()
    """Remarks for the user: capped plans, chosen checkpoints, test classes seen in training."""

    @overload
    def __getitem__(self, index: int) -> Evaluation: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Evaluation, ...]: ...
    def __getitem__(self, index: int | slice) -> Evaluation | tuple[Evaluation, ...]:
        return self.evaluations[index]

    def __len__(self) -> int:
        return len(self.evaluations)

    def __iter__(self) -> Iterator[Evaluation]:
        return iter(self.evaluations)

    def __repr__(self) -> str:
        return "\n".join(map(str, self.evaluations)) or "no run"

    def _repr_html_(self) -> str:
        """Show one row per run in a notebook, with interval, episodes and marks."""
        rows = []
        for each in self.evaluations:
            miou, fb_iou = each.describe_figures()
            episodes = f"{each.score.episodes} of {each.planned}"
            rows.append((each.path.name, miou, fb_iou, episodes, "; ".join(each.marks)))
        return make_table(("run", "mIoU", "FB-IoU", "episodes", "marks"), rows, self.notes)


@check_arguments
def run(
    methods: str | Sequence[str],
    benchmark: str | Path | Sequence[str | Path] | None = None,
    *,
    suite: str | Path | None = None,
    data: str | Path | None = None,
    out: str | Path = "runs",
    device: str = "auto",
    config: Mapping[str, Any] | None = None,
    plugins: str | Path | Sequence[str | Path] = (),
    progress: bool = True,
    **options: Any,
) -> Evaluations:
    """Evaluate methods on benchmarks, as `fssbench run` does.  The same call again resumes.

    Weights are chosen, data are checked and runs on the miniature are capped as by the command.  The runs have the
    same identities and folders.

    Args:
        methods: a method or several, by name.
        benchmark: a benchmark or several: an id, with its variant if wanted, or a TOML file.
        suite: a named list of benchmarks, such as `cross-domain`, or a TOML file.
        data: folder of all data sets, `mini`, or None for `FSSBENCH_DATA`.
        out: folder of all runs.
        device: torch device; `auto` is the first CUDA device, else the CPU.
        config: settings of the method, by name.
        plugins: plugin files, folders or modules to load first.
        progress: whether to show progress: a bar in a notebook or at a terminal, lines in a pipe.
        **options: other options of `fssbench run`: `fold`, `shot`, `seed`, `plan` and `ablate` take one value or
            several; `protocol`, `episodes`, `supports`, `size`, `splits`, `backbone`, `weights`, `checkpoint`,
            `untrained`, `force`, `download`, and the fields of `fssbench.evaluation.settings.Settings`, such as
            `shard`.

    Returns:
        One evaluation per method and plan.

    Raises:
        UsageError: for an unknown name or a value that is not allowed.
        FssbenchError: for all problems found before the first episode; or, after all others were evaluated, for the
            methods that broke their contract.

    Example:
        >>> import fssbench
        >>> done = fssbench.run("panet", "pascal-to-chestxray", data="mini", shot=1, episodes=2, size=96)
        >>> len(done), done[0].score.episodes
        (1, 2)
    """
    load_plugins(plugins)
    shown = Progress(quiet=not progress)
    given = {
        "benchmark": benchmark,
        "suite": suite,
        "data": data,
        "out": Path(out),
        "device": device,
        **options,
    }
    prepared = prepare(make_request(_as_list(methods), config or {}, given), tell=shown.say)
    done: list[Evaluation] = []
    broken: list[FssbenchError] = []
    try:
        with shown.over(prepared.episodes):
            for _, evaluations, failed in execute(prepared, watch=shown.watch, resumed=shown.resume):
                for evaluation in evaluations:
                    if not evaluation.computed:
                        shown.skip(str(evaluation.path), evaluation.score.episodes)
                done += evaluations
                broken += [error for _, error in failed]
    except KeyboardInterrupt:
        shown.say(
            f"{describe_count(len(done), 'run is', 'runs are')} complete, in {out}. Next: the same call again, "
            "which resumes"
        )
        raise
    raise_broken(broken)
    return Evaluations(tuple(done), prepared.notes)


def raise_broken(errors: Sequence[FssbenchError]) -> None:
    """Raise the errors of the methods that broke while others went on, as one error; do nothing if there are none."""
    if errors:
        raise type(errors[0])("\n".join(dict.fromkeys(map(str, errors))))


def make_request(methods: Iterable[str], config: Mapping[str, Any], given: Mapping[str, Any]) -> Request:
    """Make the request from arguments of a Python call.

    Args:
        methods: names of methods.
        config: settings of the methods.
        given: the other arguments of `run`.

    Raises:
        UsageError: for an unknown argument or a value that is not allowed.
    """
    refuse_reserved(config)
    of_settings = {field.name for field in fields(Settings)}
    of_request = {field.name for field in fields(Request)} - {
        *_SEVERAL.values(),
        "methods",
        "config",
        "settings",
    }
    for name in given:
        if name not in (known := {*of_settings, *of_request, *_SEVERAL}):
            raise make_unknown_error("argument of fssbench.run", name, known, hint="Next: help(fssbench.run)")
    of_settings &= given.keys()
    settings = make_settings(**{"isolate": None, **{name: given[name] for name in of_settings}})
    values: dict[str, Any] = {
        "methods": tuple(dict.fromkeys(methods)),
        "config": dict(config),
        "settings": settings,
    }
    for name, value in given.items():
        if name in _SEVERAL:
            several = [_as_plain(each) if name == "benchmark" else each for each in _as_list(value)]
            values[_SEVERAL[name]] = tuple(dict.fromkeys(several))
        elif name not in of_settings:
            values[name] = _as_plain(value)
    if not values.get("seeds"):
        values.pop("seeds", None)
    return build_from_arguments(Request, values, function="fssbench.run")


def _as_list(value: Any) -> list[Any]:
    """Return several values as a list, one value as a list of one, and None as an empty list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set | range | np.ndarray) else [value]


def _as_plain(value: Any) -> Any:
    """Return a path as a string, and any other value unchanged."""
    return str(value) if isinstance(value, Path) else value
