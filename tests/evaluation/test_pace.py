"""A slow method does not hold back the others: they finish first, and it goes on alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fssbench.errors import PluginError
from fssbench.evaluation import walk
from fssbench.evaluation.method_run import MethodRun
from fssbench.evaluation.pace import Pace, find_slow
from fssbench.evaluation.settings import Settings
from fssbench.evaluation.suite import Request, execute, prepare
from fssbench.plugins.registry import METHODS
from fssbench.runs.store import read_run


def paces(inputs: float, episodes: int = 20, **predictions: float) -> dict[str, Pace]:
    """Paces of methods by their seconds per prediction; the first pays for the inputs."""
    first = next(iter(predictions))
    return {
        name: Pace(episodes, episodes * (own + (inputs if name == first else 0)), episodes * own)
        for name, own in predictions.items()
    }


def test_adaptation_beside_fast_methods_is_slow() -> None:
    assert find_slow(paces(0.1, panet=0.02, pmnet=0.24, abcdfss=2.7)) == "abcdfss"


@pytest.mark.parametrize(
    "given",
    [
        paces(0.1, panet=0.02, pmnet=0.24, hsnet=0.55),  # features would cost it a fifth again
        paces(0.01, one=0.5, other=0.5, third=0.5),  # none takes most of the time
        paces(0.0, one=2.0, other=1.5, third=1.0),
        paces(0.1, abcdfss=2.7),  # nobody waits
        paces(0.1, 4, panet=0.2, abcdfss=9.0),  # too few episodes
        paces(0.1, panet=0.0001, other=0.3),  # within the first seconds
    ],
)
def test_others_go_on_in_lockstep(given: dict[str, Pace]) -> None:
    assert find_slow(given) is None


@pytest.fixture
def request_(null) -> Request:
    """A request for a slow and two fast methods on two plans."""
    for name in ("slow", "fast"):
        card = null.base.card.model_copy(update={"name": name})
        METHODS.add(name, type(name.title(), (null.base,), {"card": card}), "test")
    settings = Settings(out=null.folder / "runs", panels=0, repeated=0)
    return Request(
        methods=("slow", "fast", "null"),
        benchmarks=("nulldata",),
        shots=(1, 5),
        episodes=8,
        data=str(null.data),
        settings=settings,
    )


def find_the_one_called_slow(paces: dict[MethodRun, Pace]) -> MethodRun | None:
    """Stand in for `find_slow`, so that no test depends on the load of the machine."""
    names = {run.method.card.name: run for run in paces if run.pace.episodes >= 5}
    return names.get("slow") if len(paces) > 1 else None


def test_slow_method_runs_last_and_every_run_is_whole(null, request_, monkeypatch) -> None:
    monkeypatch.setattr(walk, "find_slow", find_the_one_called_slow)
    order = []
    for task, done, failed in execute(prepare(request_)):
        assert failed == []
        order += [(task.plan.shot, read_run(each.path).manifest.block.method) for each in done]
    assert order == [(1, "fast"), (1, "null"), (5, "fast"), (5, "null"), (1, "slow"), (5, "slow")]
    runs = [read_run(path.parent) for path in (null.folder / "runs").glob("*/manifest.json")]
    assert [run.status for run in runs] == ["complete"] * 6
    assert null.count_calls() == 6 * 8, "no episode is computed twice"

    alone = replace(
        request_, methods=("slow",), settings=replace(request_.settings, out=null.folder / "alone")
    )
    for _, done, _ in execute(prepare(alone)):
        for each in done:
            for name in ("episodes.jsonl", "summary.json"):
                other = null.folder / "runs" / each.path.name / name
                assert other.read_bytes() == (Path(each.path) / name).read_bytes()


def test_slow_method_that_breaks_later_is_reported_once(null, request_, monkeypatch) -> None:
    monkeypatch.setattr(walk, "find_slow", find_the_one_called_slow)
    calls = [0]
    original = METHODS.get("slow").logits

    def logits(self, *given):
        calls[0] += 1
        if calls[0] > 6:
            raise ValueError("later")
        return original(self, *given)

    monkeypatch.setattr(METHODS.get("slow"), "logits", logits)
    failed = [
        str(error) for _, _, errors in execute(prepare(replace(request_, shots=(1,)))) for _, error in errors
    ]
    assert len(failed) == 1
    assert "later" in failed[0]


def test_slow_method_that_breaks_when_it_is_put_off_is_reported_once(null, request_, monkeypatch) -> None:
    """Its weights are compared when its folder is closed; the others go on."""
    monkeypatch.setattr(walk, "find_slow", find_the_one_called_slow)
    close = MethodRun.close

    def fail(self):
        evaluation = close(self)
        if self.deferred:
            raise PluginError("weights changed")
        return evaluation

    monkeypatch.setattr(MethodRun, "close", fail)
    results = list(execute(prepare(replace(request_, shots=(1,)))))
    assert [str(error) for _, _, errors in results for _, error in errors] == ["weights changed"]
    assert [read_run(each.path).status for _, done, _ in results for each in done] == ["complete"] * 2
