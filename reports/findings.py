"""The question of a report, and one sentence of findings that its statistics carry.

The sentence counts paired comparisons on shared episodes.  One counts as won only where the adjusted
p is below 5 % and the interval of the difference leaves 0 out; comparisons with weights left at
random say nothing about a method and are not counted at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fssbench.api import Cell
from fssbench.comparing import Pair

from .analysis import OPPOSITE, Analysis, speaks, verdict
from .marks import kind
from .text import clean, interval_of, signed

_NAMED = 3


@dataclass(frozen=True)
class Findings:
    """What stands at the top of a report."""

    question: str
    sentence: str
    caution: str
    """What limits the sentence; empty where nothing does."""


def findings(found: Analysis) -> Findings:
    """Ask and answer."""
    return Findings(_question(found), _sentence(found), _caution(found))


def _measured(found: Analysis) -> set[str]:
    """All methods, those that share no column with the others included."""
    return {found.name(cell) for cell in found.cells}


def _question(found: Analysis) -> str:
    shots = _listed([f"{k}" for k in found.shots])
    number = len(_measured(found))
    what = _count(number, "method")
    where = _count(len(found.benchmarks), "benchmark")
    which = "How well does" if number == 1 else "Which of"
    rest = "segment" if number == 1 else "segments best"
    return (
        f"{which} {what} {rest} objects of new classes from {shots} labelled "
        f"example{'s' if found.shots != (1,) else ''}, on {where}, and how sure is that?"
    )


def _sentence(found: Analysis) -> str:
    if len(found.methods) == 1 and len(_measured(found)) > 1:
        return "Nothing can be said about which method is better: no two share benchmark, seed, protocol, size and cap."
    if len(found.methods) == 1:
        return (
            f"One method was measured, {found.methods[0]}: its figures stand alone, and nothing is compared."
        )
    every = [pair for pairs in found.pairs.values() for pair in pairs]
    told = [pair for pair in every if speaks(pair)]
    if not told:
        why = (
            "no two methods have counted the same episodes"
            if not every
            else "every pair has untrained weights in it"
        )
        return f"Nothing can be said about which method is better: {why}."
    if all(verdict(pair) == "tie" for pair in told):
        return (
            f"None of {_count(len(told), 'paired comparison')} tells two methods apart "
            "(Holm-adjusted p of 5 % or more): these episodes do not show which method is better."
        )
    scores = _scores(found, told)
    leader = max(
        scores,
        key=lambda n: (scores[n]["win"] - scores[n]["loss"], scores[n]["win"], -found.methods.index(n)),
    )
    mine = [
        (pair, found.name(pair.a) == leader)
        for pair in told
        if leader in (found.name(pair.a), found.name(pair.b))
    ]
    against: dict[str, Counter[str]] = {}
    for pair, first in mine:
        other = found.name(pair.b if first else pair.a)
        against.setdefault(other, Counter())[verdict(pair) if first else OPPOSITE[verdict(pair)]] += 1
    if len(against) > _NAMED:
        total = sum(against.values(), Counter[str]())
        claims = [_claim(total, f"the {len(against)} others taken together")]
    else:
        claims = [_claim(counts, other) for other, counts in sorted(against.items())]
    return f"{_limit(told)}{leader} is significantly {'; '.join(claims)}; {_largest(found, mine)}."


def _limit(told: Sequence[Pair]) -> str:
    """What the sentence holds for, where that is not the benchmarks: it may be quoted alone."""
    cells = [cell for pair in told for cell in (pair.a, pair.b)]
    if _all(cells, "miniature"):
        return "On miniature data (no benchmark figures), "
    kinds = dict.fromkeys(kind(m) for cell in cells for m in cell.marks)
    return f"On numbers that are not all full measurements ({', '.join(kinds)}), " if kinds else ""


def _claim(counts: Counter[str], other: str) -> str:
    n = counts.total()
    decided = f"better than {other} in {counts['win']} of {n} comparisons, worse in {counts['loss']}"
    return f"{decided}, undecided in {counts['tie']}"


def _largest(found: Analysis, mine: Sequence[tuple[Pair, bool]]) -> str:
    gaps = []
    for pair, first in mine:
        d = pair.difference
        value, low, high = (d.value, d.low, d.high) if first else (-d.value, -d.high, -d.low)
        if verdict(pair) != "tie":
            gaps.append((abs(value), value, low, high, found.name(pair.b if first else pair.a), pair))
    if not gaps:
        return "none of its own comparisons is decided"
    _, value, low, high, other, pair = max(gaps, key=lambda g: (g[0], g[4]))
    return (
        f"its largest decided difference is {signed(value)} points {interval_of(low, high)} to {other} on "
        f"{found.benchmarks[pair.benchmark]}, {pair.shot}-shot ({pair.episodes:,} episodes)"
    )


def _scores(found: Analysis, told: Iterable[Pair]) -> dict[str, Counter[str]]:
    scores: dict[str, Counter[str]] = {}
    for pair in told:
        scores.setdefault(found.name(pair.a), Counter())[verdict(pair)] += 1
        scores.setdefault(found.name(pair.b), Counter())[OPPOSITE[verdict(pair)]] += 1
    return scores


def _caution(found: Analysis) -> str:
    cells = [cell for place in found.places for cell in place.cells.values()]
    said = []
    if _all(cells, "miniature"):
        said.append(
            "All of this is on miniature data: it shows that the benchmark works, and nothing about the "
            "methods on real images."
        )
    elif any(cell.marks for cell in cells):
        kinds = dict.fromkeys(kind(m) for cell in cells for m in cell.marks)
        said.append(
            f"Some numbers are not full benchmark measurements ({', '.join(map(clean, kinds))}); "
            "neither is what is said of them."
        )
    silent = sum(not speaks(pair) for pairs in found.pairs.values() for pair in pairs)
    if silent:
        said.append(
            f"{_count(silent, 'comparison')} with untrained or random weights "
            f"{'is' if silent == 1 else 'are'} not counted."
        )
    return " ".join(said)


def _all(cells: Sequence[Cell], mark: str) -> bool:
    return bool(cells) and all(mark in {kind(m) for m in cell.marks} for cell in cells)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)
