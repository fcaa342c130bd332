"""Writes the reference pages of what is registered: methods, data sets, benchmarks, backbones, reporters, marks.

The facts are those of `fssbench show NAME`, so a page cannot differ from the command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from site_drawings import draw_folds, draw_taps
from site_markdown import escape_markup, make_cell, make_facts, make_table

from fssbench.benchmarks.catalogue import BENCHMARKS, find_benchmark
from fssbench.benchmarks.suites import SUITES
from fssbench.cli.show import KINDS
from fssbench.plugins.registry import BACKBONES, DATASETS, METHODS, REPORTERS
from fssbench.runs.mark_legend import MARK_MEANINGS

Pages = dict[str, str]
"""Markdown by the page's place below `docs/`."""
FOLDER = "reference"
COLUMNS = {
    "settings (--set)": ("setting", "type, default and meaning"),
    "ablations (--ablate)": ("ablation", "label and settings"),
    "shipped checkpoints": ("file", "training"),
    "weights": ("`--weights`", "what it is"),
    "test classes": ("fold", "classes"),
    "training classes": ("fold", "class ids"),
    "variants": ("variant", "meaning"),
}
_TAP = re.compile(r"(?P<name>\S+): (?P<channels>\d+) channels, stride (?P<stride>\d+), (?P<stage>.*)")


def _open_page(title: str, name: str, command: str) -> str:
    return f"# {escape_markup(title)}\n\n`{name}` — the facts that `{command}` prints.\n\n"


def _link(name: str, kind: str, *, below: bool = False) -> str:
    return f"[`{name}`]({kind + '/' if below else ''}{name.replace(':', '-')}.md)"


def write_method_pages() -> Pages:
    """Write a page per method, and their table."""
    pages, rows = {}, []
    for name in METHODS.names():
        facts = KINDS["method"](name)
        published = facts.pop("published mIoU")
        title, paper = facts.pop("title"), facts.pop("paper")
        facts["K supports"] = facts.pop("shots")
        text = (
            _open_page(title, name, f"fssbench show {name}")
            + f"{escape_markup(paper)} ({facts['year']}).\n\n"
        )
        text += make_facts(_without(facts, "kind", "name", "year", "origin"), columns=COLUMNS)
        pages[f"{FOLDER}/methods/{name}.md"] = text + _make_published_table(published)
        trained = "trained" if facts["trained"] else "training-free"
        equal = "yes" if isinstance(facts["equal to its reference"], list) else "not compared"
        rule = "vote" if METHODS.get(name).shots == "vote" else "together"
        cells = (title, facts["year"], facts["compares by"], trained, rule, equal)
        rows.append((_link(name, "methods", below=True), *map(make_cell, cells)))
    columns = ("method", "name", "year", "compares by", "weights", "K supports", "equal to its reference")
    intro = (
        "# Methods\n\nEvery method that is built in. What is proven of each, and what is missing: "
        "[methods](../methods.md).\n\n"
    )
    return {f"{FOLDER}/methods.md": intro + make_table(columns, rows), **pages}


def _make_published_table(published: Any) -> str:
    """Write the published figures of a method; their places are `benchmark, backbone, shot, name`."""
    if not isinstance(published, Mapping):
        return ""
    rows = [
        (*(make_cell(part) for part in place.split(", ", 3)), make_cell(figure))
        for place, figure in published.items()
    ]
    head = "\n## Published mIoU\n\nFigures as printed, in percent, each with its source.\n\n"
    return head + make_table(("benchmark", "backbone", "shots", "row", "figure"), rows)


def write_dataset_pages() -> Pages:
    """Write a page per data set, and their table."""
    pages, rows = {}, []
    for name in DATASETS.names():
        facts = KINDS["dataset"](name)
        classes = facts.pop("classes")
        if set(classes) == {"all"}:
            classes = {"": classes["all"]}
        title = facts.pop("title")
        shown = _without(facts, "kind", "name", "origin", "reference", "layout", "benchmarks")
        text = _open_page(title, name, f"fssbench show {name} --kind dataset") + make_facts(shown)
        text += f"\n## Layout on disk\n\n```text\n{facts['layout']}\n```\n"
        text += "\n## Benchmarks\n\n" + _list_links(facts["benchmarks"], "../benchmarks")
        text += "\n## Classes\n\n" + "".join(
            f"{f'**{variant}**: ' if variant else ''}{make_cell(listed)}\n\n"
            for variant, listed in classes.items()
        )
        pages[f"{FOLDER}/datasets/{name}.md"] = text
        cells = (title, facts["domain"], facts["licence"], facts["variants"])
        rows.append((_link(name, "datasets", below=True), *map(make_cell, cells)))
    columns = ("data set", "name", "domain", "licence", "variants")
    intro = (
        "# Data sets\n\nfssbench downloads none of them. What is read and refused: [data](../data.md).\n\n"
    )
    return {f"{FOLDER}/datasets.md": intro + make_table(columns, rows), **pages}


def _list_links(names: list[str], folder: str) -> str:
    return "".join(f"- [`{name}`]({folder}/{name}.md)\n" for name in names) or "None.\n"


def write_benchmark_pages() -> Pages:
    """Write a page per benchmark, and the table of benchmarks and suites."""
    pages, rows = {}, []
    for name, record in BENCHMARKS.items():
        facts = KINDS["benchmark"](name)
        title, pitfalls = facts.pop("title"), facts.pop("pitfalls", [])
        text = _open_page(title, name, f"fssbench show {name}")
        text += '!!! warning "Pitfalls"\n\n' + "".join(f"    - {make_cell(p)}\n" for p in pitfalls) + "\n"
        text += _draw_benchmark(name)
        text += make_facts(_without(facts, "kind", "id"), columns=COLUMNS)
        pages[f"{FOLDER}/benchmarks/{name}.md"] = text
        cells = (title, record.category, record.source, len(record.folds), record.episodes, record.size)
        rows.append((_link(name, "benchmarks", below=True), *map(make_cell, cells)))
    columns = ("benchmark", "name", "category", "trained on", "folds", "episodes", "px")
    suites = make_table(
        ("suite", "benchmarks"),
        (
            (f"`{name}`", ", ".join(_link(m, "benchmarks", below=True) for m in members))
            for name, members in SUITES.items()
        ),
    )
    intro = (
        "# Benchmarks and suites\n\n[Protocols](../protocols.md) explains the rules behind these facts.\n\n"
    )
    table = f"{intro}{make_table(columns, rows)}\n## Suites\n\n{suites}"
    return {f"{FOLDER}/benchmarks.md": table, **pages}


def _draw_benchmark(name: str) -> str:
    resolved = find_benchmark(name)
    trained = resolved.trained_on
    same = trained.dataset == resolved.benchmark.target and trained.folds is not None
    folds = dict(enumerate(trained.folds or ())) if same else None
    if max((len(fold) for fold in resolved.folds), default=0) > 80:
        return ""  # a thousand cells say nothing
    return draw_folds(resolved.folds, folds, f"classes of {name} by fold") + "\n"


def write_backbone_pages() -> Pages:
    """Write a page per backbone, and their table."""
    pages, rows = {}, []
    for name in BACKBONES.names():
        facts = KINDS["backbone"](name)
        title = facts.pop("title")
        taps = {key: facts.pop(key) for key in list(facts) if key.startswith("taps of layout")}
        text = _open_page(title, name, f"fssbench show {name}")
        groups = {key: _group_taps(lines) for key, lines in taps.items()}
        first = next(iter(groups.values()))
        text += draw_taps([(g[0], g[1], len(g[3])) for g in first], f"feature maps of {title}") + "\n"
        text += make_facts(_without(facts, "kind", "name", "origin"), columns=COLUMNS)
        for key, listed in groups.items():
            shapes = ((str(c), str(s), stage, make_cell(names)) for c, s, stage, names in listed)
            text += f"\n## {key[:1].upper() + key[1:]}\n\n" + make_table(
                ("channels", "stride", "stage", "taps"), shapes
            )
        pages[f"{FOLDER}/backbones/{name}.md"] = text
        weights = facts["weights"]
        ids = list(weights) if isinstance(weights, Mapping) else "none"
        cells = (title, facts["layouts"], ids, facts["licence"])
        rows.append((_link(name, "backbones", below=True), *map(make_cell, cells)))
    intro = (
        "# Backbones\n\nFrozen networks with named taps. [Plugins](../plugins.md) shows how to add one.\n\n"
    )
    table = make_table(("backbone", "name", "layouts", "weights", "licence of the code"), rows)
    return {f"{FOLDER}/backbones.md": intro + table, **pages}


def _group_taps(lines: list[str]) -> list[tuple[int, int, str, list[str]]]:
    """Group neighbouring taps of one shape: channels, stride, stage, names."""
    groups: list[tuple[int, int, str, list[str]]] = []
    for line in lines:
        match = _TAP.fullmatch(line)
        if match is None:
            raise ValueError(f"`fssbench show` describes a tap in another form: {line!r}")
        shape = (int(match["channels"]), int(match["stride"]), match["stage"])
        if not groups or groups[-1][:3] != shape:
            groups.append((*shape, []))
        groups[-1][3].append(match["name"])
    return groups


def write_other_pages() -> Pages:
    """Write the pages of reporters and marks."""
    reporters = make_table(
        ("format", "what it writes", "styles"),
        (
            (f"`{name}`", make_cell(REPORTERS.get(name).title), make_cell(REPORTERS.get(name).styles))
            for name in REPORTERS.names()
        ),
    )
    marks = make_table(
        ("mark", "meaning"), ((f"`{kind}`", make_cell(meaning)) for kind, meaning in MARK_MEANINGS.items())
    )
    return {
        f"{FOLDER}/reporters.md": f"# Report formats\n\n[Reports](../reports.md) explains them.\n\n{reporters}",
        f"{FOLDER}/marks.md": (
            "# Marks\n\nA mark is a text beside a figure. It says why it is not a benchmark figure. Text in "
            "parentheses after a mark, such as `capped (8 of 600 episodes)`, gives its numbers.\n\n" + marks
        ),
    }


def _without(facts: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in names}
