"""`fssbench power`: compute how many episodes or seeds would show a difference."""

from __future__ import annotations

from pathlib import Path

import click

from fssbench.cli.hints import Verb
from fssbench.cli.numbers import Real
from fssbench.cli.options import bootstrap_seed_option, json_option, resamples_option, runs_argument
from fssbench.cli.output import emit_json, print_table, to_one_line
from fssbench.errors import UsageError

COLUMNS = (
    *("benchmark", "shot", "A", "B", "family", "episodes", "queries", "SE", "shows"),
    *("episodes needed", "queries needed", "seeds needed", "trainings", "marks"),
)


@click.command("power", cls=Verb)
@runs_argument()
@click.option("--diff", type=Real(), required=True, help="Difference to be shown, in mIoU points.")
@click.option(
    "--power", "power_wanted", type=Real(), default=0.8, show_default=True, help="Probability of showing it."
)
@resamples_option(None, "Bootstrap resamples for standard errors.")
@bootstrap_seed_option()
@json_option("One JSON line per pair of methods.")
def command(
    runs: tuple[Path, ...], diff: float, power_wanted: float, resamples: int | None, seed: int, as_json: bool
) -> None:
    """Compute how many episodes would show a difference of --diff points.

    It is estimated from stored RUNS (run folders, or folders of them; default: runs).
    For each pair of methods with runs on the same episodes, the output holds the smallest difference that these runs
    show, and how many episodes per fold, or how many seeds, would show a difference of --diff points. A difference is
    shown if `fssbench compare` and a report call it significant, by the strictest step of their adjustment.
    """
    from fssbench.analysis.collect import collect
    from fssbench.analysis.comparisons import compare_pairs, estimate_seed_spread, list_refusals
    from fssbench.analysis.power import estimate_power
    from fssbench.analysis.row_names import name_pair
    from fssbench.evidence import MORE_QUERIES, TOO_FEW

    results = collect(runs or (Path("runs"),), resamples=0, pictures=False)
    for note in results.notes:
        click.echo(f"note: {to_one_line(note)}", err=True)
    compared = compare_pairs(results, resamples=resamples, seed=seed)
    spreads = estimate_seed_spread(results, resamples=resamples, seed=seed)
    rows = estimate_power(compared, spreads, difference=diff, power=power_wanted)
    lacking = [p for p in compared if p.outcome == TOO_FEW]
    if compared and not rows:
        places = {f"{p.benchmark}, {p.shot}-shot: {p.difference.shortage}" for p in lacking}
        raise UsageError(
            f"the power cannot be computed. {to_one_line('. '.join(sorted(places)))}. {MORE_QUERIES}"
        )
    for pair in lacking:
        where = f"{' and '.join(pair.methods)} on {pair.benchmark}, {pair.shot}-shot"
        click.echo(f"note: {to_one_line(where)} are left out: {pair.difference.shortage}", err=True)
    if not rows:
        reasons = [
            f"{' and '.join(r.methods)} on {r.benchmark}: {r.reason}." for r in list_refusals(results)[:3]
        ]
        raise UsageError(
            " ".join(
                [
                    "no two methods have runs on the same episodes.",
                    *reasons,
                    "Next: `fssbench run` with two methods on one benchmark, then `fssbench power`",
                ]
            )
        )
    if as_json:
        emit_json(
            {
                "benchmark": row.pair.benchmark,
                "shot": row.pair.shot,
                "seed": row.pair.seed,
                "protocol": row.pair.protocol,
                "methods": row.pair.methods,
                "folds": row.pair.folds,
                "episodes": row.episodes,
                "queries": row.queries,
                "family": row.pair.family,
                "standard_error": row.error,
                "training_spread": row.training,
                "smallest": row.smallest,
                "difference": diff,
                "power": power_wanted,
                "episodes_needed": row.episodes_needed,
                "queries_needed": row.queries_needed,
                "seeds_needed": row.seeds_needed,
                "marks": list(dict.fromkeys((*row.pair.a.marks, *row.pair.b.marks))),
            }
            for row in rows
        )
        return
    print_table(
        COLUMNS,
        [
            (
                row.pair.benchmark,
                row.pair.shot,
                *name_pair(row.pair),
                row.pair.family,
                row.episodes,
                row.queries,
                f"{row.error:.2f}",
                f"{row.smallest:.2f}",
                "-" if row.episodes_needed is None else row.episodes_needed,
                "-" if row.queries_needed is None else row.queries_needed,
                row.seeds_needed,
                "one each" if row.training is None else f"SD {row.training:.2f}",
                "; ".join(dict.fromkeys((*row.pair.a.marks, *row.pair.b.marks))),
            )
            for row in rows
        ],
        title=f"Episodes and seeds that show a difference of {diff:g} mIoU points with a power of {power_wanted:g} "
        "(Holm's p, 5 %)",
    )
    click.echo(
        f"episodes, queries: number per fold. shows: the smallest difference that these runs show with a power of "
        f"{power_wanted:g}. needed: the number that would show {diff:g} points, if the standard error is proportional "
        "to 1 / sqrt(queries). More episodes with the same queries help little. trainings: `one each` means that the "
        "spread between trainings is not included.",
        err=True,
    )
