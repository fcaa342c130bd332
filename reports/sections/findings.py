"""The question of a report, and one sentence that answers it as far as the statistics allow.

The sentence counts the outcomes of paired comparisons on shared episodes
(`fssbench.analysis.comparisons`).  Comparisons with too few queries have no outcome and are not counted.  Comparisons
with random weights say nothing about a method and are not counted either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fssbench.api import MORE_QUERIES, TOO_FEW, Cell, Pair, describe_count, mark_kind, stands_apart, turn_pair

from ..content.analysis import Analysis, counts_as_evidence, is_trained
from ..content.text import clean, format_difference, format_difference_interval

_NAMED = 3


@dataclass(frozen=True)
class Findings:
    """The texts at the top of a report."""

    question: str
    sentence: str
    caution: str
    """Limits of the sentence; empty if there are none."""


def state_findings(analysis: Analysis) -> Findings:
    """Return the question of the report, its answer, and what limits the answer."""
    return Findings(_state_question(analysis), _state_answer(analysis), _state_caution(analysis))


def _list_methods(analysis: Analysis) -> set[str]:
    """Return the names of all methods, including those that share no column with others."""
    return {analysis.name(cell) for cell in analysis.cells}


def _state_question(analysis: Analysis) -> str:
    shots = _join_words([f"{k}" for k in analysis.shots])
    number = len(_list_methods(analysis))
    where = describe_count(len(analysis.benchmarks), "benchmark")
    subject = "How well does 1 method segment" if number == 1 else f"Which of {number} methods segments"
    best = "" if number == 1 else "best "
    return (
        f"{subject} objects of new classes {best}from {shots} labelled "
        f"example{'s' if analysis.shots != (1,) else ''} on {where}, and how certain is the answer?"
    )


def _state_answer(analysis: Analysis) -> str:
    if len(analysis.methods) == 1 and len(_list_methods(analysis)) > 1:
        return (
            "Nothing can be said about which method is better: "
            "no two methods share benchmark, seed, protocol, input size and cap."
        )
    if len(analysis.methods) == 1:
        return f"Only one method was measured, {analysis.methods[0]}: nothing is compared."
    all_pairs = [pair for pairs in analysis.pairs.values() for pair in pairs]
    evidence = [pair for pair in all_pairs if counts_as_evidence(pair)]
    if not evidence:
        return f"Nothing can be said about which method is better: {_explain_silence(all_pairs)}"
    if all(pair.outcome == "tie" for pair in evidence):
        number = len(evidence)
        none = f"None of {number} paired comparisons is" if number > 1 else "The one paired comparison is not"
        return (
            f"{none} significant (p above 5 % after Holm's adjustment): these episodes do not show which method is "
            "better."
        )
    scores = _count_outcomes(analysis, evidence)
    apart = {
        analysis.name(cell)
        for place in analysis.places
        for cell in place.cells.values()
        if stands_apart(cell)
    }
    leader = max(
        (name for name in scores if name not in apart) if scores.keys() - apart else scores,
        key=lambda n: (scores[n]["win"] - scores[n]["loss"], scores[n]["win"], -analysis.methods.index(n)),
    )
    leader_pairs = [pair for pair in evidence if analysis.name(pair.a) == leader]
    leader_pairs += [turn_pair(pair) for pair in evidence if analysis.name(pair.b) == leader]
    outcomes_by_rival: dict[str, Counter[str]] = {}
    for pair in leader_pairs:
        outcomes_by_rival.setdefault(analysis.name(pair.b), Counter())[pair.outcome] += 1
    if len(outcomes_by_rival) > _NAMED:
        total = sum(outcomes_by_rival.values(), Counter[str]())
        claims = [_state_claim(total, f"the {len(outcomes_by_rival)} others taken together")]
    else:
        claims = [_state_claim(counts, other) for other, counts in sorted(outcomes_by_rival.items())]
    largest = _state_largest(analysis, leader_pairs)
    return f"{_state_limit(evidence)}{leader} is significantly {'; '.join(claims)}. {largest}."


def _explain_silence(every: Sequence[Pair]) -> str:
    """Return the reason why no pair counts as evidence."""
    if not every:
        return "no two methods have counted the same episodes."
    undersized = [pair for pair in every if pair.outcome == TOO_FEW and is_trained(pair)]
    if not undersized:
        return "every comparison includes untrained or random weights."
    return f"every paired comparison has too few queries ({_count_queries(undersized)}). {MORE_QUERIES}."


def _count_queries(few: Sequence[Pair]) -> str:
    low, high = min(p.queries for p in few), max(p.queries for p in few)
    words = describe_count(high, "distinct query", "distinct queries")
    return words if low == high else f"{low} to {words}"


def _state_limit(evidence: Sequence[Pair]) -> str:
    """Return a beginning of the sentence that says where it holds, because it may be quoted alone."""
    cells = [cell for pair in evidence for cell in (pair.a, pair.b)]
    if _have_all(cells, "miniature"):
        return "On miniature data (not benchmark figures), "
    kinds = dict.fromkeys(mark_kind(m) for cell in cells for m in cell.marks)
    return f"On figures that are not all full measurements ({', '.join(kinds)}), " if kinds else ""


def _state_claim(counts: Counter[str], other: str) -> str:
    n = counts.total()
    counted = f"better than {other} in {counts['win']} of {n} comparisons, worse in {counts['loss']}"
    return f"{counted}, undecided in {counts['tie']}"


def _state_largest(analysis: Analysis, mine: Sequence[Pair]) -> str:
    decided = [pair for pair in mine if pair.outcome != "tie"]
    if not decided:
        return "None of its own comparisons is significant"
    pair = max(decided, key=lambda p: (abs(p.difference.value), analysis.name(p.b)))
    d = pair.difference
    ends = format_difference_interval(d.low, d.high)
    return (
        f"Its largest significant difference is {format_difference(d.value)} points {ends} to "
        f"{analysis.name(pair.b)} on {analysis.benchmarks[pair.benchmark]}, {pair.shot}-shot "
        f"({describe_count(pair.episodes, 'episode')})"
    )


def _count_outcomes(analysis: Analysis, evidence: Iterable[Pair]) -> dict[str, Counter[str]]:
    scores: dict[str, Counter[str]] = {}
    for pair in evidence:
        scores.setdefault(analysis.name(pair.a), Counter())[pair.outcome] += 1
        scores.setdefault(analysis.name(pair.b), Counter())[turn_pair(pair).outcome] += 1
    return scores


def _state_caution(analysis: Analysis) -> str:
    cells = [cell for place in analysis.places for cell in place.cells.values()]
    sentences = []
    if _have_all(cells, "miniature"):
        sentences.append(
            "All figures are measured on miniature data. They show that the benchmark works, and nothing about the "
            "methods on real images."
        )
    elif any(cell.marks for cell in cells):
        kinds = dict.fromkeys(mark_kind(m) for cell in cells for m in cell.marks)
        sentences.append(
            f"Some figures are not full benchmark measurements ({', '.join(map(clean, kinds))}). "
            "Conclusions from them are limited in the same way."
        )
    all_pairs = [pair for pairs in analysis.pairs.values() for pair in pairs]
    undersized = [pair for pair in all_pairs if is_trained(pair) and not counts_as_evidence(pair)]
    if undersized and any(map(counts_as_evidence, all_pairs)):
        sentences.append(
            f"{describe_count(len(undersized), 'comparison')} with too few queries ({_count_queries(undersized)}) "
            f"{'is' if len(undersized) == 1 else 'are'} not counted."
        )
    untrained_pairs = sum(not is_trained(pair) for pair in all_pairs)
    if untrained_pairs:
        sentences.append(
            f"{describe_count(untrained_pairs, 'comparison')} with untrained or random weights "
            f"{'is' if untrained_pairs == 1 else 'are'} not counted."
        )
    return " ".join(sentences)


def _have_all(cells: Sequence[Cell], mark: str) -> bool:
    return bool(cells) and all(mark in {mark_kind(m) for m in cell.marks} for cell in cells)


def _join_words(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)
