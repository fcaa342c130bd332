"""`fssbench compare`: which method beats which, on the episodes they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.output import emit_json, one_line, table
from fssbench.errors import UsageError, unknown

if TYPE_CHECKING:
    from fssbench.api import Results
    from fssbench.comparing import Pair, Ranking, SeedSpread, Tally

_FILE = click.Path(path_type=Path)


@click.command("compare")
@click.argument("methods", nargs=-1, metavar="[METHOD|RUN]...")
@click.option(
    "--runs", multiple=True, type=_FILE, help="Run folder, or folder of them; repeatable.  [default: runs]"
)
@click.option("--shared", is_flag=True, help="Where plans differ, compare the episodes they share.")
@click.option("--resamples", type=click.IntRange(1), default=10_000, show_default=True, help="For intervals.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the bootstrap.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON line a pair, tally, ranking and spread."
)
def command(
    methods: tuple[str, ...],
    runs: tuple[Path, ...],
    shared: bool,
    resamples: int,
    seed: int,
    as_json: bool,
) -> None:
    """Compare METHODs (names as in the report) or RUN folders pairwise; by default all that were run.

    Every difference is A minus B in mIoU points on the same episodes, with its 95 % interval, its p,
    and Holm's p over all pairs printed; win, tie and loss are A's, by Holm's p at 5 %.
    """
    from fssbench.comparing import pairs, ranking, refusals, seed_spread, tally
    from fssbench.store import scan

    folders = [Path(name) for name in methods]
    if len(folders) > 1 and all(any(scan(folder)) for folder in folders) and _tell_equal(folders, as_json):
        return
    results, names = chosen(methods, runs)
    results = replace(results, resamples=resamples, bootstrap_seed=seed)
    found = pairs(results, shared=shared, methods=names)
    refused = refusals(results, shared=shared, methods=names)
    if found:
        counts, ranks, spreads = tally(found), ranking(results, methods=names), seed_spread(results)
        if as_json:
            emit_json(_records(found, counts, ranks, spreads, results))
        else:
            _show(found, counts, ranks, spreads)
            click.echo(f"{resamples} resamples, seed {seed}", err=True)
    for r in refused:
        where = f"{r.methods[0]} and {r.methods[1]} on {r.benchmark}, {r.shot}-shot"
        remedy = " Next: `--shared` compares the episodes they share" if r.shareable else ""
        click.echo(f"error: {one_line(where)} are not compared: {one_line(r.reason)}.{remedy}", err=True)
    if not found and not refused:
        raise UsageError(
            f"nothing to compare: no two runs of {', '.join(map(repr, names or _all(results)))} share a benchmark "
            "and shot. Next: `fssbench list runs`"
        )
    if refused:
        click.get_current_context().exit(UsageError.exit_code)


def _tell_equal(folders: Sequence[Path], as_json: bool) -> bool:
    """Say which of the folders are equal; whether nothing else is left to compare."""
    from fssbench.equal_runs import find_equal

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
            click.echo(one_line(each.text))
    return bool(equal) and len(equal) == len(folders) * (len(folders) - 1) // 2


def chosen(methods: tuple[str, ...], runs: tuple[Path, ...]) -> tuple[Results, list[str] | None]:
    """The results to compare, without intervals, and the names asked for, in order; None for all.

    A METHOD that is a run folder, or a folder of them, stands for what is in it.
    """
    from fssbench.results import collect
    from fssbench.row_names import full_name
    from fssbench.store import scan

    folders = {name: list(scan(Path(name))) for name in methods}
    labels = [name for name, held in folders.items() if not held]
    sources = [*(Path(name) for name, held in folders.items() if held), *runs]
    if (labels and not runs) or not sources:
        sources.append(Path("runs"))
    results = collect(sources, resamples=0)
    for note in results.notes:
        click.echo(f"note: {one_line(note)}", err=True)
    if not methods:
        return results, None
    wanted: list[str] = []
    rank: dict[int, int] = {}
    for place, name in enumerate(methods):
        held = {path.resolve() for path in folders[name]}
        mine = [
            (i, cell)
            for i, cell in enumerate(results.cells)
            if any(run.path.resolve() in held for run in cell.folds.values())
            or (not held and name in (full_name(cell), cell.name, cell.label, cell.method))
        ]
        exact = [(i, cell) for i, cell in mine if name in (full_name(cell), cell.name)]
        if not mine:
            raise unknown(
                "method", name, set(map(full_name, results.cells)), hint="Next: `fssbench list runs`"
            )
        for i, cell in exact or mine:
            rank.setdefault(i, place)
            wanted.append(cell.name)
    cells = tuple(results.cells[i] for i in sorted(rank, key=lambda i: (rank[i], i)))
    return replace(results, cells=cells), list(dict.fromkeys(wanted))


def _all(results: Results) -> list[str]:
    return sorted({cell.label for cell in results.cells})


def p_text(p: float) -> str:
    """A p value to three places."""
    return "-" if p != p else "<0.001" if p < 0.001 else f"{p:.3f}"


def _show(
    found: Iterable[Pair], counts: Iterable[Tally], ranks: Ranking, spreads: tuple[SeedSpread, ...]
) -> None:
    from fssbench.row_names import pair_names

    columns = ("benchmark", "shot", "A", "B", "mIoU A", "mIoU B", "A - B", "interval", "p", "Holm p")
    table(
        (*columns, "A's", "episodes", "marks", "note"),
        [
            (
                p.benchmark,
                p.shot,
                *pair_names(p),
                *(f"{figure:.1f}" for figure in p.figures),
                f"{p.difference.value:+.2f}",
                f"{p.difference.low:+.2f} to {p.difference.high:+.2f}"
                if p.difference.p == p.difference.p
                else "-",
                p_text(p.difference.p),
                p_text(p.adjusted),
                p.outcome,
                p.episodes,
                "; ".join(dict.fromkeys((*p.a.marks, *p.b.marks))),
                p.note,
            )
            for p in found
        ],
        title="Differences",
    )
    click.echo()
    table(
        ("A", "B", "A wins", "ties", "A loses"),
        [(*t.methods, t.wins, t.ties, t.losses) for t in counts],
        title="Over benchmarks and shots",
    )
    click.echo()
    if ranks.reason:
        click.echo(f"no ranking: {one_line(ranks.reason)}", err=True)
    else:
        table(
            ("method", "mean rank", "critical difference", "Friedman p", "over", "not told apart from"),
            [
                (
                    m,
                    f"{r:.2f}",
                    f"{ranks.critical:.2f}",
                    p_text(ranks.friedman),
                    len(ranks.blocks),
                    _near(m, ranks),
                )
                for m, r in zip(ranks.methods, ranks.ranks, strict=True)
            ],
            title="Mean rank over benchmarks and shots (Nemenyi's critical difference at 5 %)",
        )
    if spreads:
        click.echo()
        table(
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


def _near(method: str, ranks: Ranking) -> str:
    """Methods whose rank is within the critical difference of this one's."""
    near = {other for group in ranks.groups if method in group for other in group} - {method}
    return ", ".join(m for m in ranks.methods if m in near)


def _records(
    found: Iterable[Pair],
    counts: Iterable[Tally],
    ranks: Ranking,
    spreads: Iterable[SeedSpread],
    results: Results,
) -> Iterable[dict[str, Any]]:
    """Everything as JSON objects, unrounded."""
    for p in found:
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
            "outcome": p.outcome,
            "episodes": p.episodes,
            "marks": list(dict.fromkeys((*p.a.marks, *p.b.marks))),
            "note": p.note,
            "runs": [[run.slug for run in cell.folds.values()] for cell in (p.a, p.b)],
            "resamples": results.resamples,
            "bootstrap_seed": results.bootstrap_seed,
        }
    for t in counts:
        yield {"kind": "tally", "methods": t.methods, "wins": t.wins, "ties": t.ties, "losses": t.losses}
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
