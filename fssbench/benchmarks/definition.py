"""The content of a benchmark's definition, and the hash that tells two contents apart.

The content is everything that a benchmark file says, with class names replaced by ids and defaults filled in.  The
layout of the file, its comments and the order of its keys are no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from fssbench.benchmarks.pmnet_paper import SQUARE_RESIZE, SUMMED_METER
from fssbench.contracts.benchmarks import Benchmark, Resolved, Source, Variant
from fssbench.contracts.records import first_problem
from fssbench.errors import DataError, make_unknown_error
from fssbench.files.canonical_json import digest

FORMAT = "fssbench-benchmark/1"
"""Format and version of benchmark files; part of their content."""
RESIZE: Final = "square"
METER: Final = "sum"
"""The only rules of the code for the size of images and for counting; a file may name them, but no others."""
_DIGITS = 12


def collect_content(benchmark: Benchmark) -> dict[str, Any]:
    """Collect the content of a definition: equal for two files that define the same.

    The category and the tables of the paper are left out: a file cannot claim them.
    """
    return {
        "format": FORMAT,
        "id": benchmark.id,
        "version": benchmark.version,
        "title": benchmark.title,
        "origin": benchmark.origin,
        "shots": benchmark.shots,
        "episodes": benchmark.episodes,
        "size": benchmark.size,
        "sampler": benchmark.sampler,
        "absent": benchmark.absent,
        "protocol": benchmark.protocol,
        "score_size": benchmark.score_size,
        "resize": RESIZE,
        "meter": METER,
        "pitfalls": benchmark.pitfalls,
        "source": {"title": benchmark.source, **_collect_source(benchmark.trained_on)},
        "target": {
            "dataset": benchmark.target,
            "dataset_variant": benchmark.dataset_variant,
            "split": benchmark.split,
            "folds": benchmark.folds,
            "seen": benchmark.seen,
        },
        "variants": [
            {
                "name": variant.name,
                "title": variant.title,
                "dataset_variant": variant.dataset_variant,
                "folds": variant.folds,
                "seen": variant.seen,
                "source": variant.trained_on and _collect_source(variant.trained_on),
            }
            for variant in benchmark.variants
        ],
    }


def _collect_source(source: Source) -> dict[str, Any]:
    return {"dataset": source.dataset, "split": source.split, "folds": source.folds}


def restore_benchmark(content: Mapping[str, Any]) -> Benchmark:
    """Make the benchmark of a content that a plan carries.  What the content does not say, it cannot claim.

    Raises:
        ValueError: if it is not the content of a benchmark.
    """
    try:
        source, target = content["source"], content["target"]
        names = (
            "id",
            "version",
            "title",
            "origin",
            "shots",
            "episodes",
            "size",
            "sampler",
            "absent",
            "protocol",
        )
        benchmark = Benchmark(
            **{name: content[name] for name in (*names, "score_size", "pitfalls")},
            category="custom",
            source=source["title"],
            trained_on=_restore_source(source),
            target=target["dataset"],
            dataset_variant=target["dataset_variant"],
            split=target["split"],
            folds=target["folds"],
            seen=target["seen"],
            variants=tuple(map(_restore_variant, content["variants"])),
            resize=describe_resize(content["score_size"]),
            meter=describe_meter(content["absent"]),
        )
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if digest(collect_content(benchmark)) != digest(content):
        raise ValueError("it has other keys or values than this version of fssbench writes")
    return benchmark


def _restore_source(source: Mapping[str, Any]) -> Source:
    return Source(dataset=source["dataset"], split=source["split"], folds=source["folds"])


def _restore_variant(variant: Mapping[str, Any]) -> Variant:
    names = ("name", "title", "dataset_variant", "folds", "seen")
    source = variant["source"]
    return Variant(
        **{name: variant[name] for name in names},
        trained_on=None if source is None else _restore_source(source),
    )


def describe_resize(score_size: str) -> str:
    """Describe how images and masks get the network size, for the size at which masks are compared."""
    if score_size == "input":
        return SQUARE_RESIZE
    return SQUARE_RESIZE.replace("scored at the square size", "scored at the size of the image")


def describe_meter(absent: str) -> str:
    """Describe how pixels are counted, with the rule for a class without pixels."""
    if absent == "zero":
        return f"{SUMMED_METER}; a class without a pixel in any episode counts as 0"
    return f"{SUMMED_METER}; a class without a pixel in any episode is left out of the mean and named"


def make_own_id(benchmark: Benchmark) -> str:
    """Make the id of a benchmark that a file defines: its own id and the beginning of the hash of its content.

    So runs of two contents never have one benchmark, in folders, tables and identities.
    """
    return f"{benchmark.id}@{digest(collect_content(benchmark))[:_DIGITS]}"


def resolve_variant(benchmark: Benchmark, identity: str, wanted: str | None, *, hint: str) -> Resolved:
    """Choose a variant of a definition.

    Args:
        benchmark: the definition.
        identity: its id without a variant.
        wanted: name of the variant; None for the default.
        hint: the next command if there is no such variant.

    Raises:
        UsageError: if the definition has no such variant.
    """
    by_name = {variant.name: variant for variant in benchmark.variants}
    if not by_name:
        if wanted is not None:
            raise make_unknown_error(
                f"variant of {identity}", wanted, (), hint=f"Next: use `{identity}` without a variant"
            )
        return Resolved(id=identity, benchmark=benchmark)
    variant = benchmark.variants[0] if wanted is None else by_name.get(wanted)
    if variant is None:
        raise make_unknown_error(f"variant of {identity}", str(wanted), by_name, hint=hint)
    return Resolved(id=f"{identity}:{variant.name}", benchmark=benchmark, variant=variant)


def explain_fold_counts(resolved: Resolved) -> str:
    """Explain why lists of a definition do not have one entry per fold; empty if they do."""
    folds, source, seen = len(resolved.folds), resolved.trained_on.folds, resolved.seen
    if source is not None and len(source) != folds:
        return (
            f"the source has {len(source)} lists of training classes, but there are {folds} folds of test classes. "
            "Next: write one list of training classes per fold"
        )
    if seen is not None and len(seen) != folds:
        return f"seen has {len(seen)} lists, but there are {folds} folds. Next: write one list per fold"
    return ""


def resolve_own(benchmark: Benchmark, wanted: str | None, file: str | None = None) -> Resolved:
    """Resolve a benchmark that a user defined in a file.

    Args:
        benchmark: the definition.
        wanted: name of the variant; None for the default.
        file: the file, if it is there: a definition may come from a plan.

    Raises:
        UsageError: if the definition has no such variant.
    """
    own = make_own_id(benchmark)
    hint = f"Next: `fssbench show {file}`" if file else ""
    resolved = resolve_variant(benchmark, own, wanted, hint=hint)
    named = file and (f"{file}:{wanted}" if wanted else file)
    return resolved.model_copy(update={"is_own": True, "file": named})


def resolve_carried(benchmark: Benchmark, name: str) -> Resolved:
    """Resolve the definition that a plan carries.

    Args:
        benchmark: the definition.
        name: id of the benchmark with its variant, as the plan names it.

    Raises:
        DataError: if the name is not that of this definition.
    """
    base, _, wanted = name.partition(":")
    own = make_own_id(benchmark)
    names = {variant.name for variant in benchmark.variants}
    if base != own or (wanted not in names if names else wanted):
        raise DataError(f"the definition of {name} was changed: its content is that of {own}")
    resolved = resolve_own(benchmark, wanted or None)
    if fault := explain_fold_counts(resolved):
        raise DataError(f"the definition of {name} contradicts itself: {fault.partition(' Next: ')[0]}")
    return resolved
