"""Writes the definition of a benchmark or a suite as a TOML file, in the form that is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fssbench.benchmarks.benchmark_file import list_other_classes
from fssbench.benchmarks.class_lists import ClassNames
from fssbench.benchmarks.definition import collect_content
from fssbench.benchmarks.suites import FORMAT as SUITE_FORMAT, Suite
from fssbench.contracts.benchmarks import Benchmark, Folds
from fssbench.errors import FssbenchError

_LONGEST = 100
"""Largest number of characters of the class names that are written beside their ids."""
_HEAD = (
    "# A benchmark of fssbench; docs/benchmarks.md explains the keys.\n"
    "# Before you change anything, give it an id and a title of its own.\n"
)
_SUITE_HEAD = (
    "# A suite of fssbench: benchmarks by name, or by the path of a file relative to this one.\n"
    '# A benchmark may have folds and shots of its own: { name = "pascal5i", folds = [0], shots = [1] }.\n'
)


def format_benchmark(benchmark: Benchmark) -> str:
    """Write a definition as the text of a benchmark file; reading the text gives the same content."""
    content = collect_content(benchmark)
    tables = {name: content.pop(name) for name in ("source", "target", "variants")}
    content["protocol"] = content["protocol"].partition("/")[0]
    target = tables["target"]
    lines = [_HEAD, *_format_pairs(content), "", "[source]"]
    heirs = [v["folds"] for v in tables["variants"] if v["folds"] and v["source"] is None]
    lines += _format_source(tables["source"], target["dataset"], [benchmark.folds, *heirs])
    lines += ["", "[target]", *_format_tested(target, target["dataset"], target["dataset_variant"])]
    for variant in tables["variants"]:
        lines += ["", "[[variants]]"]
        source = variant.pop("source")
        chosen = variant["dataset_variant"] or target["dataset_variant"]
        lines += _format_tested(variant, target["dataset"], chosen)
        if source is not None:
            lines += ["", "[variants.source]"]
            lines += _format_source(source, target["dataset"], [variant["folds"] or benchmark.folds])
    return "\n".join(lines) + "\n"


def format_suite(suite: Suite) -> str:
    """Write a suite as the text of a suite file."""
    lines = [_SUITE_HEAD, *_format_pairs({"format": SUITE_FORMAT, "id": suite.id})]
    lines += _format_pairs({"title": suite.title} if suite.title else {})
    lines += ["benchmarks = ["]
    for member in suite.members:
        given = {"name": member.name, "folds": member.folds, "shots": member.shots}
        pairs = [f"{key} = {_format_value(value)}" for key, value in given.items() if value]
        lines.append(f"    {{ {', '.join(pairs)} }}," if len(pairs) > 1 else f"    {pairs[0][7:]},")
    return "\n".join([*lines, "]"]) + "\n"


def _format_tested(table: Mapping[str, Any], dataset: str, variant: str | None) -> Iterator[str]:
    """Write a table with test classes: those of the target, or of a variant."""
    names = _name_classes(dataset, variant)
    for key, value in table.items():
        if value is not None:
            yield f"{key} = {_format_folds(value, names) if key in ('folds', 'seen') else _format_value(value)}"


def _format_source(table: Mapping[str, Any], target: str, tested: Sequence[Folds]) -> Iterator[str]:
    """Write a source.  `others` is written if it has the same meaning for all folds that use the source."""
    folds = table["folds"]
    yield from _format_pairs({key: value for key, value in table.items() if key != "folds"})
    if folds is None:
        yield 'folds = "all"'
    elif table["dataset"] == target and all(folds == list_other_classes(each) for each in tested):
        yield 'folds = "others"  # the classes of the other folds'
    else:
        yield f"folds = {_format_folds(folds, _name_classes(table['dataset'], None))}"


def _format_folds(folds: Folds, names: Mapping[int, str]) -> str:
    """Write one line per fold, with the names of its classes as a comment."""
    lines = ["["]
    for fold in folds:
        known = [names[c] for c in fold if c in names]
        remark = ", ".join(known)
        is_shown = len(known) == len(fold) and 0 < len(remark) <= _LONGEST and remark.isprintable()
        lines.append(f"    {_format_value(fold)}," + (f"  # {remark}" if is_shown else ""))
    return "\n".join([*lines, "]"])


def _name_classes(dataset: str, variant: str | None) -> Mapping[int, str]:
    """Look up the names of classes; a definition may name a data set that is not installed here."""
    try:
        return ClassNames.of_dataset(dataset, variant).names
    except FssbenchError:
        return {}


def _format_pairs(pairs: Mapping[str, Any]) -> Iterator[str]:
    for key, value in pairs.items():
        yield f"{key} = {_format_value(value)}"


def _format_value(value: Any) -> str:
    """Write a text, a number, a list of numbers in one line, or a list of texts with a line for each."""
    if isinstance(value, str):
        # JSON's text is TOML's, but for the delete character, which TOML wants escaped too
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Sequence):
        if value and all(isinstance(each, str) for each in value):
            return "\n".join(["[", *(f"    {_format_value(each)}," for each in value), "]"])
        return f"[{', '.join(map(_format_value, value))}]"
    return str(value)
