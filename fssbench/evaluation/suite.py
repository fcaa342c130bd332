"""From a request to runs: what is to be measured, a preflight, and the work itself.

The preflight finds whatever would stop the run later (a missing data set, weight or checkpoint, a
folder that cannot be written, a broken plugin) before the first episode, all at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from fssbench.benchmarks.catalogue import find_benchmark
from fssbench.benchmarks.suites import Member, find_suite
from fssbench.contracts.arguments import Count, Natural, Seed, Shot, Side
from fssbench.contracts.benchmarks import Resolved
from fssbench.contracts.episodes import Plan
from fssbench.contracts.methods import Method, needs_checkpoint
from fssbench.data.location import find_data_folder, is_miniature
from fssbench.episodes.replay import prepare_given_plan
from fssbench.episodes.sampling import MINI_SIZE, plan
from fssbench.errors import DataError, FssbenchError, LackingError, UsageError
from fssbench.evaluation.addressed_settings import check_addresses, select_settings
from fssbench.evaluation.batches import explain_unbatched
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.isolated_method import find_unprotected
from fssbench.evaluation.precision import require_precision
from fssbench.evaluation.settings import Evaluation, Settings, make_cache
from fssbench.evaluation.walk import Watch
from fssbench.files.writable import require_writable
from fssbench.loading.load import load_method, require_taps
from fssbench.loading.required_weights import require_weights
from fssbench.loading.weights_choice import Choice, choose_weights, explain_weights_on_command_line
from fssbench.plugins.registry import DATASETS, METHODS
from fssbench.plural import describe_count
from fssbench.runs.early_marks import make_training_marks, read_plan_pictures

MINI_EPISODES = 8
"""Cap of a miniature run that names none: it is there to be seen working, not to be believed."""
MINI_ENOUGH = 60
"""Cap with which every cross-domain miniature has enough queries for a verdict (`fssbench.evidence`)."""


@dataclass(frozen=True)
class Request:
    """Request of `fssbench run`: methods, benchmarks and options."""

    methods: tuple[str, ...]
    suite: str | None = None
    benchmarks: tuple[str, ...] = ()
    folds: tuple[Natural, ...] = ()
    """Empty for all folds."""
    shots: tuple[Shot, ...] = ()
    """Empty for the shots with published figures."""
    seeds: tuple[Seed, ...] = (0,)
    plan_files: tuple[Path, ...] = ()
    """Stored plans to run instead of drawing any."""
    protocol: str | None = None
    """None for the protocol of each benchmark."""
    episodes: Count | None = None
    supports: Count = 1
    """Support sets per query; with several, `episodes` counts queries."""
    size: Side | None = None
    data: str | None = None
    splits: str | None = None
    backbone: str | None = None
    weights: str | None = None
    checkpoint: str | None = None
    """`{fold}` and `{method}` are filled in."""
    ablate: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    """Settings by `SETTING`, for all methods, or `METHOD.SETTING`, for one."""
    untrained: bool = False
    force: bool = False
    """Load checkpoints of other methods or settings, marked."""
    download: bool = False
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Task:
    """One plan, and the methods to run on it."""

    plan: Plan
    methods: tuple[Method, ...]


@dataclass(frozen=True)
class CheckedRequest:
    """A request that passed the preflight."""

    tasks: tuple[Task, ...]
    settings: Settings
    notes: tuple[str, ...]
    """Remarks for the user: capped plans, marks, test classes seen in training."""

    @property
    def episodes(self) -> int:
        """Episodes of all runs, those stored already included."""
        part, parts = self.settings.shard or (1, 1)
        return sum(
            (part * len(t.plan) // parts - (part - 1) * len(t.plan) // parts) * len(t.methods)
            for t in self.tasks
        )


def prepare(request: Request, *, tell: Callable[[str], None] = lambda _: None) -> CheckedRequest:
    """Resolve a request and check everything that it needs.

    Args:
        request: what is to be measured.
        tell: called with what is being done, for the log.

    Raises:
        FssbenchError: for all problems together; the exit code is that of the first.
    """
    problems: list[FssbenchError] = []

    def collect_error(step: Callable[[], Any]) -> Any:
        try:
            return step()
        except FssbenchError as error:
            if str(error) not in {str(p) for p in problems}:
                problems.append(error)
            return None

    names = [n for n in request.methods if collect_error(lambda n=n: METHODS.get(n)) is not None]  # type: ignore[misc]
    if not request.methods:
        problems.append(UsageError("no method given. Next: `fssbench list methods`, then --method NAME"))
    collect_error(lambda: require_writable(request.settings.out, "--out"))
    collect_error(lambda: require_precision(request.settings.precision, request.settings.device))
    tell("looking at data and lists")
    plans, notes = collect_error(lambda: _draw_plans(request, collect_error)) or ([], [])
    tell("loading methods")
    loader = _Loader(request, names)
    tasks = []
    for drawn in plans:
        methods = [collect_error(lambda n=n, p=drawn: loader.get(n, p)) for n in names]  # type: ignore[misc]
        tasks.append(Task(drawn, tuple(m for m in methods if m is not None)))
    notes += collect_error(lambda: [*check_addresses(request.config, names)]) or []
    notes = [*notes, *_note_unprotected(tasks, request.settings, problems)]
    notes += explain_unbatched([method for task in tasks for method in task.methods], request.settings)
    lacking = [problem for problem in problems if isinstance(problem, LackingError)]
    if len(lacking) == len(problems) and any(task.methods for task in tasks):
        notes += [f"left out: {problem}" for problem in lacking]
    elif problems:
        raise _join_errors(problems)
    notes += [*loader.notes, *_note_trainings(tasks)]
    return CheckedRequest(tuple(tasks), request.settings, tuple(dict.fromkeys(notes)))


def _note_trainings(tasks: Sequence[Task]) -> Iterator[str]:
    """Say what the checkpoints record about their training that a reader of the figures must know.

    A method gets one note per kind of fact; the first fact is quoted, the others are counted.
    """
    places: defaultdict[tuple[str, str], dict[str, dict[str, None]]] = defaultdict(dict)
    for task in tasks:
        trained = any(method.provenance.training for method in task.methods)
        pictures = read_plan_pictures(task.plan) if trained else None
        for method in task.methods:
            facts = [(mark.kind, str(mark)) for mark in make_training_marks(method, task.plan, pictures)]
            training = method.provenance.training
            size = training.size if training is not None else None
            if size not in (None, task.plan.size):
                facts.append(("size", f"trained at {size} px, measured at {task.plan.size} px (--size)"))
            if _was_edited_since_training(method):
                facts.append(
                    ("code", "trained before the code of the method was edited, measured with the new code")
                )
            for kind, fact in facts:
                facts_of_kind = places[method.card.name, kind]
                facts_of_kind.setdefault(fact, {})[f"{task.plan.benchmark} fold {task.plan.fold}"] = None
    for (name, _), facts_of_kind in places.items():
        (fact, where), *others = facts_of_kind.items()
        first, *more = where
        also = f" and {len(more)} more" if more else ""
        like = f"; {len(others)} more like this on other folds" if others else ""
        yield f"{name}: checkpoint {fact}, on {first}{also}{like}"


def _note_unprotected(
    tasks: Sequence[Task], settings: Settings, problems: list[FssbenchError]
) -> Iterator[str]:
    """Say which methods run in this process because they cannot be apart; a problem if --isolate is given."""
    names = ", ".join(find_unprotected([method for task in tasks for method in task.methods], settings))
    batched = f"--batch {settings.batch}" if settings.batch > 1 else ""
    if names and settings.isolate and batched:
        problems.append(
            UsageError(
                f"--isolate is not possible with {batched} for {names}: a separate process gets one episode at a "
                "time. Next: leave out one of these options"
            )
        )
    elif names and settings.isolate:
        problems.append(UsageError(f"--isolate needs the CPU of Linux, not device {settings.device!r}"))
    elif names:
        needs = "one episode at a time" if batched else "the CPU of Linux"
        yield f"{names}: no separate process, which needs {needs}; its crash or hang ends all methods"


def _was_edited_since_training(method: Method) -> bool:
    """Return whether a plugin's checkpoint comes from other code of the same method.

    Built-in methods are left out: between releases their code changes in form, and tests compare their figures.
    """
    made, training = method.provenance, method.provenance.training
    if training is None or training.method_sha256 is None or training.method != made.method:
        return False
    built_in = (made.method_version or "").startswith("fssbench ")
    return not built_in and training.method_sha256 != made.source_sha256


def execute(
    prepared: CheckedRequest,
    *,
    watch: Callable[[Task], Watch] | None = None,
    resumed: Callable[[Task], Watch] | None = None,
) -> Iterator[tuple[Task, list[Evaluation], list[tuple[Method, FssbenchError]]]]:
    """Run every task, in order, with one feature cache for all.

    A method that the others of its task would wait for goes through all its plans alone, after the others.  Damaged
    data, a locked folder or a full disk end their task alone.

    Yields:
        Each task with what was evaluated and what broke; a task again for each of its methods that ran later.
    """
    cache = make_cache(prepared.settings)
    later: dict[str, list[Task]] = {}
    """Tasks of the methods that run alone, by the name of the method."""

    def run(task: Task, defer: Callable[[Method], None] | None) -> Any:
        step, note = (each(task) if each else None for each in (watch, resumed))
        try:
            results = evaluate_all(
                task.methods, task.plan, prepared.settings, cache=cache, watch=step, defer=defer, resumed=note
            )
        except FssbenchError as error:
            ended = _name_task(error, task) if len(prepared.tasks) > 1 else error
            results = [], [(method, ended) for method in task.methods]
        return task, *results

    def put_off(task: Task, method: Method) -> None:
        later.setdefault(method.card.name, []).append(replace(task, methods=(method,)))

    for task in prepared.tasks:
        slow = [method for method in task.methods if method.card.name in later]
        together = tuple(method for method in task.methods if method not in slow)
        if together:
            yield run(replace(task, methods=together) if slow else task, partial(put_off, task))
        for method in slow:
            put_off(task, method)
    for tasks in later.values():
        for task in tasks:
            yield run(task, None)


def _name_task(error: FssbenchError, task: Task) -> FssbenchError:
    """Return the error with the name of the task that it ended."""
    plan = task.plan
    named = type(error)(f"{plan.benchmark} fold {plan.fold}, {plan.shot}-shot: {error}")
    named.__cause__ = error
    return named


def _draw_plans(
    request: Request, collect_error: Callable[[Callable[[], Any]], Any]
) -> tuple[list[Plan], list[str]]:
    if request.plan_files:
        return _read_stored_plans(request, collect_error), []
    plans: list[Plan] = []
    notes: list[str] = []
    for place, resolved in list_places(request).items():
        _, fold, shot, seed = place
        root = _resolve_data_folder(request, resolved.benchmark.target)
        cap, remarks = _choose_cap(request, root)
        notes.extend(remarks)
        draw = partial(
            plan,
            resolved,
            fold=fold,
            shot=shot,
            seed=seed,
            protocol=request.protocol,
            data=root,
            splits=request.splits,
            episodes=cap,
            size=request.size,
            supports=request.supports,
        )
        drawn = collect_error(draw)
        if drawn is not None:
            plans.append(drawn)
            notes.extend(_note_short_plan(drawn, request.episodes))
        notes.extend(_note_seen_classes(resolved, fold))
    return plans, notes


def list_places(request: Request) -> dict[tuple[str, int, int, int], Resolved]:
    """List benchmark, fold, shot and seed of each plan, each once; options come before what a suite says.

    Raises:
        UsageError: if the request names no benchmark, or one that does not exist.
    """
    members = [*(find_suite(request.suite).members if request.suite else ())]
    members += [Member(name=str(name), benchmark=find_benchmark(name)) for name in request.benchmarks]
    if not members:
        raise UsageError(
            "nothing to run on. Next: `--suite cross-domain`, or `--benchmark NAME` (`fssbench list benchmarks`)"
        )
    places: dict[tuple[str, int, int, int], Resolved] = {}
    for member in members:
        resolved = member.benchmark
        for fold in request.folds or member.folds or range(len(resolved.folds)):
            for shot in request.shots or member.shots or resolved.benchmark.shots:
                for seed in request.seeds:
                    places.setdefault((resolved.id, fold, shot, seed), resolved)
    return places


def _resolve_data_folder(request: Request, target: str) -> Path | None:
    """Return the folder of all data sets; None for a data set in a folder of the user's own."""
    try:
        if DATASETS.get(target).home is not None:
            return None
    except FssbenchError:
        pass  # drawing the plan raises it again, together with the errors of other plans
    root = find_data_folder(request.data)
    if root is None:
        raise DataError("no data. Next: give --data DIR, set FSSBENCH_DATA, or use --data mini")
    return root


def _choose_cap(request: Request, root: Path | None) -> tuple[int | None, list[str]]:
    """Return the number of episodes, and what the user should know about the limits of a miniature."""
    if not is_miniature(root):
        return request.episodes, []
    notes = ["miniature data: figures are not benchmark figures"]
    if request.episodes is None:
        notes.append(
            f"miniature runs stop at {MINI_EPISODES} episodes, too few queries for an interval or a verdict "
            f"(--episodes {MINI_ENOUGH} has enough)"
        )
    if request.size is None:
        notes.append(f"miniature runs see images at {MINI_SIZE} px (--size)")
    return request.episodes or MINI_EPISODES, notes


def _read_stored_plans(request: Request, collect_error: Callable[[Callable[[], Any]], Any]) -> list[Plan]:
    """Read the plans of files and check them against the data."""
    usual = Request(methods=())
    names = ("suite", "benchmarks", "folds", "shots", "seeds", "protocol", "size", "supports")
    given = [
        name if name == "supports" else name.removesuffix("s")
        for name in names
        if getattr(request, name) != getattr(usual, name)
    ]
    if given:
        raise UsageError(f"a plan says itself what --{given[0]} says: give --plan or --{given[0]}, not both")
    plans = [
        collect_error(lambda f=file: prepare_given_plan(f, request.data, request.splits))  # type: ignore[misc]
        for file in request.plan_files
    ]
    return [p if request.episodes is None else p.head(request.episodes) for p in plans if p is not None]


def _note_short_plan(drawn: Plan, wanted: int | None) -> Iterator[str]:
    """Say that a plan has fewer episodes than the user asked for."""
    if wanted is not None and wanted > len(drawn):
        yield f"{drawn.benchmark}: its plan has {describe_count(len(drawn), 'episode')}, fewer than --episodes {wanted}"


def _note_seen_classes(resolved: Resolved, fold: int) -> Iterator[str]:
    """Say which test classes the published source models were trained on."""
    seen = resolved.seen
    if seen and fold < len(seen) and seen[fold]:
        yield (
            f"{resolved.id} fold {fold}: {len(seen[fold])} of {len(resolved.folds[fold])} test classes "
            f"(ids {', '.join(map(str, seen[fold]))}) are among the classes of the source training set"
        )


class _Loader:
    """Loads each method once per checkpoint; methods of a request share their backbone."""

    def __init__(self, request: Request, methods: Sequence[str]) -> None:
        self.request = request
        self._notes: list[str] = []
        self._shipped: dict[str, dict[str, None]] = {}
        """Names of the shipped checkpoints of each method."""
        self._loaded: dict[tuple[str, Path | None], Method | FssbenchError] = {}
        self._methods = methods

    @property
    def notes(self) -> list[str]:
        """Notes for the user about the weights that were loaded."""
        shipped = []
        for name, (first, *others) in self._shipped.items():
            also = f" and {len(others)} more" if others else ""
            shipped.append(f"{name}: shipped checkpoint {first}{also}")
        return [*shipped, *self._notes]

    def get(self, name: str, drawn: Plan) -> Method:
        cls, request = METHODS.get(name), self.request
        checkpoint = request.checkpoint
        if not needs_checkpoint(cls) and any(needs_checkpoint(METHODS.get(n)) for n in request.methods):
            checkpoint = None  # --checkpoint is meant for the methods that are trained
        if checkpoint is not None:
            checkpoint = checkpoint.replace("{fold}", str(drawn.fold)).replace("{method}", name)
        choice = choose_weights(
            cls,
            drawn,
            backbone=request.backbone,
            weights=request.weights,
            checkpoint=checkpoint,
            ablate=request.ablate,
            config=select_settings(request.config, name, self._methods),
            untrained=request.untrained,
        )
        if choice.shipped and choice.checkpoint is not None:
            self._shipped.setdefault(name, {})[choice.checkpoint.name] = None
        key = name, choice.checkpoint
        if key not in self._loaded:
            try:
                self._loaded[key] = self._load(cls, choice)
            except LackingError as error:
                self._loaded[key] = LackingError(f"method {name!r}: {error}")
            except FssbenchError as error:
                self._loaded[key] = error
        loaded = self._loaded[key]
        if isinstance(loaded, FssbenchError):
            raise loaded
        return loaded

    def _load(self, cls: type[Method], choice: Choice) -> Method:
        request, name = self.request, cls.card.name
        if choice.lacking:
            raise DataError(explain_weights_on_command_line(cls))
        if needs_checkpoint(cls) and choice.checkpoint is None:
            self._notes.append(f"{name}: no checkpoint, its weights come from a seed; marked untrained")
        require_weights(cls, choice, request.weights, ablate=request.ablate, download=request.download)
        method = load_method(
            cls,
            backbone=choice.backbone,
            weights=request.weights,
            checkpoint=choice.checkpoint,
            ablate=request.ablate,
            download=request.download,
            untrained=choice.checkpoint is None,
            force=request.force,
            **choice.config,
        )
        require_taps(method)
        return method


def _join_errors(problems: Sequence[FssbenchError]) -> FssbenchError:
    if len(problems) == 1:
        return problems[0]
    text = "\n".join(f"  {i}. {problem}" for i, problem in enumerate(problems, start=1))
    return type(problems[0])(f"{len(problems)} problems before the first episode:\n{text}")
