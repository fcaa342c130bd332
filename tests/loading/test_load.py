"""Tests of `load_method`: it finds names, settings, backbone and weights, and records them."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from registries import forget
from torch import Tensor, nn

import fssbench
from fssbench.api import FeatureMethod, Features, ImageMethod, MethodCard, MethodConfig, Taps
from fssbench.contracts.backbones import Backbone
from fssbench.errors import DataError, PluginError, UsageError
from fssbench.evaluation.sources import feature_key
from fssbench.loading.backbones import build_backbone
from fssbench.loading.checkpoints import save
from fssbench.loading.load import find_method_source, load_method, require_taps
from fssbench.loading.settings import RESERVED
from fssbench.plugins.registry import METHODS, load_plugin
from fssbench.plugins.syntax_digest import hash_syntax


def card(name: str, *, trained: bool = True, backbone: str = "efficientnet-lite0") -> MethodCard:
    return MethodCard(
        name=name,
        title=name,
        paper="none",
        year=2026,
        kind="other",
        backbone=backbone,
        size=32,
        trained=trained,
        reference="none",
        licence="none",
    )


class Settings(MethodConfig):
    ablations: ClassVar[dict[str, dict[str, Any]]] = {
        "background": {"background": False},
        "narrow": {"width": 2},
    }
    width: int = 4
    background: bool = True
    affinity: Literal["dot", "cosine"] = "dot"
    scales: tuple[float, ...] = (1.0,)


class Toy(FeatureMethod):
    card: ClassVar[MethodCard] = card("toy")
    Config: ClassVar[type[MethodConfig]] = Settings

    def __init__(self, config: Settings, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self.neck = nn.Conv2d(320, config.width, 1)

    @property
    def taps(self) -> Taps:
        return Taps(("blocks.15",), ("blocks.15",))

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        return self.neck(query["blocks.15"])[:, :2]


class Free(Toy):
    card: ClassVar[MethodCard] = card("free", trained=False, backbone="vgg16")

    def __init__(self, config: Settings, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        del self.neck

    @classmethod
    def backbone_layout(cls, backbone: str, config: MethodConfig) -> str:
        return "panet" if backbone == "vgg16" else "standard"


class Pixels(ImageMethod):
    card: ClassVar[MethodCard] = card("pixels", backbone="its own")

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self.conv = nn.Conv2d(3, 2, 1)
        self.frozen = nn.Conv2d(3, 2, 1).requires_grad_(False)

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return self.conv(query)


class Standing(Pixels):
    card: ClassVar[MethodCard] = card("standing", backbone="vgg16")
    needs_backbone: ClassVar[bool] = True


class Broken(Pixels):
    card: ClassVar[MethodCard] = card("broken")

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        raise RuntimeError("the sky is falling")


def set_double(*_given: object) -> None:
    torch.set_default_dtype(torch.float64)


class CallsItself(type(ImageMethod)):  # type: ignore[misc]
    """A metaclass with code of its own."""

    def __call__(cls, *given: object) -> object:
        set_double()
        return super().__call__(*given)


class Changes(ImageMethod):
    """A method without an `__init__`, to which the cases add code that changes the numbers of other methods."""

    card: ClassVar[MethodCard] = card("changes", trained=False, backbone="none")

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return query[:, :2]


@pytest.mark.parametrize(
    ("metaclass", "names"),
    [
        (
            type(ImageMethod),
            {"__init__": lambda self, *given: set_double() or ImageMethod.__init__(self, *given)},
        ),
        (type(ImageMethod), {"__new__": lambda cls, *_: set_double() or ImageMethod.__new__(cls)}),
        (type(ImageMethod), {"__setattr__": lambda *given: set_double() or nn.Module.__setattr__(*given)}),
        (type(ImageMethod), {"companions": property(set_double, set_double)}),
        (CallsItself, {}),
    ],
    ids=["init", "new", "setattr", "property", "metaclass"],
)
def test_a_construction_that_changes_the_numbers_of_others_is_refused(
    metaclass: type, names: dict[str, Any]
) -> None:
    cls = metaclass("Changed", (Changes,), {"__module__": __name__, **names})
    try:
        with pytest.raises(PluginError, match="default dtype"):
            load_method(cls)
    finally:
        torch.set_default_dtype(torch.float32)


def toy(**options: Any) -> Toy:
    method = load_method(Toy, weights="random", **options)
    assert isinstance(method, Toy)
    return method


def test_the_method_is_ready_to_predict() -> None:
    method = toy()
    assert not any(module.training for module in method.modules())
    assert all(p.requires_grad for p in method.neck.parameters())
    assert method.backbone is not None
    assert not any(p.requires_grad for p in method.backbone.parameters())
    with torch.no_grad():
        out = method.predict(
            torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 3, 32, 32), torch.ones(1, 1, 32, 32)
        )
    assert out.shape == (1, 2, 32, 32)


def test_provenance_tells_what_it_was_made_of() -> None:
    method = toy(ablate=("background", "background"), width="8", seed=3)
    made_of = method.provenance.model_dump(mode="json")
    assert method.backbone is not None
    hidden = {"source_sha256": "", "sources": {}, "backbone_source_sha256": ""}
    assert made_of | hidden == {
        "backbone_source_sha256": "",
        "method": "toy",
        "method_version": "file",
        "source_sha256": "",
        "sources": {},
        "distributions": {"pytest": version("pytest")},  # this file imports it
        "backbone": "efficientnet-lite0",
        "layout": "standard",
        "weights": "random",
        "weights_sha256": method.backbone.weights_sha256,
        "companions": {},
        "companion_weights": {},
        "checkpoint": None,
        "checkpoint_sha256": None,
        "ablations": ["background"],
        "config": {"width": 8, "background": False, "affinity": "dot", "scales": [1.0]},
        "config_passed": {"width": "8"},
        "untrained": True,
        "learnable": 320 * 8 + 8,
        "parameters": 320 * 8 + 8 + 2_958_848,
        "marks": [],
        "seed": 3,
        "training": None,
        "weights_changed": None,
    }
    assert len(made_of["source_sha256"]) == 64
    own = {name: part for name, part in made_of["sources"].items() if not name.startswith("backbone/")}
    files = (__file__, forget.__code__.co_filename)  # this file, and the helper that it imports
    assert sorted(own.values()) == sorted(hash_syntax(Path(file).read_bytes()) for file in files)
    assert "backbone/efficientnet" in made_of["sources"]


def test_a_training_free_method_is_never_untrained_and_has_its_layout() -> None:
    made_of = load_method(Free, weights="random").provenance
    assert (made_of.untrained, made_of.learnable, made_of.parameters) == (False, 0, 14_714_688)
    assert (made_of.backbone, made_of.layout) == ("vgg16", "panet")
    assert load_method(Free, backbone="efficientnet-lite0", weights="random").provenance.layout == "standard"


def test_an_image_method_brings_its_own_encoder() -> None:
    method = load_method(Pixels, untrained=True)
    assert method.backbone is None
    assert method.provenance.weights is None
    assert method.provenance.learnable == 8
    assert method.provenance.parameters == 16
    assert load_method(Pixels, backbone="resnet50", untrained=True).backbone is None


def test_an_image_method_may_stand_on_a_backbone_of_the_harness() -> None:
    method = load_method(Standing, weights="random")
    assert method.backbone is not None
    assert (method.provenance.backbone, method.provenance.weights) == ("vgg16", "random")
    with pytest.raises(DataError, match=r"'standing' needs a backbone, such as 'vgg16'"):
        Standing(MethodConfig())


def test_the_seed_decides_the_head_and_nothing_global_moves() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    one, same, other = toy(seed=1), toy(seed=1), toy(seed=2)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index, union-attr]
    assert torch.equal(one.neck.weight, same.neck.weight)
    assert not torch.equal(one.neck.weight, other.neck.weight)


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"width": "6"}, "width", 6),
        ({"background": "false"}, "background", False),
        ({"affinity": "cosine"}, "affinity", "cosine"),
        ({"scales": ["1", 2]}, "scales", (1.0, 2.0)),
    ],
)
def test_text_from_the_command_line_becomes_the_fields_type(
    given: dict[str, Any], field: str, value: object
) -> None:
    assert getattr(toy(**given).config, field) == value


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"widht": 3}, r"unknown setting of method toy 'widht'\. Did you mean width\?.*fssbench show toy"),
        (
            {"width": "wide"},
            r"setting width='wide' of method toy is not allowed: .*integer.*fssbench show toy",
        ),
        (
            {"affinity": "cosin"},
            r"affinity of method toy 'cosin'\. Did you mean cosine\?.*Known: cosine, dot",
        ),
        (
            {"ablate": ["backgrund"]},
            r"unknown ablation of .*'backgrund'\. Did you mean background\?",
        ),
        ({"ablate": ["narrow"], "width": 8}, r"ablation 'narrow' of method toy sets width=2, but width=8"),
        ({"backbone": "resnet5"}, r"unknown backbone 'resnet5'\. Did you mean resnet50"),
        ({"device": "gpu"}, r"device 'gpu' cannot be used here .*--device cpu"),
        ({"device": "cuda:99"}, r"device 'cuda:99' cannot be used here"),
    ],
)
def test_wrong_options_name_field_value_and_neighbours(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        toy(**options)


def test_an_unknown_method_whose_file_is_here_is_a_plugin(monkeypatch, tmp_path) -> None:
    (tmp_path / "my_own.py").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match=r"Next: for my_own\.py of this folder, `--plugin my_own\.py`; else `fssb"
    ):
        METHODS.get("my-own")
    for odd in ("é" * 300, "a" * 300, "../my_own", "nul\0", ""):
        with pytest.raises(UsageError, match="Next: `fssbench list"):
            METHODS.get(odd)


def test_unknown_methods_and_weights_have_neighbours() -> None:
    with pytest.raises(UsageError, match=r"unknown method 'hsnett'\. Did you mean hsnet"):
        load_method("hsnett")
    with pytest.raises(UsageError, match="unknown weights of efficientnet-lite0"):
        load_method(Toy, weights="v9", untrained=True)


class Tied(Free):
    card: ClassVar[MethodCard] = card("tied", trained=False, backbone="dinov2-s")

    @property
    def taps(self) -> Taps:
        return Taps(("blocks.11.norm",), ("blocks.11.norm",))


class TiedFromTheStart(Tied):
    def __init__(self, config: Settings, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        assert self.backbone.taps[self.taps.query[0]]


def test_a_method_whose_taps_another_backbone_has_is_refused_with_both_names() -> None:
    method = load_method(Tied, backbone="efficientnet-lite0", weights="random")
    for refuse in (
        lambda: require_taps(method),
        lambda: feature_key(method),
        lambda: load_method(TiedFromTheStart, backbone="efficientnet-lite0", weights="random"),
    ):
        with pytest.raises(
            PluginError, match=r"'tied' can.*'blocks\.11\.norm'.*[^.]\. It was built on"
        ) as caught:
            refuse()
        assert str(caught.value).endswith(
            "built on efficientnet-lite0, and its card names dinov2-s. "
            "Next: give backbone dinov2-s, or taps of efficientnet-lite0"
        )


class Switched(Pixels):
    """A method whose constructor chooses one of its functions, which its source says."""

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self.logits = self.switched  # type: ignore[method-assign]

    def switched(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        return -self.conv(query)


def test_a_function_that_is_replaced_after_loading_is_refused_because_the_source_does_not_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def other(*_: object) -> None: ...

    switched = load_method(Switched, untrained=True)
    assert find_method_source(switched).sha256 == switched.provenance.source_sha256
    on_object, voting, on_backbone, on_class = (load_method(Toy, untrained=True) for _ in range(4))
    monkeypatch.setattr(on_object, "logits", other)
    monkeypatch.setattr(voting, "shots", "vote")
    assert on_backbone.backbone is not None
    monkeypatch.setattr(on_backbone.backbone, "forward", other)
    for method, name in ((on_object, "logits"), (voting, "shots"), (on_backbone, "backbone.forward")):
        with pytest.raises(PluginError, match=rf"'toy': {name} was replaced after"):
            find_method_source(method)
    assert find_method_source(on_class).has_file
    monkeypatch.setattr(Toy, "logits", other)
    with pytest.raises(PluginError, match="'toy': logits was replaced after"):
        find_method_source(on_class)


def test_a_function_of_a_module_that_a_session_has_replaced_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after `method_module.helper = mine` in a notebook: the files of the source do not have it."""
    of_session = FunctionType(set_double.__code__, {"__name__": "__main__"})
    monkeypatch.setattr(sys.modules[__name__], "set_double", of_session)
    with pytest.raises(PluginError, match=r"'toy': set_double of test_load\.py was replaced"):
        find_method_source(load_method(Toy, untrained=True))


def test_a_failing_constructor_is_the_plugins_fault() -> None:
    with pytest.raises(PluginError, match=r"'broken' cannot be built .*RuntimeError: the sky is falling"):
        load_method(Broken, untrained=True)


def test_absent_weights_are_said_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "nowhere")
    with pytest.raises(
        DataError,
        match=r"resnet50-0676ba61\.pth.*Next: the same command with --download",
    ):
        load_method(Toy, backbone="resnet50", untrained=True)


def test_our_own_checkpoint_is_loaded(tmp_path: Path) -> None:
    first = toy(seed=1)
    path = tmp_path / "toy.safetensors"
    save(first, path, {})
    # the backbone's random weights follow the seed, and must be those of the checkpoint
    second = toy(seed=1, checkpoint=path)
    assert torch.equal(first.neck.weight, second.neck.weight)
    assert second.provenance.checkpoint == "toy.safetensors"
    assert second.provenance.untrained is False
    with pytest.raises(DataError, match="setting width=4"):
        toy(seed=1, checkpoint=path, width=8)
    with pytest.raises(DataError, match="weights_sha256"):
        toy(seed=2, checkpoint=str(path))


def test_the_authors_checkpoint_needs_no_imagenet_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "nowhere")
    first = load_method(Free, weights="random", seed=4)
    torch.save({f"module.{k}": v for k, v in first.state_dict().items()}, tmp_path / "best.pt")
    second = load_method(Free, checkpoint=tmp_path / "best.pt")
    assert second.backbone is not None
    assert first.backbone is not None
    assert second.provenance.weights == "reference"
    assert second.provenance.weights_sha256 == first.backbone.weights_sha256
    assert second.provenance.checkpoint == "best.pt"
    assert len(second.provenance.checkpoint_sha256) == 64


def test_a_missing_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.pt does not exist"):
        toy(checkpoint=tmp_path / "none.pt")


def test_weights_from_a_file(tmp_path: Path) -> None:
    torch.save(build_backbone("efficientnet-lite0", seed=9).state_dict(), tmp_path / "w.pth")
    method = load_method(Toy, weights=str(tmp_path / "w.pth"), untrained=True)
    assert method.provenance.weights.startswith("file:")


def test_the_public_name_is_this_function() -> None:
    assert fssbench.load_method is load_method


PLUGIN = """
from typing import ClassVar
import torch
from torch import nn
from fssbench.api import ImageMethod, MethodCard, MethodConfig

class Mine(ImageMethod):
    card: ClassVar[MethodCard] = MethodCard(
        name="mine-by-file", title="Mine", paper="", year=2026, kind="other", backbone="none", size=32,
        trained=False, reference="", licence="",
    )
    def logits(self, query, support, support_mask):
        return query[:, :2]
"""


@pytest.fixture
def registered(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    load_plugin(path)
    yield path
    forget(METHODS, "mine-by-file")


def test_a_plugin_file_is_loaded_by_name(registered: Path) -> None:
    method = load_method("mine-by-file")
    assert method.provenance.method_version == "file"
    assert method.provenance.method == "mine-by-file"
    image = torch.randn(1, 3, 8, 8)
    assert method.predict(image, image[None], torch.ones(1, 1, 8, 8)).shape == (1, 2, 8, 8)


def test_reserved_names_are_the_arguments_of_load_method() -> None:
    parameters = inspect.signature(load_method).parameters
    assert set(parameters) == RESERVED


@pytest.mark.parametrize("name", ["weights", "device", "seed"])
def test_a_setting_with_the_name_of_an_argument_is_the_plugins_fault(name: str) -> None:
    config = type("Config", (MethodConfig,), {"__annotations__": {name: str}, name: "x"})
    cls = type("Named", (METHODS.get("panet"),), {"Config": config})
    with pytest.raises(PluginError, match=repr(name)):
        load_method(cls, backbone="efficientnet-lite0", weights="random")
