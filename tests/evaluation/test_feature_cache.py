"""The feature cache against brute force: right values, within the budget, as many hits as possible."""

from __future__ import annotations

from functools import cache as memo

import pytest
import torch
from hypothesis import given, settings, strategies as st

from fssbench.errors import PluginError
from fssbench.evaluation.feature_cache import FeatureCache

UNIT = 4
"""Bytes of a one-element float map."""


def value(key: int, size: int = 1) -> dict[str, torch.Tensor]:
    return {"map": torch.full((size,), float(key))}


def play(cache: FeatureCache, sequence, size=lambda key: 1) -> None:
    for key in sequence:
        maps = cache.get(key, lambda key=key: value(key, size(key)))
        assert (maps["map"] == key).all()
        assert len(maps["map"]) == size(key)
        assert 0 <= cache.held <= cache.budget
        assert cache.held == sum(4 * size(k) for k in cache._cached)


def fewest_misses(sequence: tuple[int, ...], room: int) -> int:
    """The optimum by trying every choice of what to keep: no rule of eviction is assumed."""

    @memo
    def best(at: int, held: frozenset[int]) -> int:
        if at == len(sequence):
            return 0
        key = sequence[at]
        if key in held:
            return best(at + 1, held)
        options = [best(at + 1, held)]
        if room:
            if len(held) < room:
                options.append(best(at + 1, held | {key}))
            options += [best(at + 1, (held - {out}) | {key}) for out in held]
        return 1 + min(options)

    return best(0, frozenset())


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(0, 4))
@settings(max_examples=200, deadline=None)
def test_hits_are_the_optimum_for_unit_sizes(sequence, room):
    cache = FeatureCache(room * UNIT)
    cache.plan(sequence)
    play(cache, sequence)
    assert cache.misses == fewest_misses(tuple(sequence), room)
    assert cache.hits + cache.misses == len(sequence)


@given(
    st.lists(st.integers(0, 6), max_size=30),
    st.lists(st.integers(0, 6), max_size=30),
    st.integers(0, 60),
)
@settings(max_examples=200, deadline=None)
def test_values_and_budget_hold_for_any_requests_and_sizes(announced, asked, budget):
    """Sizes differ, and what is asked for need not be what was announced."""
    cache = FeatureCache(budget)
    cache.plan(announced)
    play(cache, asked, size=lambda key: 1 + key % 4)
    cache.plan(asked)  # a second plan with the same cache
    play(cache, asked, size=lambda key: 1 + key % 4)
    assert cache.hits + cache.misses == 2 * len(asked)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=14), st.integers(1, 3), st.data())
@settings(max_examples=100, deadline=None)
def test_announced_and_skipped_requests_do_not_pin_what_is_held(sequence, room, data):
    """A method that broke is announced and never asks: the next plan must still fare as well as can be."""
    cache = FeatureCache(room * UNIT)
    cache.plan(sequence)
    broke = data.draw(st.integers(0, len(sequence)))
    play(cache, sequence[:broke])
    cache.plan([100, 101])
    play(cache, [100, 101])  # now everything announced before lies in the past
    misses = cache.misses
    later = (10, 11, 10, 11, 12, 10, 11)
    cache.plan(later)
    play(cache, later)
    assert cache.misses - misses == fewest_misses(later, room)


def test_zero_budget_keeps_nothing():
    cache = FeatureCache(0)
    cache.plan([1, 1, 1])
    play(cache, [1, 1, 1])
    assert (cache.hits, cache.misses, cache.held) == (0, 3, 0)


def test_item_larger_than_the_budget_leaves_the_others_alone():
    cache = FeatureCache(3 * UNIT)
    cache.plan([1, 9, 1, 9])
    play(cache, [1, 9, 1, 9], size=lambda key: key)
    assert (cache.hits, cache.misses) == (1, 3)


def test_what_is_not_asked_again_stays_while_there_is_room_and_goes_first():
    cache = FeatureCache(2 * UNIT)
    cache.plan([1, 2])
    play(cache, [1, 2])
    assert cache.held == 2 * UNIT
    cache.plan([2, 3, 3, 2])  # the next plan: 2 is there already, 1 makes room for 3
    play(cache, [2, 3, 3, 2])
    assert (cache.hits, cache.misses) == (3, 3)
    cache.plan([4])
    play(cache, [4])
    assert cache.held == 2 * UNIT, "never asked again, and no room: not kept"


def test_change_in_place_is_found():
    cache = FeatureCache(100)
    cache.plan([1, 1])
    cache.get(1, lambda: value(1))["map"].add_(1)
    with pytest.raises(PluginError, match="changed in place"):
        cache.get(1, lambda: value(1))


def test_maps_of_several_taps_count_together():
    cache = FeatureCache(6 * UNIT)
    cache.plan(["a", "a"])
    cache.get("a", lambda: {"x": torch.zeros(4), "y": torch.zeros(2)})
    assert cache.held == 24
    assert set(cache.get("a", dict)) == {"x", "y"}
