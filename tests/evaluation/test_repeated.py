"""Episodes that are computed again at the end of a run, so that a method with a memory is noticed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st
from messages import error_names

from fssbench.contracts.episodes import Episode
from fssbench.errors import PluginError
from fssbench.evaluation.method_run import MethodRun
from fssbench.evaluation.repeated import LEAST, MOST, Repeated
from fssbench.runs.store import read_run


def count_in_memory(self: Any, query: Any, support: Any, support_mask: Any) -> Any:
    """Predict less and less foreground from call to call."""
    self.calls = getattr(self, "calls", 0) + 1
    fg = (support_mask.mean(dim=1) - 0.5) * (self.calls < 4)
    return fg.new_zeros(()) + (fg[:, None] * fg.new_tensor([-1.0, 1.0])[:, None, None])


@given(st.integers(0, 3000), st.integers(0, MOST))
def test_few_episodes_are_repeated_and_the_first_one_comes_last(number: int, most: int) -> None:
    episodes = [Episode(index, 1, f"q{index}", ("s",)) for index in range(number)]
    chosen = [episode.index for episode in Repeated(episodes, most).episodes]
    assert chosen == sorted(set(chosen), reverse=True)
    assert len(chosen) <= max(LEAST, number // 50)
    assert len(chosen) <= most
    if number and most:
        assert chosen[-1] == 0


def test_a_method_with_a_memory_ends_by_name_and_stores_nothing(null: Any) -> None:
    plan, bad = null.plan(8), null.make_broken("memory", logits=count_in_memory)
    with pytest.raises(PluginError) as caught:
        null.run("runs", plan, bad, repeated=MOST)
    error_names(caught.value, "memory", "state")
    assert not read_run(null.find_run("runs")).records


def test_repetitions_change_no_byte_and_cost_two_episodes(null: Any) -> None:
    plan = null.plan(8)
    (once,) = null.run("once", plan)
    before = null.count_calls()
    (again,) = null.run("again", plan, repeated=MOST)
    assert null.count_calls() - before == 8 + LEAST
    assert null.read_results(again.path) == null.read_results(once.path)
    assert again.computed == 8


def test_a_run_is_complete_only_after_its_repetitions(null: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = null.plan(8)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MethodRun, "repeat", stop)
        with pytest.raises(KeyboardInterrupt):
            null.run("runs", plan, repeated=MOST)
    assert len(read_run(null.find_run("runs")).records) == 7
    (done,) = null.run("runs", plan, repeated=MOST)
    assert (done.computed, done.score.episodes) == (1, 8)
