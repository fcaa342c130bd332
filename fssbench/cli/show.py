"""`fssbench show NAME`: print everything that is known about one name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.hints import Verb
from fssbench.cli.options import json_option, plugin_option
from fssbench.cli.output import emit_json, print_fields
from fssbench.cli.show_files import (
    CHECKPOINT,
    PLAN,
    RUN,
    describe_checkpoint,
    describe_plan,
    describe_run,
    find_file_kind,
)
from fssbench.cli.show_toml import compose_toml
from fssbench.contracts.notes import Note, NoteKind
from fssbench.errors import DataError, PluginError, UsageError, make_unknown_error
from fssbench.plugins.calls import plugin_call
from fssbench.plural import describe_count

if TYPE_CHECKING:
    from fssbench.loading.bundled import ShippedCheckpoint
    from fssbench.plugins.kept_facts import Collected
    from fssbench.plugins.registry import Plugin

Facts = dict[str, Any]


_CARD_NAMES = {
    "kind": "compares by",
    "reads": "information at test time",
    "input_size": "input size of its own",
}
"""Names of fields of a card that would be unclear beside the other facts."""


def _describe_method(name: str) -> Facts:
    from fssbench.contracts.method_card import MethodCard
    from fssbench.plugins.published import collect_published_figures
    from fssbench.plugins.registry import METHODS

    plugin = METHODS.plugin(name)
    known = _read_facts(plugin, _collect_method_facts)
    card = MethodCard.model_validate(known["card"])
    hidden = {"notes", "parity", "published", *(["pixels"] if card.pixels == "normalised" else [])}
    shown = card.model_dump(mode="json", exclude=hidden, exclude_none=True)
    return {
        "kind": "method",
        **{_CARD_NAMES.get(k, k): v for k, v in shown.items() if v != ""},
        **_sort_notes(card.notes),
        "equal to its reference": list(card.parity) or "not compared with outputs of a reference",
        "published mIoU": collect_published_figures(card.published or (name,))
        or "none in the installed tables",
        **known["facts"],
        "origin": plugin.origin,
    }


def _read_facts(plugin: Plugin, collect: Callable[[Any], Collected]) -> Facts:
    """Read facts of a plugin, which are kept for the next call."""
    from fssbench.plugins.kept_facts import KeptFacts

    kept = KeptFacts.read()
    facts: Facts = kept.facts_of(plugin, f"show {plugin.name}", collect)
    kept.save()
    return facts


def _collect_method_facts(cls: Any) -> Collected:
    from fssbench.contracts.methods import FeatureMethod
    from fssbench.loading.bundled import bundled_folder, list_bundled
    from fssbench.plugins.kept_facts import Collected

    checkpoints, folder = list_bundled(cls), bundled_folder(cls)
    facts = {
        "reads": "backbone features" if issubclass(cls, FeatureMethod) else "pixels",
        "shots": "all supports in one forward" if cls.shots == "joint" else "one forward each, then a vote",
        "settings (--set)": _describe_settings(cls),
        "recipe (fssbench train)": cls.recipe.model_dump(mode="json", exclude_none=True)
        if cls.recipe
        else "none: not trained",
        **(
            {
                "stages before (--stage)": {
                    k: v.model_dump(mode="json", exclude_none=True) for k, v in cls.stages.items()
                }
            }
            if cls.stages
            else {}
        ),
        "ablations (--ablate)": {
            key: f"{ablation.label} ({', '.join(f'{k}={v}' for k, v in ablation.settings.items())})"
            for key, ablation in cls.Config.ablations.items()
        },
        "shipped checkpoints": _describe_checkpoints(cls, checkpoints),
        "waived checks": dict(cls.waivers),
        **({"checked with": dict(cls.check_settings)} if cls.check_settings else {}),
    }
    files = (folder, *folder.glob("*")) if folder else ()
    return Collected({"card": cls.card.model_dump(mode="json"), "facts": facts}, files)


_OPTIONS = (
    "optimizer",
    "lr",
    "schedule",
    "seed",
    "amp",
    "draw",
    "without_novel",
    "invert",
    "iou_loss",
    "average",
)
"""Options of `fssbench train` that are shown for a shipped checkpoint."""
_NOTES: dict[NoteKind, str] = {
    "reproduced": "reproduced of the reference",
    "corrected": "corrected of the reference",
    "differs": "differs from the reference",
    "stated": "stated by the paper",
    "inferred": "inferred from published figures",
    "choice": "not known, and chosen here",
    "remark": "remarks",
}
"""Headings of the notes of a card, by their kind."""


def _sort_notes(notes: Sequence[Note]) -> Facts:
    """List the notes of a card under the heading of their kind."""
    texts = {title: [note.text for note in notes if note.kind == kind] for kind, title in _NOTES.items()}
    return {title: listed for title, listed in texts.items() if listed}


def _describe_checkpoints(cls: Any, checkpoints: Sequence[ShippedCheckpoint]) -> dict[str, str]:
    """Describe each checkpoint that comes with the method, from its training manifest."""
    from fssbench.loading.settings import list_settings_to_take

    return {
        each.path.name: "; ".join(
            [
                f"{each.backbone}, {each.path.stat().st_size / 2**20:.2f} MiB",
                *(f"{k}={v}" for k, v in list_settings_to_take(cls, each.config).items()),
                f"{each.training.steps} steps of {each.training.batch} episodes at "
                f"{each.training.size} px on {each.training.images} images of "
                f"{each.training.dataset} ({', '.join(each.training.marks or ['whole'])})",
                f"{describe_count(len(each.classes), 'class', 'classes')}: {', '.join(each.training.class_names)}",
                *filter(None, [_training_options(each.training.as_stored())]),
                f"chosen by {each.training.selection}",
            ]
        )
        for each in checkpoints
    }


def _training_options(training: dict[str, Any]) -> str:
    """Return the options of `fssbench train` that a training was started with, from its manifest."""
    options = {**training.get("recipe", {}), **training}
    options["lr"] = options.get("learning_rate")
    return " ".join(
        f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
        for name in _OPTIONS
        if (value := options.get(name)) is not None and value is not False
    )


def _describe_settings(cls: Any) -> dict[str, str]:
    settings = {}
    for name, field in cls.Config.model_fields.items():
        kind = getattr(field.annotation, "__name__", None) or str(field.annotation)
        kind = str(field.annotation).removeprefix("typing.") if "[" in str(field.annotation) else kind
        doc = " ".join((field.description or "").split())
        settings[name] = f"{kind} = {field.get_default(call_default_factory=True)!r}" + (
            f"; {doc}" if doc else ""
        )
    return settings


def _list_class_names(cls: Any, variant: str | None) -> str:
    try:
        with plugin_call(f"data set {cls.card.name!r} cannot name its classes:"):
            return ", ".join(f"{i} {n}" for i, n in sorted(cls(None, variant=variant).classes().items()))
    except DataError as error:  # the folders of FSS-1000 are the names of its classes
        return f"known only with files or lists: {error}"


def _describe_dataset(name: str) -> Facts:
    from fssbench.benchmarks.catalogue import BENCHMARKS
    from fssbench.plugins.registry import DATASETS

    cls = DATASETS.get(name)
    variants = cls.card.variants or (None,)
    return {
        "kind": "dataset",
        **cls.card.model_dump(),
        "classes": {variant or "all": _list_class_names(cls, variant) for variant in variants},
        "benchmarks": [b.id for b in BENCHMARKS.values() if b.target == name],
        "origin": DATASETS.plugin(name).origin,
    }


def _describe_benchmark(name: str) -> Facts:
    from fssbench.benchmarks.catalogue import find_benchmark
    from fssbench.plugins.registry import DATASETS

    resolved = find_benchmark(name)
    record = resolved.benchmark
    facts = {
        "kind": "benchmark",
        **record.model_dump(exclude={"variants", "folds", "trained_on", "seen", "dataset_variant"}),
        "measured as": resolved.id,
    }
    if resolved.is_own:
        facts["defined in"] = f"{resolved.file}; a benchmark of yours, without published figures"
    if resolved.dataset_variant is not None:
        facts["variant of the data set"] = resolved.dataset_variant
    try:
        dataset = DATASETS.get(record.target)
        with plugin_call(f"data set {record.target!r} cannot name its classes:"):
            names = dataset(None, variant=resolved.dataset_variant).classes()
    except (DataError, PluginError) as error:
        names = {}
        facts["class names"] = f"unknown: {error}"
    facts["variants"] = {
        v.name: v.title + (" (default)" if i == 0 else "") for i, v in enumerate(record.variants)
    }
    facts["test classes"] = {
        f"fold {fold}": ", ".join(f"{i} {names.get(i, '')}".strip() for i in ids)
        for fold, ids in enumerate(resolved.folds)
    }
    trained = resolved.trained_on
    facts["trains on"] = f"{trained.dataset}, split {trained.split}"
    facts["training classes"] = {
        f"fold {fold}": ", ".join(map(str, ids)) for fold, ids in enumerate(trained.folds or ())
    } or "all"
    if resolved.seen is not None:
        facts["test classes seen in training"] = {
            f"fold {fold}": ", ".join(f"{i} {names.get(i, '')}".strip() for i in ids) or "none"
            for fold, ids in enumerate(resolved.seen)
        }
    return facts


def _describe_suite(name: str) -> Facts:
    from fssbench.benchmarks.suites import find_suite

    suite = find_suite(name)
    title = {"title": suite.title} if suite.title else {}
    return {"kind": "suite", "name": suite.id, **title, "benchmarks": [str(m) for m in suite.members]}


def _describe_backbone(name: str) -> Facts:
    from fssbench.plugins.registry import BACKBONES

    plugin = BACKBONES.plugin(name)
    known = _read_facts(plugin, _collect_backbone_facts)
    return {"kind": "backbone", **known, "origin": plugin.origin}


def _collect_backbone_facts(cls: Any) -> Collected:
    from fssbench.loading.backbones import construct_backbone
    from fssbench.loading.unfilled_weights import UnfilledWeights
    from fssbench.plugins.kept_facts import Collected

    with UnfilledWeights():
        taps = {
            layout: [
                f"{tap.name}: {tap.channels} channels, stride {tap.stride}, "
                + (f"stage {tap.stage}" if tap.stage else "no stage")
                for tap in construct_backbone(cls, layout, 0).taps.values()
            ]
            for layout in cls.card.layouts
        }
    facts = {
        **cls.card.model_dump(mode="json", exclude={"weights", "own_files"}),
        "weights": {weights.id: _describe_weights(weights) for weights in cls.card.weights}
        or "none are published; give --weights FILE or --weights random",
        "weight files of layouts": dict(cls.card.own_files),
        **{f"taps of layout {layout}": names for layout, names in taps.items()},
        "waived checks": dict(cls.waivers),
    }
    return Collected(facts)


def _describe_weights(weights: Any) -> str:
    """Describe one set of published weights in one line: content, licence, file, origin, hash."""
    facts = [weights.source, weights.licence, weights.file]
    if weights.bytes is not None:
        facts.append(f"{weights.bytes / 2**20:.1f} MiB")
    facts.append(f"from {weights.key} ({weights.origin})")
    facts.append(f"sha256 {weights.sha256}" if weights.sha256 else "the hub names the file by its sha256")
    if weights.gate:
        facts.append(f"its publisher requires this first: {weights.gate}")
    return "; ".join(facts)


def _list_names() -> dict[str, list[str]]:
    from fssbench.benchmarks import catalogue, suites
    from fssbench.plugins.registry import BACKBONES, DATASETS, METHODS

    return {
        "method": METHODS.names(),
        "dataset": DATASETS.names(),
        "benchmark": catalogue.list_benchmark_names(),
        "suite": sorted(suites.SUITES),
        "backbone": BACKBONES.names(),
    }


KINDS: dict[str, Callable[[str], Facts]] = {
    "method": _describe_method,
    "dataset": _describe_dataset,
    "benchmark": _describe_benchmark,
    "suite": _describe_suite,
    "backbone": _describe_backbone,
    RUN: describe_run,
    PLAN: describe_plan,
    CHECKPOINT: describe_checkpoint,
}


def _find_kind(name: str) -> str:
    """Find the kind of a name: a run folder, else the first kind that has it in the order of `KINDS`, else a file."""
    from fssbench.benchmarks.toml_tables import is_file_name

    if (Path(name) / "manifest.json").is_file():
        return RUN
    known = _list_names()
    base = name.partition(":")[0]  # the error for an unknown variant comes from its benchmark
    for kind, names in known.items():
        if name in names or (kind == "benchmark" and ":" in name and base in names):
            return kind
    if (kind_of_file := find_file_kind(name)) is not None:
        return kind_of_file
    if is_file_name(name):
        from fssbench.benchmarks.suites import FORMAT
        from fssbench.benchmarks.toml_tables import read_format, split_file_name

        return "suite" if read_format(Path(split_file_name(name)[0])) == FORMAT else "benchmark"
    everything = {n for names in known.values() for n in names}
    raise make_unknown_error(
        "name", name, everything, hint="Next: `fssbench list methods`, or give a run, plan or checkpoint"
    )


def _find_kind_with_file(name: str) -> str:
    """Find the kind of a name for `--toml`: a benchmark or suite is preferred to a data set of the same name.

    The folder of a user is both a data set and a benchmark.
    """
    names = _list_names()
    return next((kind for kind in ("benchmark", "suite") if name in names[kind]), None) or _find_kind(name)


@click.command(cls=Verb)
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Kind of NAME, if several kinds share the name.")
@json_option("One JSON object.")
@click.option(
    "--toml", "as_toml", is_flag=True, help="Print a benchmark or suite, or that of a run or plan, as a file."
)
@plugin_option(tolerant=True)
def command(name: str, kind: str | None, as_json: bool, as_toml: bool) -> None:
    """Show all that is known about NAME: a method, data set, benchmark, suite or backbone, or a path.

    A path leads to a run folder, a plan, a checkpoint, or the file of a benchmark or suite. Nothing in a file is
    executed.
    """
    from fssbench.benchmarks.toml_tables import is_file_name

    if kind in {"method", "dataset", "benchmark", "suite", "backbone"}:
        names = _list_names()[kind]
        if name not in names and not (kind == "benchmark" and ":" in name) and not is_file_name(name):
            raise make_unknown_error(kind, name, names)
    elif kind == RUN and not Path(name).exists():
        raise UsageError(f"run folder {name} does not exist. Next: `fssbench list runs`")
    elif kind in {PLAN, CHECKPOINT} and not Path(name).exists():
        raise UsageError(f"{kind} {name} does not exist. Next: check the path")
    kind = kind or (_find_kind_with_file(name) if as_toml else _find_kind(name))
    if as_toml:
        click.echo(compose_toml(name, kind), nl=False)
        return
    facts = KINDS[kind](name)
    if as_json:
        emit_json([facts])
    else:
        print_fields(facts)
