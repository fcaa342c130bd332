"""`fssbench compare`: compare methods on the episodes that they share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.hints import CARRIED, Verb, compose_next_command
from fssbench.cli.options import PATH, bootstrap_seed_option, json_option, resamples_option
from fssbench.cli.output import emit_json, print_table, to_one_line
from fssbench.errors import UsageError

if TYPE_CHECKING:
    from fssbench.analysis.comparisons import Pair, Ranking, SeedSpread, Tally
    from fssbench.contracts.results import Cell, Results
    from fssbench.runs.equality import Equality


@click.command("compare", cls=Verb)
@click.argument("methods", nargs=-1, metavar="[METHOD|RUNS]...")
@click.option(
    "--runs",
    multiple=True,
    type=PATH,
    metavar="RUNS",
    help="RUNS in which the METHODs are; repeatable.  [default: runs]",
)
@click.option("--shared", is_flag=True, help="If plans differ, compare the episodes they share.")
@resamples_option(None, "Bootstrap resamples for p and interval.")
@bootstrap_seed_option()
@json_option("One JSON line per pair, tally, ranking and spread.")
def command(
    methods: tuple[str, ...],
    runs: tuple[Path, ...],
    shared: bool,
    resamples: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Compare METHODs (names as in the report), or RUNS (run folders, or folders of them; default: runs), pairwise.

    Every difference is A minus B in mIoU points on the same episodes, with its 95 % interval and its
    p.  Win, tie and loss are those of A, by Holm's p at 5 %.  The family of Holm's adjustment is
    every pair of methods on the same benchmark and shot in the given folders, printed or not. A report on these
    folders uses the same family.
    """
    from fssbench.analysis.compare import compare_methods, explain_left_out

    def tell(note: str) -> None:
        click.echo(f"note: {to_one_line(note)}", err=True)

    compared = compare_methods(methods, runs, shared=shared, resamples=resamples, seed=seed, tell=tell)
    _print_equal_runs(compared.equal, as_json)
    if compared.ranking is not None:
        shown = (compared.pairs, compared.tallies, compared.ranking, compared.spreads)
        if as_json:
            emit_json(_as_records(*shown, compared.results))
        else:
            _print_comparisons(*shown)
            _explain_verdicts(compared.pairs, seed)
    shared_command = compose_next_command(
        "compare", *methods, "--shared", carried=(*CARRIED, "--runs", "--resamples", "--seed")
    )
    for r in compared.refused:
        where = f"{r.methods[0]} and {r.methods[1]} on {r.benchmark}, {r.shot}-shot"
        remedy = f" Next: `{shared_command}` compares the episodes they share" if r.shareable else ""
        click.echo(
            f"error: {to_one_line(where)} cannot be compared: {to_one_line(r.reason)}.{remedy}", err=True
        )
    for text in explain_left_out(compared.left_out):
        tell(text)
    if compared.refused:
        click.get_current_context().exit(UsageError.exit_code)


def _print_equal_runs(equal: Sequence[Equality], as_json: bool) -> None:
    """Print which run folders are equal."""
    for each in equal:
        if as_json:
            record = {
                "kind": "equal",
                "equal": each.kind.replace(" ", "_"),
                "runs": each.folders,
                "episodes": each.episodes,
                "note": each.text,
            }
            emit_json([record])
        else:
            click.echo(to_one_line(each.text))


def _explain_verdicts(shown: Sequence[Pair], seed: int) -> None:
    """Explain the verdicts: family, resamples and seed, and what would give a verdict if there is none."""
    from fssbench.evidence import MORE_QUERIES, TOO_FEW

    families = sorted({(p.benchmark, p.shot, p.family, p.resamples) for p in shown})
    sizes = ", ".join(f"{b} {k}-shot {n}" for b, k, n, _ in families)
    numbers = " or ".join(f"{r:,}" for r in sorted({r for *_, r in families}))
    click.echo(
        "A win or loss means that A is significantly better or worse: Holm's p is at most 5 %. The family is all pairs "
        f"of methods on one benchmark and shot in the given folders ({to_one_line(sizes)}). {numbers} resamples, seed "
        f"{seed}",
        err=True,
    )
    if any(p.outcome == TOO_FEW for p in shown):
        click.echo(f"With {TOO_FEW} there is no interval and no verdict. {MORE_QUERIES}", err=True)


def _print_comparisons(
    shown: Iterable[Pair], counts: Iterable[Tally], ranks: Ranking, spreads: tuple[SeedSpread, ...]
) -> None:
    from fssbench.analysis.row_names import name_pair
    from fssbench.evidence import TOO_FEW, format_p

    columns = (
        *("benchmark", "shot", "A", "B", "mIoU A", "mIoU B", "A - B"),
        *("interval", "p", "Holm p", "family"),
    )
    print_table(
        (*columns, "A's", "episodes", "marks", "note"),
        [
            (
                p.benchmark,
                p.shot,
                *name_pair(p),
                *(f"{figure:.1f}" for figure in p.figures),
                f"{p.difference.value:+.2f}",
                f"{p.difference.low:+.2f} to {p.difference.high:+.2f}"
                if p.difference.p == p.difference.p
                else "-",
                format_p(p.difference.p),
                format_p(p.adjusted),
                p.family,
                p.difference.shortage or p.outcome,
                p.episodes,
                "; ".join(_collect_marks((p.a, p.b))),
                p.note,
            )
            for p in shown
        ],
        title="Differences",
    )
    click.echo()
    print_table(
        ("A", "B", "A wins", "ties", "A loses", TOO_FEW),
        [(*t.methods, t.wins, t.ties, t.losses, t.undecided) for t in counts],
        title="Over benchmarks and shots",
    )
    click.echo()
    if ranks.reason:
        click.echo(f"There is no ranking: {to_one_line(ranks.reason)}", err=True)
    else:
        print_table(
            ("method", "mean rank", "critical difference", "Friedman p", "over", "not distinguished from"),
            [
                (
                    m,
                    f"{r:.2f}",
                    f"{ranks.critical:.2f}",
                    format_p(ranks.friedman),
                    len(ranks.blocks),
                    _name_similar_methods(m, ranks),
                )
                for m, r in zip(ranks.methods, ranks.ranks, strict=True)
            ],
            title="Mean rank over benchmarks and shots (Nemenyi's critical difference at 5 %)",
        )
    if spreads:
        click.echo()
        print_table(
            (
                "benchmark",
                "shot",
                "method",
                "seeds of",
                "seeds",
                "mean mIoU",
                "SD between seeds",
                "SE of one",
                "marks",
            ),
            [
                (
                    s.benchmark,
                    s.shot,
                    s.method,
                    s.kind,
                    len(s.cells),
                    f"{s.mean:.2f}",
                    f"{s.between:.2f}",
                    f"{s.within:.2f}" if math.isfinite(s.within) else TOO_FEW,
                    "; ".join(_collect_marks(s.cells)),
                )
                for s in spreads
            ],
            title="Seeds",
        )


def _collect_marks(cells: Iterable[Cell]) -> list[str]:
    """List the marks of several cells, each once."""
    return list(dict.fromkeys(str(mark) for cell in cells for mark in cell.marks))


def _name_similar_methods(method: str, ranks: Ranking) -> str:
    """Name the methods whose rank differs from this one's by less than the critical difference."""
    near = {other for group in ranks.groups if method in group for other in group} - {method}
    return ", ".join(m for m in ranks.methods if m in near)


def _as_records(
    shown: Iterable[Pair],
    counts: Iterable[Tally],
    ranks: Ranking,
    spreads: Iterable[SeedSpread],
    results: Results,
) -> Iterable[dict[str, Any]]:
    """Yield pairs, tallies, ranking and seed spreads as JSON objects, unrounded."""
    for p in shown:
        yield {
            "kind": "pair",
            "benchmark": p.benchmark,
            "shot": p.shot,
            "seed": p.seed,
            "protocol": p.protocol,
            "methods": p.methods,
            "miou": p.figures,
            "difference": p.difference.value,
            "interval": [p.difference.low, p.difference.high],
            "standard_error": p.difference.error,
            "p": p.difference.p,
            "holm_p": p.adjusted,
            "family": p.family,
            "outcome": p.outcome,
            "shortage": p.difference.shortage,
            "episodes": p.episodes,
            "queries": p.queries,
            "marks": _collect_marks((p.a, p.b)),
            "note": p.note,
            "runs": [[run.slug for run in cell.folds.values()] for cell in (p.a, p.b)],
            "resamples": p.resamples,
            "bootstrap_seed": results.bootstrap_seed,
        }
    for t in counts:
        yield {
            "kind": "tally",
            "methods": t.methods,
            "wins": t.wins,
            "ties": t.ties,
            "losses": t.losses,
            "too_few_queries": t.undecided,
        }
    yield {
        "kind": "ranking",
        "methods": ranks.methods,
        "mean_ranks": ranks.ranks,
        "blocks": ranks.blocks,
        "critical_difference": ranks.critical,
        "friedman_p": ranks.friedman,
        "not_told_apart": ranks.groups,
        "reason": ranks.reason,
    }
    for s in spreads:
        yield {
            "kind": "seeds",
            "benchmark": s.benchmark,
            "shot": s.shot,
            "protocol": s.protocol,
            "method": s.method,
            "seeds_of": s.kind,
            "seeds": [cell.seed for cell in s.cells],
            "miou": [cell.miou.value for cell in s.cells],
            "mean": s.mean,
            "between": s.between,
            "within": s.within,
            "marks": _collect_marks(s.cells),
        }
