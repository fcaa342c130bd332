"""`fssbench.run`: the runs of the command, with the same rules, marks, refusals and identities."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from command import run_command
from places import TOY_PLUGIN

import fssbench
from fssbench.errors import FssbenchError, PluginError, UsageError
from fssbench.runs.store import find_run_folders

CHEST = "pascal-to-chestxray"
SMALL = {"data": "mini", "shot": 1, "episodes": 2, "size": 64, "device": "cpu", "progress": False}


@pytest.fixture
def _mini(mini: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FSSBENCH_DATA", str(mini))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_mini")
def test_python_finds_the_runs_of_the_command_complete() -> None:
    words = [
        "-m",
        "panet",
        "-m",
        "pmnet",
        "-b",
        CHEST,
        "-k",
        1,
        "--episodes",
        2,
        "--size",
        64,
        "--device",
        "cpu",
    ]
    assert run_command("run", *words).exit_code == 0
    options = {**SMALL, "data": None}
    done = fssbench.run(["panet", "pmnet", "panet"], CHEST, **options)
    assert [each.computed for each in done] == [0, 0]
    assert {each.path for each in done} == set(find_run_folders(Path("runs")))
    assert "part-trained" in " ".join(done[1].marks)
    plan = fssbench.plan(CHEST, episodes=2, size=64)
    alone = fssbench.evaluate(fssbench.load_method("pmnet", plan=plan), plan)
    assert (alone.computed, alone.identity) == (0, done[1].identity)
    page = done._repr_html_()
    assert page.count("too few queries (2)") == 4
    assert page.count("capped (2 of 600 episodes)") == 2
    assert "miniature data: figures are not benchmark figures" in page
    assert done[:1] == (done[0],)


def test_a_plan_on_the_miniature_has_the_size_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (done,) = fssbench.run("panet", CHEST, **{**SMALL, "size": None})
    plan = fssbench.plan(CHEST, data="mini", episodes=2)
    alone = fssbench.evaluate(fssbench.load_method("panet", plan=plan), plan)
    assert (alone.computed, alone.identity) == (0, done.identity)
    published = fssbench.plan(CHEST, data="mini", episodes=2, size=400)
    assert (published.size, published.sha256) == (400, plan.sha256)
    assert "resized" not in [mark.kind for mark in published.marks]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shto": 1}, ("shto", "Did you mean shot")),
        ({"shots": [1]}, ("shots", "shot")),
        ({"shot": 0}, ("shots=(0,)", "greater than or equal to 1")),
        ({"seed": -1}, ("seeds=(-1,)",)),
        ({"size": 8}, ("size=8", "32")),
        ({"episodes": 0}, ("episodes=0",)),
        ({"score_size": "huge"}, ("score_size='huge'", "original")),
        ({"shard": (3, 2)}, ("shard=(3, 2)",)),
        ({"workers": -1}, ("workers=-1",)),
        ({"device": "warp"}, ("warp",)),
        ({"config": {"weights": "x"}}, ("weights", "not a setting")),
        ({"config": {"widht": 3}}, ("widht",)),
        ({"protocol": "pubished"}, ("Did you mean published",)),
    ],
)
def test_what_the_command_refuses_is_refused(mini: Path, tmp_path: Path, options: dict, words: tuple) -> None:
    with pytest.raises(UsageError) as caught:
        fssbench.run("panet", CHEST, out=tmp_path / "runs", **{**SMALL, "data": mini, **options})
    for word in words:
        assert word in str(caught.value)


def test_all_problems_are_named_before_the_first_episode(mini: Path, tmp_path: Path) -> None:
    with pytest.raises(FssbenchError) as caught:
        fssbench.run(
            ["panett", "panet"], "pascal-to-chestxrya", out=tmp_path / "runs", **{**SMALL, "data": mini}
        )
    assert "panett" in str(caught.value)
    assert "chestxrya" in str(caught.value)
    assert not list((tmp_path / "runs").glob("*/episodes.jsonl"))


PLUGIN = """
import torch
from fssbench.api import ImageMethod, MethodCard, NO_REFERENCE


class Answer(ImageMethod):
    card = MethodCard(
        name="answer", title="Answer", paper="none", year=2026, kind="other", trained=False, backbone="own", size=32,
        reference=NO_REFERENCE, licence="none",
    )

    def logits(self, query, support, support_mask):
        foreground = support_mask.mean(dim=1) - THRESHOLD
        return torch.stack([-foreground, foreground], dim=1)


class Broken(Answer):
    card = Answer.card.changed(name="broken", title="Broken")

    def logits(self, query, support, support_mask):
        raise RuntimeError("no answer")
"""


@pytest.fixture
def toys(toy: object, tmp_path: Path) -> dict[str, object]:
    """Options for runs on the toy data set, with a plugin file of two methods."""
    toy.miniature(tmp_path / "data", 0)  # type: ignore[attr-defined]
    (tmp_path / "two.py").write_text(PLUGIN.replace("THRESHOLD", "0.5"))
    options = {
        "data": tmp_path / "data",
        "out": tmp_path / "runs",
        "plugins": [TOY_PLUGIN, tmp_path / "two.py"],
    }
    return {**options, "shot": 1, "episodes": 3, "size": 32, "device": "cpu", "progress": False}


def test_a_method_that_breaks_stops_no_other(toys: dict, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="no answer"):
        fssbench.run(["broken", "answer"], "toy", **toys)
    assert fssbench.results(tmp_path / "runs").runs["method"].tolist() == ["answer"]
    (done,) = fssbench.run("answer", "toy", **toys)
    assert (done.computed, done.score.episodes) == (0, 3)


def test_an_edited_plugin_is_another_measurement(toys: dict, tmp_path: Path) -> None:
    (first,) = fssbench.run("answer", "toy", **toys)
    (again,) = fssbench.run("answer", "toy", **toys)
    assert (again.computed, again.identity) == (0, first.identity)
    (tmp_path / "two.py").write_text(PLUGIN.replace("THRESHOLD", "2.0"))  # never foreground
    (other,) = fssbench.run("answer", "toy", **toys)
    assert other.computed == 3
    assert other.identity != first.identity
    assert other.score.miou != first.score.miou
    (tmp_path / "two.py").write_text(PLUGIN.replace("THRESHOLD", "0.5"))
    (back,) = fssbench.run("answer", "toy", **toys)
    assert (back.computed, back.identity) == (0, first.identity)


def test_a_loaded_method_stays_what_it_was_when_its_file_is_edited(toys: dict, tmp_path: Path) -> None:
    options = {name: toys[name] for name in ("data", "shot", "episodes", "size", "plugins")}
    plan = fssbench.plan("toy", **options)
    method = fssbench.load_method("answer", plan=plan, plugins=toys["plugins"])
    first = fssbench.evaluate(method, plan, out=tmp_path / "runs", progress=False)
    (tmp_path / "two.py").write_text(PLUGIN.replace("THRESHOLD", "2.0"))
    with pytest.raises(PluginError, match="edited.*plugins="):
        fssbench.load_method("answer", plan=plan)
    other = fssbench.load_method("answer", plan=plan, plugins=toys["plugins"])
    second = fssbench.evaluate(other, plan, out=tmp_path / "runs", progress=False)
    assert second.score.miou != first.score.miou
    again = fssbench.evaluate(method, plan, out=tmp_path / "again", progress=False)
    assert (again.identity, again.score) == (first.identity, first.score)


def test_a_running_event_loop_is_no_obstacle(toys: dict) -> None:
    async def cell() -> fssbench.evaluation.request.Evaluations:
        return fssbench.run("answer", "toy", **toys)

    assert asyncio.run(cell())[0].computed == 3


def test_an_interrupt_keeps_what_was_computed(toys: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    toys = {**toys, "progress": True}

    def interrupt(label: str, done: int, planned: int) -> None:
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("fssbench.progress.Progress.watch", lambda self, task: interrupt)
        with pytest.raises(KeyboardInterrupt):
            fssbench.run("answer", "toy", **toys)
    (done,) = fssbench.run("answer", "toy", **toys)
    assert (done.computed, done.score.episodes) == (1, 3)
