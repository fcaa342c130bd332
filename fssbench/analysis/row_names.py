"""Names of rows, unique among the rows that are shown together.

A name is the label, with as little more as tells it apart: the first of a list of facts that differs,
those that mean most to a person first.  Three strings on a cell build it.  `name` is the method over all
benchmarks, `variant` what tells rows of one method in one column apart, and `setting` what tells columns of
one benchmark and shot apart.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from fssbench.analysis.row_keys import (
    SILENT,
    Key,
    column_key,
    first_run,
    list_packages,
    method_key,
    method_marks,
    read_start_time,
    training_of,
)
from fssbench.contracts.results import Cell, Results, RunResult
from fssbench.contracts.run_manifest import Identity, TrainingSummary

_Facts = tuple[str, ...]


class _Pair(Protocol):
    """Two rows that are compared, see `fssbench.analysis.comparisons.Pair`."""

    @property
    def a(self) -> Cell: ...
    @property
    def b(self) -> Cell: ...
    @property
    def methods(self) -> tuple[str, str]: ...


def with_names(results: Results) -> Results:
    """Give every cell a name; results that have names are returned unchanged."""
    if all(cell.name for cell in results.cells):
        return results
    return replace(results, cells=name_rows(results.cells))


def name_rows(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """Give every cell its `name`, `variant` and `setting`."""
    listed = list(cells)
    keys = [method_key(first_run(cell)) for cell in listed]
    columns = [column_key(first_run(cell)) for cell in listed]
    methods = name_methods(listed)
    names = [methods[key] for key in keys]
    variants = [""] * len(listed)
    for members in _group_equal(keys):
        trained = _describe_trainings([listed[i] for i in members], [columns[i] for i in members])
        for i, text in zip(members, trained, strict=True):
            names[i] = _join_parts(names[i], text)
    for members in _group_equal(list(zip(keys, columns, names, strict=True))):
        apart = (
            _select_fewest_facts(_describe_measurement([listed[i] for i in members]))
            if len(members) > 1
            else [()]
        )
        for i, facts in zip(members, apart, strict=True):
            variants[i] = _join_parts(*facts)
    settings = _find_settings(
        listed, columns, [_join_parts(*two) for two in zip(names, variants, strict=True)]
    )
    return tuple(
        replace(cell, name=name, variant=variant, setting=setting)
        for cell, name, variant, setting in zip(listed, names, variants, settings, strict=True)
    )


def full_name(cell: Cell) -> str:
    """Return the name of a row among the rows of its column."""
    return _join_parts(cell.name or cell.label, cell.variant)


def setting_name(cell: Cell) -> str:
    """Return the name of a row among all rows of its benchmark and shot."""
    return _join_parts(full_name(cell), cell.setting)


def name_pair(pair: _Pair) -> tuple[str, str]:
    """Return the names of the two rows of a pair, for a table with pairs of several columns."""
    a, b = (
        _join_parts(name, cell.setting) for name, cell in zip(pair.methods, (pair.a, pair.b), strict=True)
    )
    return a, b


def row_title(cell: Cell) -> str:
    """Return the name of a row in a table of one benchmark that has a column for the backbone."""
    name = cell.name or cell.label
    beyond = name.removeprefix(cell.label).removeprefix(f", {cell.backbone}")
    return _join_parts(f"{cell.label}{beyond}", cell.variant, cell.setting)


def _join_parts(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _group_equal(keys: Sequence[Hashable]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        groups[key].append(i)
    return list(groups.values())


def name_methods(cells: Iterable[Cell]) -> dict[Key, str]:
    """Name each method (see `method_key`), independent of its trainings."""
    runs = {method_key(run): run for run in map(first_run, cells)}
    names: dict[Key, str] = {}
    by_label: dict[str, list[Key]] = defaultdict(list)
    for key, run in sorted(runs.items()):
        by_label[run.label].append(key)
    for label, keys in by_label.items():
        same = [runs[key] for key in keys]
        facts = list(zip(*(fact(same) for fact in _OF_METHOD), strict=True))
        for key, more in zip(keys, _select_fewest_facts(facts), strict=True):
            names[key] = _join_parts(label, *more)
    often = Counter(names.values())
    count = Counter[str]()
    for key in sorted(names):
        name = names[key]
        if often[name] > 1:  # no text names the facts that differ
            count[name] += 1
            names[key] = f"{name} #{count[name]}"
    return names


def _select_fewest_facts(facts: Sequence[_Facts]) -> list[_Facts]:
    """Select for each item the fewest facts that distinguish it from all others.

    Example:
        >>> _select_fewest_facts([("resnet50", "", "a"), ("resnet50", "untrained", "a"), ("vgg16", "", "b")])
        [('resnet50', ''), ('resnet50', 'untrained'), ('vgg16',)]
    """
    if len(facts) == 1:
        return [()]
    places = _find_distinguishing_facts(facts, [0] * len(facts))
    kept: list[_Facts] = []
    for item in facts:
        shown = [tuple(item[place] for place in places[:n]) for n in range(len(places) + 1)]
        alone = (
            part
            for n, part in enumerate(shown)
            if sum(tuple(other[place] for place in places[:n]) == part for other in facts) == 1
        )
        kept.append(next(alone, shown[-1]))
    return kept


def _find_distinguishing_facts(facts: Sequence[_Facts], where: Sequence[Hashable]) -> list[int]:
    """Indices of the facts that distinguish items with equal `where`: one that suffices alone, or several."""

    def distinct(places: Sequence[int]) -> int:
        return len({(at, *(item[p] for p in places)) for at, item in zip(where, facts, strict=True)})

    width = len(facts[0])
    most = distinct(range(width))
    if most == distinct([]):
        return []
    single = next((p for p in range(width) if distinct([p]) == most), None)
    if single is not None:
        return [single]
    chosen: list[int] = []
    for place in range(width):
        if distinct([*chosen, place]) > distinct(chosen):
            chosen.append(place)
    return chosen


def _describe_trainings(cells: Sequence[Cell], columns: Sequence[Key]) -> list[str]:
    """Facts that distinguish trainings of one method, also in columns where only one of them was measured.

    Rows that differ in their data alone are left to `variant`: it means nothing on another benchmark.
    """
    facts: list[_Facts] = list(zip(*(fact(cells) for fact in _OF_TRAINING), strict=True))
    places = set(_find_distinguishing_facts(facts, columns))
    # a table shows shots in one row: there another training is another row
    shots = [(column[0], *column[2:]) for column in columns]
    trainings = [training_of(first_run(cell))[0] for cell in cells]
    if len(set(zip(shots, trainings, strict=True))) > len(set(shots)):
        places |= set(_find_distinguishing_facts(facts, shots))
    return [_join_parts(*(item[place] for place in sorted(places))) for item in facts]


def _find_settings(cells: Sequence[Cell], columns: Sequence[Key], names: Sequence[str]) -> list[str]:
    """Facts that distinguish rows of equal names at one benchmark and shot: seed, protocol, sizes, cap."""
    texts = [""] * len(cells)
    for members in _group_equal([(cell.benchmark, name) for cell, name in zip(cells, names, strict=True)]):
        facts = [_read_column(columns[i]) for i in members]
        chosen = _find_distinguishing_facts(facts, [cells[i].shot for i in members])
        for i, fact in zip(members, facts, strict=True):
            texts[i] = _join_parts(*(fact[place] for place in chosen))
    return texts


def title_columns(cells: Iterable[Cell]) -> dict[Key, str]:
    """Name the columns of a table of several benchmarks, by their keys (see `fssbench.analysis.row_keys.column_key`).

    Columns of one benchmark and shot are distinguished by as few facts as necessary, such as their seeds.
    """
    columns = list(dict.fromkeys(column_key(first_run(cell)) for cell in cells))
    titles: dict[Key, str] = {}
    for members in _group_equal([column[:2] for column in columns]):
        facts = [_read_column(columns[i]) for i in members]
        places = _find_distinguishing_facts(facts, [0] * len(facts))
        for i, fact in zip(members, facts, strict=True):
            benchmark, shot = columns[i][:2]
            titles[columns[i]] = _join_parts(f"{benchmark} {shot}-shot", *(fact[place] for place in places))
    return titles


def _read_column(column: Key) -> _Facts:
    """Return the parts of a column's key as text, see `fssbench.analysis.row_keys.column_key`."""
    _, _, seed, protocol, score_size, variant, cap, size, sets, dtype, batch = column
    return (
        f"seed {seed}",
        protocol,
        f"{size} px",
        f"scored at {score_size} size",
        cap or "all episodes",
        variant,
        f"{sets} support {'set' if sets == '1' else 'sets'} per query",
        dtype,
        f"batch {batch}",
    )


def _format_settings(runs: Sequence[RunResult]) -> list[str]:
    """Settings in which the methods differ."""
    configs = [run.manifest.block.config for run in runs]
    known = sorted({key for config in configs for key in config})
    differ = [key for key in known if len({str(config.get(key)) for config in configs}) > 1]
    return [_join_parts(*(f"{key}={config.get(key)}" for key in differ)) for config in configs]


def _mark_texts(runs: Sequence[RunResult]) -> list[str]:
    return [_join_parts(*(mark for mark in method_marks(run) if mark in SILENT)) for run in runs]


def _make_field_fact(
    of: Callable[[Identity], object], text: str = "{}", digits: int | None = None
) -> Callable[[Sequence[RunResult]], list[str]]:
    def fact(runs: Sequence[RunResult]) -> list[str]:
        values = [of(run.manifest.block) for run in runs]
        return [text.format(str(value)[:digits]) if value is not None else "" for value in values]

    return fact


_OF_METHOD: tuple[Callable[[Sequence[RunResult]], list[str]], ...] = (
    lambda runs: [run.backbone for run in runs],
    lambda runs: [run.weights for run in runs],
    _format_settings,
    _mark_texts,
    _make_field_fact(lambda block: block.method_version, "version {}"),
    _make_field_fact(lambda block: block.source_sha256, "source {}", 8),
    _make_field_fact(lambda block: block.weights_sha256, "backbone weights {}", 8),
    _make_field_fact(lambda block: block.layout, "layout {}"),
    _make_field_fact(lambda block: block.backbone_source_sha256, "backbone source {}", 8),
)
"""Facts that distinguish methods with one label, over all benchmarks."""


def _find_common(values: Sequence[Mapping[Any, str]]) -> list[str]:
    """Return one text per cell from texts by fold (or by plan), taken where all cells have one.

    A cell with fewer folds than another differs from it in no fact that is a fold's own.
    """
    shared = sorted(set.intersection(*(set(each) for each in values)))
    if not shared:
        return [""] * len(values)
    whole = [tuple(each[key] for key in shared) for each in values]
    for place in range(len(shared)):
        if len({item[place] for item in whole}) == len(set(whole)):
            return [item[place] for item in whole]
    return [hashlib.sha256(repr(item).encode()).hexdigest() for item in whole]


def _shorten_hashes(
    cells: Sequence[Cell], text: str, of: Callable[[RunResult], object], *, by_plan: bool = False
) -> list[str]:
    values = [
        {(run.plan_sha256 if by_plan else fold): str(of(run) or "") for fold, run in cell.folds.items()}
        for cell in cells
    ]
    return [text.format(value[:8]) if value else "" for value in _find_common(values)]


def _describe_checkpoints(cells: Sequence[Cell]) -> list[str]:
    """Return the name of each cell's checkpoints, with `{fold}` where its folds' names differ by that alone."""
    names = [
        {fold: run.manifest.context.checkpoint or "" for fold, run in cell.folds.items()} for cell in cells
    ]
    common = _find_common(names)
    shown = [_find_pattern(each) or text for each, text in zip(names, common, strict=True)]
    alike = len(set(shown)) == len(set(common)) == len(set(zip(shown, common, strict=True)))
    return [_remove_ending(text) for text in (shown if alike else common)]


def _find_pattern(names: Mapping[int, str]) -> str:
    patterns = {name.replace(str(fold), "{fold}") for fold, name in names.items()}
    return patterns.pop() if len(patterns) == 1 and len(names) > 1 else ""


def _remove_ending(name: str) -> str:
    for ending in (".safetensors", ".pth", ".pt"):
        name = name.removesuffix(ending)
    return name


def _make_training_fact(
    of: Callable[[TrainingSummary], object], text: str
) -> Callable[[Sequence[Cell]], list[str]]:
    def fact(cells: Sequence[Cell]) -> list[str]:
        trainings = [first_run(cell).manifest.context.training for cell in cells]
        values = [None if training is None else of(training) for training in trainings]
        return [text.format(value) if value is not None else "" for value in values]

    return fact


def _describe_packages(cells: Sequence[Cell]) -> list[str]:
    """Packages whose versions differ."""
    each = [list_packages(first_run(cell)) for cell in cells]
    known = sorted({name for packages in each for name in packages})
    differ = [name for name in known if len({packages.get(name) for packages in each}) > 1]
    return [_join_parts(*(f"{name} {packages.get(name, 'unknown')}" for name in differ)) for packages in each]


def _describe_other_marks(cells: Sequence[Cell]) -> list[str]:
    """Return the marks that only some of the cells have, without those that name methods."""
    each = [set(method_marks(first_run(cell))) - set(SILENT) for cell in cells]
    all_have = set.intersection(*each)
    return [_join_parts(*sorted(marks - all_have)) for marks in each]


def _make_run_fact(
    of: Callable[[Identity], object], text: str, digits: int | None = None
) -> Callable[[Sequence[Cell]], list[str]]:
    fact = _make_field_fact(of, text, digits)
    return lambda cells: fact([first_run(cell) for cell in cells])


_OF_TRAINING: tuple[Callable[[Sequence[Cell]], list[str]], ...] = (
    _describe_checkpoints,
    _make_training_fact(lambda training: training.seed, "training seed {}"),
    _make_training_fact(lambda training: training.steps_planned, "{} steps"),
    _make_training_fact(lambda training: training.dataset, "trained on {}"),
    _make_training_fact(lambda training: training.size, "trained at {} px"),
    _make_training_fact(lambda training: training.shot, "trained {}-shot"),
    _describe_other_marks,
    lambda cells: _shorten_hashes(cells, "checkpoint {}", lambda run: run.manifest.context.checkpoint_sha256),
    lambda cells: _shorten_hashes(cells, "training {}", lambda run: training_of(run)[0]),
    lambda cells: _shorten_hashes(cells, "weights {}", lambda run: run.manifest.block.head_sha256),
    _describe_packages,
    _make_run_fact(lambda block: block.device, "on {}"),
    _make_run_fact(lambda block: block.dtype, "{}"),
    _make_run_fact(lambda block: block.batch, "batch {}"),
)
"""Facts that distinguish trainings of one method, and the programs that measured them."""


def _make_start_fact(length: int) -> Callable[[Sequence[Cell]], list[str]]:
    """Start of each cell's first run: 10 characters give the day, 16 the minute."""

    def fact(cells: Sequence[Cell]) -> list[str]:
        begun = [min(read_start_time(run) for run in cell.folds.values()) for cell in cells]
        return [text[:length].replace("T", " ") for text in begun]

    return fact


_OF_MEASUREMENT: tuple[Callable[[Sequence[Cell]], list[str]], ...] = (
    lambda cells: _shorten_hashes(cells, "data {}", lambda run: run.manifest.block.data_sha256, by_plan=True),
    lambda cells: _shorten_hashes(cells, "episodes {}", lambda run: run.plan_sha256),
    _make_run_fact(lambda block: block.lists, "{}", 60),
    _make_run_fact(lambda block: block.reader_sha256, "data set reader {}", 8),
    _make_run_fact(lambda block: block.benchmark_version, "benchmark version {}"),
    _make_run_fact(lambda block: block.engine, "engine {}"),
    _make_run_fact(lambda block: block.absent, "absent classes: {}"),
    _make_start_fact(10),
    _make_start_fact(16),
    _make_start_fact(23),
    lambda cells: [f"folds {' '.join(map(str, sorted(cell.folds)))}" for cell in cells],
    lambda cells: [f"run {first_run(cell).identity[:8]}" for cell in cells],
)
"""Facts that distinguish rows of one method in one column."""


def _describe_measurement(cells: Sequence[Cell]) -> list[_Facts]:
    return list(zip(*(fact(cells) for fact in _OF_MEASUREMENT), strict=True))
