"""`fssbench compare`: compare methods on the episodes that they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.hints import CARRIED, Verb, compose_next_command
from fssbench.cli.options import PATH, bootstrap_seed_option, json_option, resamples_option
from fssbench.cli.output import emit_json, print_table, to_one_line
from fssbench.errors import UsageError, make_unknown_error

if TYPE_CHECKING:
    from fssbench.analysis.comparisons import Pair, Ranking, SeedSpread, Tally
    from fssbench.contracts.results import Cell, Results


@click.command("compare", cls=Verb)
@click.argument("methods", nargs=-1, metavar="[METHOD|RUN]...")
@click.option(
    "--runs",
    multiple=True,
    type=PATH,
    help="Run folder, or folder of run folders; repeatable.  [default: runs]",
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
    """Compare METHODs (names as in the report) or RUN folders pairwise; by default all methods that were run.

    Every difference is A minus B in mIoU points on the same episodes, with its 95 % interval and its
    p.  Win, tie and loss are those of A, by Holm's p at 5 %.  The family of Holm's adjustment is
    every pair of methods on the same benchmark and shot in the given folders, printed or not. A report on these
    folders uses the same family.
    """
    from fssbench.analysis.comparisons import (
        compare_pairs,
        count_outcomes,
        estimate_seed_spread,
        list_refusals,
        rank_methods,
    )
    from fssbench.runs.store import find_run_folders

    folders = [Path(name) for name in methods]
    if (
        len(folders) > 1
        and all(any(find_run_folders(folder)) for folder in folders)
        and _print_equal_runs(folders, as_json)
    ):
        return
    everything, names, cells = choose_cells(methods, runs)
    everything = replace(everything, bootstrap_seed=seed)
    results = replace(everything, cells=cells)
    chosen_cells = {id(cell) for cell in cells}
    compared = compare_pairs(everything, shared=shared, methods=names, resamples=resamples)
    shown = tuple(pair for pair in compared if id(pair.a) in chosen_cells and id(pair.b) in chosen_cells)
    refused = list_refusals(results, shared=shared)
    if shown:
        counts, ranks = count_outcomes(shown), rank_methods(results)
        spreads = estimate_seed_spread(results, resamples=resamples)
        if as_json:
            emit_json(_as_records(shown, counts, ranks, spreads, results))
        else:
            _print_comparisons(shown, counts, ranks, spreads)
            _explain_verdicts(shown, seed)
    shared_command = compose_next_command(
        "compare", *methods, "--shared", carried=(*CARRIED, "--runs", "--resamples", "--seed")
    )
    for r in refused:
        where = f"{r.methods[0]} and {r.methods[1]} on {r.benchmark}, {r.shot}-shot"
        remedy = f" Next: `{shared_command}` compares the episodes they share" if r.shareable else ""
        click.echo(
            f"error: {to_one_line(where)} cannot be compared: {to_one_line(r.reason)}.{remedy}", err=True
        )
    if not shown and not refused:
        raise UsageError(
            f"no two runs of {', '.join(map(repr, names or _list_labels(results)))} have the same benchmark and shot, "
            "so there is nothing to compare. Next: `fssbench list runs`"
        )
    if refused:
        click.get_current_context().exit(UsageError.exit_code)


def _print_equal_runs(folders: Sequence[Path], as_json: bool) -> bool:
    """Print which run folders are equal; return whether that answers the question for all of them."""
    from fssbench.runs.equality import find_equal

    equal = find_equal(folders)
    for each in equal:
        if as_json:
            kind = each.kind.replace(" ", "_")
            emit_json(
                [
                    {
                        "kind": "equal",
                        "equal": kind,
                        "runs": each.folders,
                        "episodes": each.episodes,
                        "note": each.text,
                    }
                ]
            )
        else:
            click.echo(to_one_line(each.text))
    return bool(equal) and len(equal) == len(folders) * (len(folders) - 1) // 2


def choose_cells(
    methods: tuple[str, ...], runs: tuple[Path, ...]
) -> tuple[Results, list[str] | None, tuple[Cell, ...]]:
    """Collect the runs and choose the cells that are compared.

    A METHOD that is a run folder, or a folder of them, stands for what is in it.

    Returns:
        All results in the folders, without intervals; the names asked for, in order, None for all; and
        the cells asked for.
    """
    from fssbench.analysis.collect import collect
    from fssbench.analysis.row_names import full_name
    from fssbench.runs.store import find_run_folders

    folders = {name: list(find_run_folders(Path(name))) for name in methods}
    labels = [name for name, run_folders in folders.items() if not run_folders]
    sources = [*(Path(name) for name, run_folders in folders.items() if run_folders), *runs]
    if (labels and not runs) or not sources:
        sources.append(Path("runs"))
    results = collect(sources, resamples=0)
    for note in results.notes:
        click.echo(f"note: {to_one_line(note)}", err=True)
    if not methods:
        return results, None, results.cells
    wanted: list[str] = []
    rank: dict[int, int] = {}
    for place, name in enumerate(methods):
        run_folders = {path.resolve() for path in folders[name]}
        mine = [
            (i, cell)
            for i, cell in enumerate(results.cells)
            if any(run.path.resolve() in run_folders for run in cell.folds.values())
            or (not run_folders and name in (full_name(cell), cell.name, cell.label, cell.method))
        ]
        exact = [(i, cell) for i, cell in mine if name in (full_name(cell), cell.name)]
        if not mine:
            raise make_unknown_error(
                "method", name, set(map(full_name, results.cells)), hint="Next: `fssbench list runs`"
            )
        for i, cell in exact or mine:
            rank.setdefault(i, place)
            wanted.append(cell.name)
    cells = tuple(results.cells[i] for i in sorted(rank, key=lambda i: (rank[i], i)))
    return results, list(dict.fromkeys(wanted)), cells


def _list_labels(results: Results) -> list[str]:
    return sorted({cell.label for cell in results.cells})


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
                "; ".join(dict.fromkeys((*p.a.marks, *p.b.marks))),
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
                    f"{s.within:.2f}",
                )
                for s in spreads
            ],
            title="Seeds",
        )


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
            "marks": list(dict.fromkeys((*p.a.marks, *p.b.marks))),
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
        }
