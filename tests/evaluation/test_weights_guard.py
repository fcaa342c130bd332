"""A method that changes weights moves nobody else's figures, and its own are refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from fssbench.api import FeatureMethod, ImageMethod, MethodConfig, Taps
from fssbench.contracts.backbones import Backbone, Tap
from fssbench.errors import PluginError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.settings import Settings
from fssbench.runs.store import find_run_folders, read_run

EPISODES = 12


class Small(Backbone):
    """A convolution and a batch norm whose statistics matter."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.layout = "small", "standard"
        self.conv = nn.Conv2d(3, 4, 3, padding=1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.norm.num_batches_tracked = None
        self.requires_grad_(False)
        generator = torch.Generator().manual_seed(0)
        for name, value in self.state_dict().items():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.1 * ("var" in name))
        self.eval()
        self.record("made up")

    @property
    def taps(self):
        return {"only": Tap(name="only", stage=1, channels=4, stride=2)}

    def forward(self, images, taps):
        return {"only": self.norm(self.conv(images))}


def by_features(query, support, mask):
    far = (query["only"] - support["only"].mean(1)).abs().mean(1, keepdim=True)
    near = functional.interpolate(far, mask.shape[-2:])
    score = mask.mean(1, keepdim=True) + 0.5 * near.mean() - near
    return torch.cat([-score, score], 1)


def method(null, name, harm=None, at=1, prepare=None, base=FeatureMethod):
    """A feature method on a backbone of its own that does `harm` to itself in its call number `at`."""
    calls = []

    def logits(self, query, support, mask):
        calls.append(1)
        if harm is not None and len(calls) == at:
            harm(self)
        if base is ImageMethod:
            query, support = (
                self.backbone(query, []),
                {"only": self.backbone(support[:, 0], [])["only"][:, None]},
            )
        return by_features(query, support, mask)

    card = null.base.card.model_copy(update={"name": name, "backbone": "small"})
    fields = {"card": card, "logits": logits, "needs_backbone": True}
    if base is FeatureMethod:
        fields["taps"] = property(lambda self: Taps(("only",), ("only",)))
    made = type(name.title(), (base,), fields)(MethodConfig(), Small())
    made.head = nn.Linear(2, 2)
    nn.init.ones_(made.head.weight)
    nn.init.zeros_(made.head.bias)
    made.head.register_buffer("count", torch.zeros(()))
    if prepare is not None:
        prepare(made)
    return made


def norms_in_training_mode(m):
    nn.Module.train(m.backbone.norm, True)


def other_statistics(m):
    m.backbone.norm.running_mean.add_(1)


def data_edited(m):
    m.backbone.conv.weight.data.mul_(-1)


def through_numpy(m):
    m.backbone.conv.weight.numpy()[:] *= -1


def half(m):
    m.backbone.half()
    m.backbone.float()  # so that its own forward does not fail; the precision is gone


def halved_buffer(m):
    m.backbone.norm.running_var = m.backbone.norm.running_var.double()


def other_parameter(m):
    m.backbone.conv.weight = nn.Parameter(-m.backbone.conv.weight)


def head_edited(m):
    m.head.weight.data.add_(1)


def head_in_training_mode(m):
    m.head.train()


def counter(m):
    m.head.count += 1


def new_buffer(m):
    m.register_buffer("grid", torch.zeros(3))


HARMS = (
    norms_in_training_mode,
    other_statistics,
    data_edited,
    through_numpy,
    half,
    halved_buffer,
    other_parameter,
    head_edited,
    head_in_training_mode,
    counter,
    new_buffer,
)


UNDISTURBED = {}
"""The run of each method by itself, with its results; one test makes it for all."""


def read_undisturbed(null, name):
    if name not in UNDISTURBED:
        (run,) = null.run("undisturbed", null.plan(EPISODES), method(null, name), panels=0)
        UNDISTURBED[name] = read_run(run.path), null.read_results(run.path)
    return UNDISTURBED[name]


@pytest.fixture
def alone(null):
    return read_undisturbed(null, "victim")[1]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_harm_is_refused_and_moves_nobody_else(null, alone, harm):
    plan, settings = null.plan(EPISODES), Settings(out=null.folder / "both", panels=0)
    bad = method(null, "bad", harm)
    done, ((blamed, error),) = evaluate_all([bad, method(null, "victim")], plan, settings)
    assert blamed is bad
    assert isinstance(error, PluginError)
    assert "'bad'" in str(error)
    assert [null.read_results(d.path) for d in done] == [alone]
    (stored,) = [p for p in find_run_folders(null.folder / "both") if "bad" in p.name]
    assert read_run(stored).done == 0
    # and in a later command
    (again,) = null.run("both", plan, method(null, "victim"), panels=0)
    assert again.computed == 0
    assert null.read_results(again.path) == alone


@pytest.mark.parametrize("harm", [data_edited, through_numpy, head_edited], ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("at", [2, 5, EPISODES])
def test_late_harm_that_leaves_no_trace_takes_back_what_is_not_proven(null, harm, at):
    plan, settings = null.plan(EPISODES), Settings(out=null.folder / "late", panels=0)
    _, ((_, error),) = evaluate_all([method(null, "bad", harm, at=at)], plan, settings)
    assert isinstance(error, PluginError)
    (path,) = find_run_folders(null.folder / "late")
    kept = read_run(path)
    assert kept.done < at
    clean, _ = read_undisturbed(null, "bad")
    assert kept.records.items() <= clean.records.items()


def test_harmed_method_is_not_evaluated_again(null):
    bad = method(null, "bad", head_edited)
    for shot in (1, 2):
        done, ((_, error),) = evaluate_all(
            [bad], null.plan(EPISODES, shot=shot), Settings(out=null.folder / "two", panels=0)
        )
        assert done == []
        assert "head.weight" in str(error)


def test_weights_changed_before_the_run_are_not_measured_under_the_old_name(null):
    bad = method(null, "bad", prepare=data_edited)
    done, ((_, error),) = evaluate_all(
        [bad], null.plan(EPISODES), Settings(out=null.folder / "before", panels=0)
    )
    assert done == []
    assert "made up" in str(error)
    bad.backbone.record("negated")
    null.run("before", null.plan(EPISODES), bad, panels=0)


def test_hook_on_a_backbone_that_the_harness_runs_is_refused(null):
    bad = method(null, "bad", prepare=lambda m: m.backbone.norm.register_forward_hook(lambda *_: None))
    _, ((_, error),) = evaluate_all(
        [bad], null.plan(EPISODES), Settings(out=null.folder / "hooked", panels=0)
    )
    assert "norm" in str(error)


def test_another_structure_is_its_owners_alone(null, alone):
    def wider(m):
        m.backbone.conv.stride = (1, 1)

    plan, settings = null.plan(EPISODES), Settings(out=null.folder / "wide", panels=0)
    done, failed = evaluate_all([method(null, "wide", prepare=wider), method(null, "victim")], plan, settings)
    assert failed == []
    assert null.read_results(done[1].path) == alone
    assert null.read_results(done[0].path)[1] != alone[1]


@pytest.mark.parametrize("base", [FeatureMethod, ImageMethod])
def test_what_is_restored_within_the_episode_is_accepted(null, base):
    def borrow(m):
        kept = copy.deepcopy(m.state_dict())
        m.train()
        m.head.count += 3
        m.backbone.norm.running_mean.add_(1)
        m.backbone.conv.weight.data.mul_(2)
        m.eval()
        m.load_state_dict(kept)

    (run,) = null.run(
        "restored", null.plan(EPISODES), method(null, "good", borrow, at=3, base=base), panels=0
    )
    (clean,) = null.run("clean", null.plan(EPISODES), method(null, "good", base=base), panels=0)
    assert null.read_results(run.path) == null.read_results(clean.path)


def test_gradients_and_flags_that_move_no_figure_are_let_be(null, alone):
    def harmless(m):
        m.backbone.requires_grad_(True)
        m.register_buffer("cache", torch.zeros(3), persistent=False)

    plan, settings = null.plan(EPISODES), Settings(out=null.folder / "free", panels=0)
    done, failed = evaluate_all([method(null, "free", harmless), method(null, "victim")], plan, settings)
    assert failed == []
    assert null.read_results(done[1].path) == alone


def test_hook_on_every_module_is_gone_after_the_call(null, alone):
    def zeros(_module, _given, out):
        return out * 0 if isinstance(out, torch.Tensor) else None

    def hook_all(_):
        nn.modules.module.register_module_forward_hook(zeros)

    plan, settings = null.plan(EPISODES), Settings(out=null.folder / "global", panels=0)
    done, _ = evaluate_all([method(null, "bad", hook_all), method(null, "victim")], plan, settings)
    assert null.read_results(done[-1].path) == alone
    assert not nn.modules.module._global_forward_hooks


def test_methods_of_one_backbone_object_are_told_apart(null):
    bad, good = method(null, "bad", norms_in_training_mode), method(null, "victim")
    bad.backbone = good.backbone
    plan, settings = null.plan(EPISODES), Settings(out=null.folder / "one", panels=0)
    _, failed = evaluate_all([bad, good], plan, settings)
    assert failed[0][0] is bad
    for path in find_run_folders(null.folder / "one"):
        if "victim" in path.name:
            kept = read_run(path).records
            assert kept.items() <= read_undisturbed(null, "victim")[0].records.items()
