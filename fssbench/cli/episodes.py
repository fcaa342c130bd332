"""`fssbench episodes`: write, show and replay plans."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.hints import Verb
from fssbench.cli.numbers import SEED, SHOT, Whole
from fssbench.cli.options import PATH, data_option, json_option, plugin_option, protocol_option, splits_option
from fssbench.cli.output import emit_json, escape_text, print_fields, print_table
from fssbench.plural import describe_count

if TYPE_CHECKING:
    from fssbench.contracts.episodes import Plan


@click.command(cls=Verb)
@click.argument("benchmark", required=False)
@click.option("--fold", default=0, type=Whole(0), show_default=True)
@click.option("--shot", default=1, type=SHOT, show_default=True)
@protocol_option()
@click.option("--seed", default=0, type=SEED, show_default=True)
@click.option(
    "--supports",
    metavar="N",
    type=Whole(1),
    default=1,
    help="Draw N support sets for each query. Default: 1.",
)
@click.option("--episodes", metavar="N", type=Whole(1), help="Draw only the first N episodes.")
@data_option()
@splits_option()
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Write the plan there.")
@click.option(
    "--replay",
    type=PATH,
    metavar="FILE",
    help="Show a stored plan, and compare it with the plan that would be drawn now; exit code 3 if they differ.",
)
@plugin_option()
@click.option("--rows", default=5, show_default=True, type=Whole(0), help="Episodes to print.")
@json_option("One JSON object.")
def command(
    benchmark: str | None,
    fold: int,
    shot: int,
    protocol: str | None,
    seed: int,
    supports: int,
    episodes: int | None,
    data: str | None,
    splits: str | None,
    output: Path | None,
    replay: Path | None,
    rows: int,
    as_json: bool,
) -> None:
    """Draw the episodes of BENCHMARK, an id or TOML file, and show, write or replay them. No image is opened."""
    from fssbench.benchmarks.catalogue import find_benchmark
    from fssbench.episodes.replay import Outcome, compare_with_drawn
    from fssbench.episodes.sampling import plan as draw, read_plan, write_plan
    from fssbench.errors import DataError, UsageError

    if (benchmark is None) == (replay is None):
        raise UsageError("give either a BENCHMARK or --replay FILE. Next: `fssbench list benchmarks`")
    shown: dict[str, Any] = {}
    is_other = False
    if replay is not None:
        plan = read_plan(replay)
        replayed = compare_with_drawn(plan, data, splits)
        shown = {"now": str(replayed)}
        is_other = replayed.outcome == Outcome.DIFFERS
    else:
        assert benchmark is not None
        plan = draw(
            benchmark,
            fold=fold,
            shot=shot,
            protocol=protocol,
            data=data,
            splits=splits,
            seed=seed,
            episodes=episodes,
            supports=supports,
            # on a miniature too: a run of the written plan keeps its size
            size=find_benchmark(benchmark).benchmark.size,
        )
        if episodes is not None and episodes > plan.asked:
            click.echo(
                f"note: this plan has {describe_count(plan.asked, 'episode')}, fewer than --episodes {episodes}",
                err=True,
            )
    if output is not None:
        write_plan(plan, output)
        click.echo(escape_text(f"The plan was written to {output}"), err=True)
    shown = {**_summarise_plan(plan), **shown}
    first_rows = [(e.index, e.class_id, e.query, " ".join(e.supports)) for e in plan[:rows]]
    if as_json:
        emit_json([{**shown, "rows": first_rows}])
    else:
        print_fields(shown)
        if first_rows:
            click.echo()
            print_table(("index", "class", "query", "supports"), first_rows)
    if is_other:
        click.get_current_context().exit(DataError.exit_code)


def _summarise_plan(plan: Plan) -> dict[str, Any]:
    from fssbench.benchmarks.catalogue import find_plan_benchmark
    from fssbench.errors import FssbenchError

    counts = Counter(e.class_id for e in plan)
    names = dict(zip(plan.classes, plan.class_names, strict=True))
    repeats = sum(len(set(e.supports)) < len(e.supports) for e in plan)
    summary: dict[str, Any] = {
        "benchmark": plan.benchmark,
        "data set": plan.dataset + (f":{plan.dataset_variant}" if plan.dataset_variant else ""),
        "split": plan.split,
        "fold": plan.fold,
        "shot": plan.shot,
        "protocol": plan.protocol,
        "seed": plan.seed,
        "lists": plan.lists,
        "marks": list(plan.marks),
        "episodes": len(plan),
        "repeated supports": repeats,
        "sha256": plan.sha256,
        "per class": {f"{c} {names[c]}": counts[c] for c in plan.classes},
    }
    try:
        seen = find_plan_benchmark(plan).seen
    except FssbenchError:  # a stored plan may be of a plugin that is not installed here
        seen = None
    if seen is not None:
        summary["seen in training"] = [names[c] for c in seen[plan.fold]]
    return summary
