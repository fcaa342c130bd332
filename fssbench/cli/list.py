"""`fssbench list`: print what is available, one line per name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.hints import Verb
from fssbench.cli.options import data_option, json_option, out_option, plugin_option
from fssbench.cli.output import emit_json, print_table, to_one_line
from fssbench.errors import DataError, FssbenchError, PluginError, UsageError, make_unknown_error

if TYPE_CHECKING:
    from fssbench.plugins.registry import Registry

Row = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Folders in which runs and data sets are searched for, and files of benchmarks or suites."""

    runs: tuple[Path, ...]
    data: str | None
    files: tuple[str, ...] = ()


def _describe_plugins(registry: Registry, cards: Mapping[str, Any] | None = None) -> Iterator[Row]:
    """Yield a row per registered name; a plugin that does not load gets a row with its reason.

    Args:
        registry: the names.
        cards: the card of each name or its error, if they are read already.
    """
    for name in registry.names():
        row: Row = {"name": name, "origin": "", "status": "ok", "reason": "", "card": None}
        try:
            plugin = registry.plugin(name)
            row["origin"] = plugin.origin
            if cards is None:
                row["card"] = getattr(plugin.get(), "card", plugin.get())  # a reporter is its own card
            elif isinstance(card := cards[name], PluginError):
                raise card
            else:
                row["card"] = card
        except PluginError as error:
            row.update(status="broken", reason=to_one_line(str(error)))
        yield row


def _select_card_fields(row: Row, *names: str) -> Row:
    return {name: getattr(row["card"], name, None) for name in names}


def _select_status_fields(row: Row) -> Row:
    return {key: row[key] for key in ("status", "reason", "origin")}


def _list_methods(_: Place) -> Iterator[Row]:
    from fssbench.plugins.method_cards import read_method_cards
    from fssbench.plugins.registry import METHODS

    cards = read_method_cards(METHODS.names())
    for row in _describe_plugins(METHODS, cards):
        yield {
            "name": row["name"],
            **_select_card_fields(row, "title", "year", "kind", "backbone"),
            "reads": None if row["card"] is None else ", ".join(row["card"].reads),
            **_select_status_fields(row),
        }


def _list_datasets(place: Place) -> Iterator[Row]:
    from fssbench.plugins.registry import DATASETS

    for row in _describe_plugins(DATASETS):
        folder = "" if row["card"] is None else _find_folder(DATASETS.get(row["name"]), place.data)
        yield {
            "name": row["name"],
            **_select_card_fields(row, "title", "domain"),
            "found": folder,
            **_select_status_fields(row),
        }


def _find_folder(cls: Any, data: str | None) -> str | None:
    """Return the folder of a data set below the data folder; `mini` for miniatures, which are drawn on demand."""
    if cls.home is not None:
        return str(cls.home) if cls.home.is_dir() else None
    if not data:
        return None
    if data == "mini":
        return "mini"
    from fssbench.files.home import expand_home
    from fssbench.plugins.calls import plugin_call

    try:
        with plugin_call(""):
            folder: Path = cls.locate(expand_home(data))
    except DataError:
        return None
    except FssbenchError as error:
        return f"error: {to_one_line(str(error))}"
    return folder.name


def _list_reporters(_: Place) -> Iterator[Row]:
    from fssbench.plugins.calls import plugin_call
    from fssbench.plugins.registry import REPORTERS

    for row in _describe_plugins(REPORTERS):
        card = row["card"]
        try:
            with plugin_call(""):
                lacking = "" if card is None else card.lacking()
            if lacking:
                row.update(status="lacking", reason=to_one_line(lacking))
        except FssbenchError as error:
            row.update(status="broken", reason=to_one_line(str(error)))
        styles = "" if card is None else " ".join(card.styles)
        yield {
            "name": row["name"],
            **_select_card_fields(row, "title"),
            "styles": styles,
            **_select_status_fields(row),
        }


def _list_backbones(_: Place) -> Iterator[Row]:
    from fssbench.plugins.kept_facts import Collected, KeptFacts
    from fssbench.plugins.registry import BACKBONES

    def collect(cls: Any) -> Collected:
        card = cls.card
        weights = " ".join(each.id for each in card.weights)
        seen = dict.fromkeys(each.pretraining or card.pretraining for each in card.weights)
        layouts = " ".join(card.layouts)
        return Collected(
            {
                "title": card.title,
                "layouts": layouts,
                "weights": weights,
                "pretraining": "; ".join(filter(None, seen)),
                "licence": card.licence,
            }
        )

    kept = KeptFacts.read()
    for name in BACKBONES.names():
        row: Row = {
            "name": name,
            "title": None,
            "layouts": "",
            "weights": "",
            "pretraining": "",
            "licence": None,
        }
        row |= {"status": "ok", "reason": "", "origin": ""}
        try:
            plugin = BACKBONES.plugin(name)
            row["origin"] = plugin.origin
            row |= kept.facts_of(plugin, "list", collect)
        except PluginError as error:
            row.update(status="broken", reason=to_one_line(str(error)))
        yield row
    kept.save()


def _list_benchmarks(place: Place) -> Iterator[Row]:
    from fssbench.benchmarks.catalogue import BENCHMARKS, find_benchmark

    own = [*_find_own_benchmarks(), *(find_benchmark(file) for file in place.files)]
    names = [*((record.id, record) for record in BENCHMARKS.values()), *((r.id, r.benchmark) for r in own)]
    for name, record in names:
        yield {
            "name": name,
            "title": record.title,
            "category": record.category,
            "target": record.target,
            "folds": len(record.folds),
            "classes": sum(map(len, record.folds)),
            "shots": " ".join(map(str, record.shots)),
            "episodes": record.episodes,
            "size": record.size,
            "variants": " ".join(v.name for v in record.variants),
        }


def _find_own_benchmarks() -> Iterator[Any]:
    """Yield the benchmarks that folders of the user's own are; `list datasets` says which are broken."""
    from fssbench.benchmarks.catalogue import find_benchmark
    from fssbench.plugins.registry import DATASETS

    for name in DATASETS.names():
        try:
            if DATASETS.get(name).home is not None:
                yield find_benchmark(name)
        except FssbenchError:
            continue


def _list_suites(place: Place) -> Iterator[Row]:
    from fssbench.benchmarks.suites import SUITES, find_suite

    for name, members in SUITES.items():
        yield {"name": name, "benchmarks": " ".join(members)}
    for file in place.files:
        suite = find_suite(file)
        yield {"name": suite.id, "benchmarks": " ".join(member.name for member in suite.members)}


def _list_runs(place: Place) -> Iterator[Row]:
    from fssbench.forks import MANY_RUNS, Fork
    from fssbench.runs.store import find_run_folders

    paths = list(dict.fromkeys(path for folder in place.runs for path in find_run_folders(folder)))
    half = len(paths) // 2
    with Fork(lambda: _describe_runs(paths[half:]), wanted=len(paths) >= MANY_RUNS) as others:
        yield from _describe_runs(paths[:half])
        yield from others.result()


def _describe_runs(paths: Iterable[Path]) -> list[Row]:
    from fssbench.runs.progress import read_progress

    rows = []
    for path in paths:
        row: Row = {"name": path.name, "status": "damaged", "done": None, "planned": None}
        row |= {"begun": None, "source": None, "identity": None, "reason": ""}
        try:
            run = read_progress(path)
            manifest = run.manifest
            row.update(status=run.status, done=run.done, planned=run.planned, identity=manifest.identity[:12])
            row.update(begun=manifest.context.created_utc, source=(manifest.block.source_sha256 or "")[:8])
        except (DataError, KeyError, TypeError, ValueError) as error:
            row["reason"] = to_one_line(str(error))
        rows.append(row)
    return rows


KINDS: dict[str, Callable[[Place], Iterator[Row]]] = {
    "methods": _list_methods,
    "datasets": _list_datasets,
    "reporters": _list_reporters,
    "backbones": _list_backbones,
    "benchmarks": _list_benchmarks,
    "suites": _list_suites,
    "runs": _list_runs,
}


@click.command(cls=Verb)
@click.argument("kind", metavar="{" + "|".join(KINDS) + "}")
@click.argument("names", nargs=-1, metavar="[FILE.toml|RUNS]...")
@json_option("One JSON object per line.")
@plugin_option(tolerant=True)
@data_option(envvar="FSSBENCH_DATA")
@out_option(None, "The same as RUNS.")
def command(kind: str, names: tuple[str, ...], as_json: bool, data: str | None, out: Path | None) -> None:
    """List methods, data sets, reporters, backbones, benchmarks, suites or runs.

    A plugin that does not load is listed as broken, with its reason. Benchmarks or suites that are defined in a FILE
    are listed after the built-in ones. Runs are those in RUNS (run folders, or folders of them; default: runs).
    """
    from fssbench.benchmarks.toml_tables import is_file_name

    if kind not in KINDS:
        raise make_unknown_error("kind", kind, KINDS)
    if names and kind not in {"benchmarks", "suites", "runs"}:
        raise UsageError(
            f"{names[0]} cannot be listed among {kind}: only benchmarks and suites are defined in files. "
            f"Next: `fssbench list {kind}`"
        )
    files = names if kind != "runs" else ()
    wrong = [file for file in files if not is_file_name(file)]
    if wrong:
        raise UsageError(f"{wrong[0]} is not the name of a TOML file. Next: `fssbench show {wrong[0]}`")
    named = (*(map(Path, names) if kind == "runs" else ()), *([out] if out else []))
    for path in named:
        if not path.exists():
            raise UsageError(f"{path} does not exist. Next: check the path")
    runs = named or (Path("runs"),)
    rows = list(KINDS[kind](Place(runs, data, files)))
    if as_json:
        emit_json(rows)
        return
    if not rows:
        click.echo(
            f"There are no {kind}" + (f" in {', '.join(map(str, runs))}" if kind == "runs" else ""), err=True
        )
        return
    columns = [c for c in rows[0] if any(row[c] not in (None, "") for row in rows)]
    print_table(columns, [[row[c] for c in columns] for row in rows])
